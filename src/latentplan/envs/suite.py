"""What an environment suite is: a record of everything that is different about it."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple

import gymnasium
import numpy as np

if TYPE_CHECKING:
    from latentplan.envs.env import EnvConfig


class UnknownTask(LookupError):
    """Raised by a suite's `load` for a name that has the suite's form and that no task has."""


class DebugRun(NamedTuple):
    """How much a debug run does: some 3 or 4 short episodes.

    Attributes:
        action_repeat: control steps per decision; None for the task's own.
        env_steps: control steps of the whole run.
    """

    action_repeat: int | None = 2
    env_steps: int = 600


def _one(name: str) -> int:
    return 1


def _zero(name: str) -> int:
    return 0


def registered_limit(env: gymnasium.Env) -> int | None:
    """The time limit that an environment was registered with, in control steps; None where there is none."""
    limit = env.spec.max_episode_steps if env.spec is not None else None
    return None if limit is None or np.isinf(limit) else int(limit)


class Suite(NamedTuple):
    """An environment suite.

    Its functions are defined at module level, since the record travels to worker processes, and import what they need
    when they are called.

    Attributes:
        title: the suite as a message names it.
        example: what a name looks like, for messages.
        has: (name) -> whether the name has the form of this suite's names. Loads nothing.
        names: () -> names of its tasks that are known here, to suggest one for a misspelled name.
        load: (name, EnvConfig) -> the environment, one step of which is one control step. What it observes is an image
            or it renders one, where `config.obs` asks for pixels. Raises UnknownTask, or ValueError for what else
            the user has to put right, such as a missing package.
        action_repeat: (name) -> control steps per decision, where the config names no number.
        step_limit: (loaded environment) -> the time limit of an episode in control steps, or None.
        camera: (name) -> the camera that presets choose.
        needs_opengl: whether frames are rendered through OpenGL, which is then checked before processes start.
        may_terminate: whether an episode may end before its time limit, so that presets learn terminations.
        protocols_choose_repeat: whether published protocols have action repeats of their own for the suite; elsewhere
            `action_repeat` belongs to the task.
        short_tasks: whether most tasks are learned in some ten thousand env_steps, so that presets for two cores
            evaluate more often.
        short_decisions: whether a decision lasts some 0.02 to 0.05 s, so that presets plan over more of them.
        max_return: the largest return of an episode where it is the same for all tasks, for scores across tasks.
        debug: how long a debug run is.
    """

    title: str
    example: str
    has: Callable[[str], bool]
    names: Callable[[], Iterable[str]]
    load: Callable[[str, "EnvConfig"], gymnasium.Env]
    action_repeat: Callable[[str], int] = _one
    step_limit: Callable[[gymnasium.Env], int | None] = registered_limit
    camera: Callable[[str], int] = _zero
    needs_opengl: bool = False
    may_terminate: bool = True
    protocols_choose_repeat: bool = False
    short_tasks: bool = True
    short_decisions: bool = True
    max_return: float | None = None
    debug: DebugRun = DebugRun()
