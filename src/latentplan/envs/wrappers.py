"""The gymnasium wrappers that gymnasium does not have: action repeat, checks, and standing still after an end."""

from typing import Any, SupportsFloat

import gymnasium
import numpy as np
from gymnasium.error import ResetNeeded

ACTION_TOLERANCE = 1e-5
"""Actions this far outside [-1, 1] are taken for rounding and clipped."""

UNBOUNDED = 1e9
"""An action bound at or above this counts as none; MuJoCo gives 1e10 for an actuator without a control range."""


class ActionRepeat(gymnasium.Wrapper):
    """Gives each action `action_repeat` times, sums the rewards, stops early where the episode ends.

    Attributes:
        action_repeat: control steps per decision.
        max_decisions: the time limit of an episode in decisions; None where there is none.
    """

    def __init__(self, env: gymnasium.Env, action_repeat: int, control_step_limit: int | None):
        super().__init__(env)
        self.action_repeat = action_repeat
        self.max_decisions = None if control_step_limit is None else -(-control_step_limit // action_repeat)

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """One decision: up to `action_repeat` control steps."""
        total = 0.0
        for _ in range(self.action_repeat):  # each time a copy, since an environment may change what it is given
            observation, reward, terminated, truncated, info = self.env.step(np.array(action))
            total += float(reward)
            if terminated or truncated:
                break
        return observation, total, terminated, truncated, info


class CheckFinite(gymnasium.Wrapper):
    """Raises RuntimeError where the simulator gives NaN or infinity, before it can reach the replay."""

    def __init__(self, env: gymnasium.Env, name: str):
        super().__init__(env)
        self._name = name

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        """Resets, and checks the first observation."""
        observation, info = self.env.reset(**kwargs)
        self._check_all(observation)
        return observation, info

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """Steps, and checks observation and reward."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._check_all(observation)
        self._check("reward", reward)
        return observation, reward, terminated, truncated, info

    def _check_all(self, observation: dict[str, Any]) -> None:
        for name, value in observation.items():
            self._check(f"observation {name!r}", value)

    def _check(self, what: str, value: Any) -> None:
        finite = np.isfinite(value)
        if not np.all(finite):
            bad = np.count_nonzero(~finite)
            raise RuntimeError(
                f"{self._name}: {bad} of {np.size(value)} numbers of the {what} are not finite. "
                "The simulation broke down; this episode cannot be learned from."
            )


class FreezeAfterEnd(gymnasium.Wrapper):
    """After an episode's end, further steps give the last observation, reward 0 and the same flags.

    So several environments can be stepped together until the last of them ends.
    """

    def __init__(self, env: gymnasium.Env):
        super().__init__(env)
        self._last: tuple[Any, bool, bool] | None = None

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        """Begins a new episode."""
        observation, info = self.env.reset(**kwargs)
        self._last = (observation, False, False)
        return observation, info

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """Steps while the episode lasts."""
        if self._last is None:
            raise ResetNeeded("Call reset before the first step.")
        observation, terminated, truncated = self._last
        if terminated or truncated:
            return observation, 0.0, terminated, truncated, {}
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._last = (observation, bool(terminated), bool(truncated))
        return observation, reward, bool(terminated), bool(truncated), info


def check_actions(actions: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Actions as float32 in [-1, 1].

    Args:
        actions: [*shape].
        shape: (A,) for one environment, (num_envs, A) for several.

    Raises:
        ValueError: another shape, a number that is not finite, or one outside [-1, 1].
    """
    array = np.asarray(actions, dtype=np.float32)
    if array.shape != shape:
        raise ValueError(f"actions: expected shape {shape}, got {array.shape}.")
    if not np.all(np.isfinite(array)):
        raise ValueError("actions: expected finite numbers, got NaN or infinity. Has the policy diverged?")
    if np.any(np.abs(array) > 1.0 + ACTION_TOLERANCE):
        raise ValueError(f"actions: expected numbers in [-1, 1], got {array.min():g} to {array.max():g}. Clip them.")
    return np.clip(array, -1.0, 1.0)
