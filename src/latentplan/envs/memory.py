"""Tasks that need memory, with known best returns."""

from typing import TYPE_CHECKING

import gymnasium
import numpy as np
from gymnasium.spaces import Box

from latentplan.envs.env_kwargs import check_arguments, keywords
from latentplan.envs.suite import DebugRun, Suite, UnknownTask

if TYPE_CHECKING:
    from latentplan.envs.env import EnvConfig


class TMaze(gymnasium.Env):
    """A T-maze without steering in its corridor (Bakker 2002; passive as in Ni et al. 2023).

    The first observation shows a cue, +1 or -1. After `delay` decisions, which have no effect, the junction is reached:
    an action of the cue's sign earns 1, and the episode ends. The best return is 1, without memory it is 0.5.

    Observations float32 [2]: the cue, 0 after the first; 1 at the junction, else 0. Actions float32 [1].

    Args:
        delay: decisions between the cue and the junction, at least 1.

    Raises:
        ValueError: `delay` is less than 1.
    """

    def __init__(self, delay: int = 20):
        if not isinstance(delay, int) or delay < 1:
            raise ValueError(f"env_kwargs: expected a delay of 1 or more, got {delay!r}; correct it")
        self.observation_space = Box(-1.0, 1.0, (2,), np.float32)
        self.action_space = Box(-1.0, 1.0, (1,), np.float32)
        self.delay, self._cue, self._walked = delay, 1.0, 0

    def reset(self, *, seed: int | None = None, options: dict[str, object] | None = None) -> tuple[np.ndarray, dict]:
        """Draws a cue and shows it."""
        super().reset(seed=seed)
        self._cue, self._walked = float(self.np_random.choice([-1.0, 1.0])), 0
        return np.array([self._cue, 0.0], np.float32), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        """One decision in the corridor, or the turn at the junction."""
        at_junction = self._walked == self.delay
        reward = float(at_junction and float(action[0]) * self._cue > 0)
        self._walked += 1
        return np.array([0.0, self._walked == self.delay], np.float32), reward, at_junction, False, {}


TASKS = {"Memory/TMaze-v0": TMaze}
"""Environment name -> its class."""


def has(name: str) -> bool:
    """Whether a name has the form "Memory/TMaze-v0"."""
    return name.startswith("Memory/")


def names() -> tuple[str, ...]:
    """The tasks."""
    return tuple(TASKS)


def load(name: str, config: "EnvConfig") -> gymnasium.Env:
    """Builds a task; of `config` only `env_kwargs` has an effect.

    Raises:
        UnknownTask: there is no such task.
        ValueError: it does not take an argument, or pixels are requested, which it does not have.
    """
    if name not in TASKS:
        raise UnknownTask(name)
    if config.renders:
        raise ValueError(f"obs: expected state, since {name} has no images, got {config.obs}; use obs=state")
    check_arguments(name, config.kwargs, keywords(TASKS[name]), {})
    return TASKS[name](**config.kwargs)


def _step_limit(env: gymnasium.Env) -> int:
    return env.unwrapped.delay + 1  # type: ignore[attr-defined]


SUITE = Suite(
    title="the tasks of memory",
    example="a task of memory (Memory/TMaze-v0)",
    has=has,
    names=names,
    load=load,
    step_limit=_step_limit,
    takes_kwargs=True,
    max_return=1.0,
    debug=DebugRun(action_repeat=1, env_steps=200),
)
