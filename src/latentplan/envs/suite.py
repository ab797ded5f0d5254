"""The record that defines an environment suite."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, NamedTuple

import gymnasium
import numpy as np

if TYPE_CHECKING:
    from latentplan.envs.env import EnvConfig


class UnknownTask(LookupError):
    """Raised by a suite's `load` for a name of the right form without a matching task."""


class DebugRun(NamedTuple):
    """The length of a debug run: 3 or 4 short episodes.

    Attributes:
        action_repeat: control steps per decision; None for the task's own.
        env_steps: total control steps of the run.
    """

    action_repeat: int | None = 2
    env_steps: int = 600


def _one(name: str) -> int:
    return 1


def _zero(name: str) -> int:
    return 0


def registered_limit(env: gymnasium.Env) -> int | None:
    """The time limit in an environment's registration, in control steps; None if there is none."""
    limit = env.spec.max_episode_steps if env.spec is not None else None
    return None if limit is None or np.isinf(limit) else int(limit)


@dataclass(frozen=True, kw_only=True)
class Suite:
    """An environment suite.

    Its functions are defined at module level, so that the record can be pickled for worker processes, and import their
    dependencies when called.

    Attributes:
        title: the suite's name in messages.
        example: an example of a name, for messages.
        has: (name) -> whether the name matches this suite's pattern. Must not load anything.
        names: () -> the names of its known tasks, to suggest corrections.
        load: (name, EnvConfig) -> the environment, with one control step per `step`. With `config.obs` pixels it must
            observe or render images. Raises UnknownTask, or ValueError for other user errors, such as a missing
            package.
        action_repeat: (name) -> default control steps per decision.
        takes_kwargs: whether `load` passes `EnvConfig.kwargs` on to the task; otherwise they are refused.
        step_limit: (loaded environment) -> the time limit of an episode in control steps, or None.
        camera: (name) -> the presets' camera.
        needs_opengl: whether frames are rendered with OpenGL, which is then checked before processes start.
        may_terminate: whether episodes may end before the time limit; presets then predict terminations.
        protocols_choose_repeat: whether published protocols set the action repeat for this suite; otherwise it is the
            task's `action_repeat`.
        short_tasks: whether most tasks are solved within some ten thousand env_steps; presets for two cores then
            evaluate more often.
        short_decisions: whether a decision lasts only 0.02 to 0.05 s; presets then use longer planning horizons.
        max_return: the maximum return of an episode if all tasks share it, for scores across tasks.
        debug: the length of a debug run.

    Raises:
        ValueError: a function is a lambda or defined inside another one, so worker processes could not import it.
    """

    title: str
    example: str
    has: Callable[[str], bool]
    names: Callable[[], Iterable[str]]
    load: Callable[[str, "EnvConfig"], gymnasium.Env]
    action_repeat: Callable[[str], int] = _one
    step_limit: Callable[[gymnasium.Env], int | None] = registered_limit
    camera: Callable[[str], int] = _zero
    takes_kwargs: bool = False
    needs_opengl: bool = False
    may_terminate: bool = True
    protocols_choose_repeat: bool = False
    short_tasks: bool = True
    short_decisions: bool = True
    max_return: float | None = None
    debug: DebugRun = DebugRun()

    def __post_init__(self) -> None:
        """Refuses functions that cannot be pickled."""
        for field in fields(self):
            name = getattr(getattr(self, field.name), "__qualname__", "")
            if "<" in name:
                got = "a lambda" if name.endswith("<lambda>") else f"one inside another, {name}"
                raise ValueError(
                    f"Suite.{field.name}: expected a function at the top of a module, got {got}. "
                    "Define it there with def, so that worker processes can import it."
                )
