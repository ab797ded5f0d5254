"""Hiding numbers of the state vector, so that a task is only partly observed."""

import re
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Space, flatdim

VELOCITIES = "velocities"
CLASSIC_CONTROL = {
    "CartPole": (1, 3),
    "Pendulum": (2,),
    "MountainCar": (1,),
    "MountainCarContinuous": (1,),
    "Acrobot": (4, 5),
}
"""Name of a gymnasium task, without its version -> which of its numbers are velocities."""


def problem_of(mask: str) -> str:
    """A description of what was expected if a mask is neither "velocities" nor indices, else the empty string."""
    valid = mask in ("", VELOCITIES) or re.fullmatch(r"\d+(,\d+)*", mask)
    return "" if valid else f"{VELOCITIES}, or indices of the state vector separated by commas"


def masked(env: gymnasium.Env, raw: gymnasium.Env, name: str, mask: str) -> gymnasium.Env:
    """Removes numbers of the observation "state".

    Args:
        env: the environment with observations by name.
        raw: the suite's environment below it, which knows its velocities.
        name: of the environment, for messages.
        mask: "velocities", or indices separated by commas; "" removes nothing.

    Returns:
        The environment; "state" is shorter.

    Raises:
        ValueError: there is no "state", an index is outside it, nothing would be left, or it is unknown which numbers
            are velocities.
    """
    if not mask:
        return env
    spaces = env.observation_space.spaces  # type: ignore[attr-defined]
    if "state" not in spaces:
        raise ValueError(f"mask: expected an observation state to mask, got {', '.join(spaces)}; use obs=state")
    size = spaces["state"].shape[0]
    hidden = _velocities(raw, name) if mask == VELOCITIES else sorted({int(x) for x in mask.split(",")})
    if max(hidden) >= size or len(hidden) == size:
        expected = f"indices from 0 to {size - 1}, and not all of them"
        raise ValueError(f"mask: expected {expected}, since {name} observes {size} numbers, got {mask}; choose others")
    return _Masked(env, np.setdiff1d(np.arange(size), hidden))


class _Masked(gymnasium.ObservationWrapper):
    def __init__(self, env: gymnasium.Env, kept: np.ndarray):
        super().__init__(env)
        self._kept = kept
        spaces = dict(env.observation_space.spaces)  # type: ignore[attr-defined]
        self.observation_space = Dict(spaces | {"state": Box(-np.inf, np.inf, kept.shape, np.float32)})

    def observation(self, observation: Any) -> dict[str, Any]:
        """Without the hidden numbers."""
        return observation | {"state": observation["state"][self._kept]}


def _velocities(raw: gymnasium.Env, name: str) -> list[int]:
    """Indices of the velocities in the flattened observation."""
    found = _named_velocities(raw.observation_space) or _known_velocities(raw, name)
    if not found:
        raise ValueError(
            f"mask: expected indices of the state vector, since it is unknown which numbers of {name} are velocities; "
            "give them, for example mask=1,3"
        )
    return found


def _named_velocities(space: Space) -> list[int]:
    """Entries of a dictionary whose names say that they are velocities, as in dm_control."""
    if not isinstance(space, Dict):
        return []
    found: list[int] = []
    start = 0
    for name, part in space.spaces.items():
        if "vel" in name:
            found += range(start, start + flatdim(part))
        start += flatdim(part)
    return found


def _known_velocities(raw: gymnasium.Env, name: str) -> list[int]:
    """Of gymnasium's classic control, and of its MuJoCo tasks, which say how their observations are made up."""
    layout = getattr(raw.unwrapped, "observation_structure", {})
    if "qvel" in layout:
        start = layout["qpos"]
        return list(range(start, start + layout["qvel"]))
    return list(CLASSIC_CONTROL.get(name.partition("-v")[0], ()))
