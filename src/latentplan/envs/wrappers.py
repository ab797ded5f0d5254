"""Wrappers missing from gymnasium: action repeat, checks, and freezing after the end of an episode."""

from typing import Any, SupportsFloat

import gymnasium
import numpy as np
from gymnasium.error import ResetNeeded
from numpy.typing import ArrayLike

ACTION_TOLERANCE = 1e-5
"""Tolerance of actions outside [-1, 1], which are clipped as rounding errors."""

Stepped = tuple[object, SupportsFloat, bool, bool, dict[str, object]]
"""What gymnasium's `step` gives: observation, reward, terminated, truncated, info."""
Reset = tuple[object, dict[str, object]]
"""What gymnasium's `reset` gives: observation, info."""

UNBOUNDED = 1e9
"""Action bounds at or above this count as unbounded; MuJoCo uses 1e10 for actuators without a control range."""


class ActionRepeat(gymnasium.Wrapper):
    """Repeats each action `action_repeat` times and sums the rewards; stops early at the end of the episode.

    Attributes:
        action_repeat: control steps per decision.
        max_decisions: the time limit of an episode in decisions; None without a limit.
    """

    def __init__(self, env: gymnasium.Env, action_repeat: int, control_step_limit: int | None):
        super().__init__(env)
        self.action_repeat = action_repeat
        self.max_decisions = None if control_step_limit is None else -(-control_step_limit // action_repeat)

    def step(self, action: ArrayLike) -> Stepped:
        """One decision: up to `action_repeat` control steps."""
        total = 0.0
        for _ in range(self.action_repeat):  # a copy each time, since an environment may modify it in place
            observation, reward, terminated, truncated, info = self.env.step(np.array(action))
            total += float(reward)
            if terminated or truncated:
                break
        return observation, total, terminated, truncated, info


class CheckFinite(gymnasium.Wrapper):
    """Raises RuntimeError if the simulator returns NaN or infinity, before they reach the replay."""

    def __init__(self, env: gymnasium.Env, name: str):
        super().__init__(env)
        self._name = name

    def reset(self, **kwargs: Any) -> Reset:
        """Resets and checks the first observation."""
        observation, info = self.env.reset(**kwargs)
        self._check_all(observation)
        return observation, info

    def step(self, action: ArrayLike) -> Stepped:
        """Steps and checks observation and reward."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._check_all(observation)
        self._check("reward", np.asarray(reward))
        return observation, reward, terminated, truncated, info

    def _check_all(self, observation: dict[str, np.ndarray]) -> None:
        for name, value in observation.items():
            self._check(f"observation {name!r}", value)

    def _check(self, what: str, value: ArrayLike) -> None:
        finite = np.isfinite(value)
        if not np.all(finite):
            bad = np.count_nonzero(~finite)
            raise RuntimeError(
                f"{self._name}: {bad} of {np.size(value)} numbers of the {what} are not finite. "
                "The simulation diverged; this episode cannot be used for training."
            )


class FreezeAfterEnd(gymnasium.Wrapper):
    """After the end of an episode, further steps return the last observation, reward 0 and the same flags.

    This allows stepping several environments together until the last episode ends.
    """

    def __init__(self, env: gymnasium.Env):
        super().__init__(env)
        self._last: tuple[object, bool, bool] | None = None

    def reset(self, **kwargs: Any) -> Reset:
        """Starts a new episode."""
        observation, info = self.env.reset(**kwargs)
        self._last = (observation, False, False)
        return observation, info

    def step(self, action: ArrayLike) -> Stepped:
        """Steps until the episode has ended, then repeats its last result."""
        if self._last is None:
            raise ResetNeeded("Call reset before the first step.")
        observation, terminated, truncated = self._last
        if terminated or truncated:
            return observation, 0.0, terminated, truncated, {}
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._last = (observation, bool(terminated), bool(truncated))
        return observation, reward, bool(terminated), bool(truncated), info


def check_actions(actions: ArrayLike, shape: tuple[int, ...]) -> np.ndarray:
    """Validates actions and converts them to float32 in [-1, 1].

    Args:
        actions: [*shape].
        shape: (A,) for one environment, (num_envs, A) for several.

    Raises:
        ValueError: wrong shape, non-finite numbers, or numbers outside [-1, 1].
    """
    array = np.asarray(actions, dtype=np.float32)
    if array.shape != shape:
        raise ValueError(f"actions: expected shape {shape}, got {array.shape}.")
    if not np.all(np.isfinite(array)):
        raise ValueError("actions: expected finite numbers, got NaN or infinity. Has the policy diverged?")
    if np.any(np.abs(array) > 1.0 + ACTION_TOLERANCE):
        raise ValueError(f"actions: expected numbers in [-1, 1], got {array.min():g} to {array.max():g}. Clip them.")
    return np.clip(array, -1.0, 1.0)
