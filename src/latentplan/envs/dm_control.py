"""dm_control's suite through Shimmy; tasks are named domain_task (walker_walk).

dm_control and mujoco are imported when a task is loaded, after the OpenGL back end has been chosen.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from gymnasium.wrappers import TransformAction

from latentplan.envs import gl
from latentplan.envs.actions import UNBOUNDED
from latentplan.envs.env_kwargs import check_arguments, keywords
from latentplan.envs.rendering import render_fast
from latentplan.envs.suite import DebugRun, Suite, UnknownTask

if TYPE_CHECKING:
    from latentplan.envs.env import EnvConfig

DOMAINS = (
    "acrobot", "ball_in_cup", "cartpole", "cheetah", "cup", "dog", "finger", "fish", "hopper", "humanoid",
    "humanoid_CMU", "lqr", "manipulator", "pendulum", "point_mass", "quadruped", "reacher", "stacker", "swimmer",
    "walker",
)  # fmt: skip
"""dm_control's domains, with "cup" as an alias of ball_in_cup; listed here to avoid loading dm_control."""

# Hafner et al. 2019 (PlaNet), appendix A: control steps per decision.
PAPER_ACTION_REPEAT = {"cartpole": 8, "reacher": 4, "cheetah": 4, "finger": 2, "ball_in_cup": 4, "cup": 4, "walker": 2}
OTHER_ACTION_REPEAT = 2

_CUP = "ball_in_cup"


def has(name: str) -> bool:
    """Whether a name has the form "domain_task" with a domain in `DOMAINS`."""
    return any(name.startswith(f"{domain}_") for domain in DOMAINS)


def names() -> tuple[str, ...]:
    """All tasks as "domain_task", including the alias "cup_catch"."""
    return tuple(_tasks(rendering=False))


def find(name: str, *, rendering: bool) -> tuple[str, str]:
    """Resolves a name into dm_control's (domain, task).

    Args:
        name: "walker_walk".
        rendering: whether frames will be rendered; determines the OpenGL back end that dm_control loads.

    Raises:
        UnknownTask: there is no such task.
        GLUnavailable: dm_control cannot be imported, because the OpenGL back end is missing.
    """
    tasks = _tasks(rendering)
    if name not in tasks:
        raise UnknownTask(name)
    return tasks[name]


def action_repeat(name: str) -> int:
    """PlaNet's action repeats, which depend on the domain."""
    return next((n for domain, n in PAPER_ACTION_REPEAT.items() if name.startswith(f"{domain}_")), OTHER_ACTION_REPEAT)


def camera(name: str) -> int:
    """The camera with the whole body in view: 2 for quadrupeds, as in the released codes of Dreamer and TD-MPC."""
    return 2 if name.startswith("quadruped_") else 0


def load(name: str, config: "EnvConfig") -> gymnasium.Env:
    """Builds a task behind gymnasium's interface.

    The task is built with a fixed seed, because some tasks randomise their physics at construction (lqr); per-episode
    randomness is seeded at reset. Actuators without a control range (lqr) get [-1, 1].

    Args:
        name: "walker_walk".
        config: frames are rendered at `image_size` times `supersample` pixels.

    Raises:
        UnknownTask: there is no such task.
        ValueError: the model has no such camera, or neither the task nor its Environment takes an argument.
        GLUnavailable: pixels are requested, but OpenGL does not work.
    """
    pixels = config.renders
    domain, task = find(name, rendering=pixels)
    if pixels:
        gl.check_backend()
    from dm_control import suite  # type: ignore[import-untyped]
    from shimmy.dm_control_compatibility import DmControlCompatibilityV0  # type: ignore[import-untyped]

    raw = _load(name, suite._DOMAINS[domain].SUITE[task], config.kwargs)
    num_cameras = raw.physics.model.ncam
    if not -1 <= config.camera < num_cameras:
        raise ValueError(
            f"camera: {name} has cameras 0 to {num_cameras - 1}, and -1 for the free one; "
            f"got {config.camera}. Choose one of them."
        )
    env: gymnasium.Env = DmControlCompatibilityV0(raw, render_mode="rgb_array" if pixels else None)
    if pixels:
        if config.render_quality == "fast":
            render_fast(raw.physics.model)
        env = OneCamera(env, config.image_size * config.supersample, config.camera)
    return _bounded(env)


def step_limit(env: gymnasium.Env) -> int | None:
    """dm_control's time limit of an episode in control steps; None if there is none."""
    limit = env.unwrapped._step_limit  # type: ignore[attr-defined]
    return None if np.isinf(limit) else int(np.ceil(limit))


class OneCamera(gymnasium.Wrapper):
    """Renders square frames with one camera that is reused.

    dm_control's own `render` creates one per frame, which takes 1 ms. Reuse is safe because no task of the
    suite replaces its model at a reset.
    """

    def __init__(self, env: gymnasium.Env, image_size: int, camera: int):
        from dm_control.mujoco import engine  # type: ignore[import-untyped]

        super().__init__(env)
        physics = env.unwrapped._env.physics  # type: ignore[attr-defined]
        # Does not change the image: clearing a larger off-screen buffer only costs time. It is allocated with the
        # camera.
        physics.model.vis.global_.offwidth = physics.model.vis.global_.offheight = image_size
        self._camera = engine.Camera(physics, image_size, image_size, camera)

    def render(self) -> Any:
        """A frame, uint8 [image_size, image_size, 3]."""
        return self._camera.render()


def _load(name: str, make: Callable[..., Any], kwargs: dict[str, Any]) -> Any:
    """Calls a task's function with a user's arguments, its own or those of dm_control's Environment."""
    from dm_control.rl.control import Environment  # type: ignore[import-untyped]

    own = set(keywords(make))
    reserved = {"random": "the episode's seed", "environment_kwargs": "latentplan"} | dict.fromkeys(
        ("physics", "task"), "env"
    )
    check_arguments(name, kwargs, [*keywords(make), *(x for x in keywords(Environment) if x not in own)], reserved)
    others = {key: value for key, value in kwargs.items() if key not in own}
    task = {key: value for key, value in kwargs.items() if key in own} | {"random": 0}
    try:
        return make(**task, **({"environment_kwargs": others} if others else {}))
    except TypeError as error:  # some tasks set some of them
        fixed = {key: "the task" for key in others if f"multiple values for keyword argument {key!r}" in str(error)}
        check_arguments(name, others, others, fixed)
        raise


def _bounded(env: gymnasium.Env) -> gymnasium.Env:
    """Sets the bounds of actuators without a control range to [-1, 1]."""
    space = env.action_space
    if not isinstance(space, Box) or np.all(np.abs([space.low, space.high]) < UNBOUNDED):
        return env
    low = np.where(space.low <= -UNBOUNDED, -1.0, space.low)
    high = np.where(space.high >= UNBOUNDED, 1.0, space.high)
    return TransformAction(env, lambda action: action, Box(low, high, dtype=np.float64))


def _tasks(rendering: bool) -> dict[str, tuple[str, str]]:
    gl.choose_backend(rendering=rendering)
    try:
        from dm_control import suite
    except Exception:
        gl.check_backend()  # a missing OpenGL library breaks the import; this error names it
        raise
    tasks = {f"{domain}_{task}": (domain, task) for domain, task in suite.ALL_TASKS}
    cup = {f"cup_{task}": (domain, task) for domain, task in suite.ALL_TASKS if domain == _CUP}
    return tasks | cup


SUITE = Suite(
    title="dm_control",
    example="a dm_control task (walker_walk, cup_catch)",
    has=has,
    names=names,
    load=load,
    action_repeat=action_repeat,
    step_limit=step_limit,
    camera=camera,
    takes_kwargs=True,
    needs_opengl=True,
    may_terminate=False,
    protocols_choose_repeat=True,
    short_tasks=False,
    short_decisions=False,
    max_return=1000.0,
    debug=DebugRun(action_repeat=20, env_steps=4000),
)
