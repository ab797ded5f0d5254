"""Wrappers missing from gymnasium: action repeat, checks, and freezing after the end of an episode."""

from typing import Any, SupportsFloat

import gymnasium
import numpy as np
from gymnasium.error import ResetNeeded
from numpy.typing import ArrayLike

Stepped = tuple[object, SupportsFloat, bool, bool, dict[str, object]]
"""What gymnasium's `step` gives: observation, reward, terminated, truncated, info."""
Reset = tuple[object, dict[str, object]]
"""What gymnasium's `reset` gives: observation, info."""


class ActionRepeat(gymnasium.Wrapper):
    """Repeats each action `action_repeat` times and sums the rewards; stops early at the end of the episode.

    Args:
        env: the environment, one control step per `step`.
        action_repeat: control steps per decision.
        control_step_limit: the environment's own time limit, in control steps; None without one.
        max_decisions: truncates episodes after this many decisions; None: only the environment ends them.

    Attributes:
        action_repeat: control steps per decision.
        max_decisions: the time limit of an episode in decisions, the lower one of both; None without a limit.
    """

    def __init__(
        self, env: gymnasium.Env, action_repeat: int, control_step_limit: int | None, max_decisions: int | None = None
    ):
        super().__init__(env)
        self.action_repeat = action_repeat
        own = None if control_step_limit is None else -(-control_step_limit // action_repeat)
        self.max_decisions = min((x for x in (own, max_decisions) if x is not None), default=None)
        self._cut_after, self._decisions = max_decisions, 0

    def reset(self, **kwargs: Any) -> Reset:
        """Starts a new episode."""
        self._decisions = 0
        return self.env.reset(**kwargs)

    def step(self, action: ArrayLike) -> Stepped:
        """One decision: up to `action_repeat` control steps."""
        total = 0.0
        for _ in range(self.action_repeat):
            observation, reward, terminated, truncated, info = self.env.step(action)
            total += float(reward)
            if terminated or truncated:
                break
        self._decisions += 1
        cut = self._decisions == self._cut_after and not terminated
        return observation, total, terminated, truncated or cut, info


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
        with np.errstate(over="ignore"):
            self._check("reward", np.float32(reward))
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
