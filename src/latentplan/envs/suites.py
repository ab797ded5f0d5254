"""From a name to a gymnasium environment: dm_control (through Shimmy), Atari, and gymnasium's registry.

dm_control, mujoco and ale-py are imported only when a name asks for them.
"""

import difflib
import importlib
from typing import Any, Literal, NamedTuple

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from gymnasium.wrappers import TransformAction

from latentplan.envs import atari, gl
from latentplan.envs.images import is_image

# Hafner et al. 2019 (PlaNet), appendix A: control steps per decision.
PAPER_ACTION_REPEAT = {"cartpole": 8, "reacher": 4, "cheetah": 4, "finger": 2, "ball_in_cup": 4, "walker": 2}
OTHER_DM_CONTROL_ACTION_REPEAT = 2

FAST_RENDERING = {"numslices": 12, "numstacks": 4, "shadowsize": 256}
"""Upper limits on a MuJoCo model's `vis.quality` for fast frames: facets around and along a round body, shadow map.

In software nearly all of a frame's time goes there: each body is drawn for the picture, for its shadow and for its
reflection. Multisampling, shadows and reflections stay, since a frame without them looks different.
"""

UNBOUNDED = 1e9
"""An action bound at or above this counts as none; MuJoCo gives 1e10 for an actuator without a control range."""

_CUP = "ball_in_cup"


class Task(NamedTuple):
    """A name that was understood.

    Attributes:
        suite: where it comes from.
        domain: dm_control's domain, or the module to import before the gymnasium id is known ("" if none).
        task: dm_control's task, or the gymnasium id.
        action_repeat: control steps per decision, as in PlaNet's paper; 4 for Atari, as published; 1 for gymnasium.
    """

    suite: Literal["dm_control", "atari", "gymnasium"]
    domain: str
    task: str
    action_repeat: int


def parse(name: str, *, rendering: bool = False) -> Task:
    """Finds the task that `name` means.

    Args:
        name: "walker_walk", "cup_catch", "Pendulum-v1", "ALE/Pong-v5", or "my_package.my_module:MyEnv-v0".
        rendering: whether its frames will be rendered; decides on the OpenGL back end that dm_control loads.

    Returns:
        The task. Nothing is built yet.

    Raises:
        ValueError: no such name (the nearest ones are offered), or the module or ale-py cannot be imported.
        GLUnavailable: dm_control does not load without the OpenGL back end that is missing.
    """
    if is_gymnasium(name):
        module, _, env_id = name.rpartition(":")
        _import_module(name, module)
        if is_atari(name):
            atari.register(name)
        if env_id not in gymnasium.registry:
            raise _unknown(name, env_id, [])
        if is_atari(name):
            return Task("atari", module, env_id, atari.ACTION_REPEAT)
        return Task("gymnasium", module, env_id, 1)
    tasks = _dm_control_tasks(rendering)
    if name not in tasks:
        raise _unknown(name, name, list(tasks))
    domain, task = tasks[name]
    return Task("dm_control", domain, task, PAPER_ACTION_REPEAT.get(domain, OTHER_DM_CONTROL_ACTION_REPEAT))


def is_gymnasium(name: str) -> bool:
    """Whether `name` is one for gymnasium's registry: "module:Id", a game, or an id that is registered already."""
    return ":" in name or is_atari(name) or name in gymnasium.registry


def is_atari(name: str) -> bool:
    """Whether `name` is an Atari game: "ALE/Pong-v5", or "module:ALE/Pong-v5"."""
    return name.rpartition(":")[2].startswith(atari.PREFIX)


def dm_control_names() -> tuple[str, ...]:
    """Every dm_control task as "domain_task", with "cup_catch" beside "ball_in_cup_catch"."""
    return tuple(_dm_control_tasks(rendering=False))


def load_dm_control(task: Task, *, image_size: int | None = None, camera: int = 0, fast: bool = False) -> gymnasium.Env:
    """Builds a dm_control task behind gymnasium's interface.

    The task is built with a fixed seed, because some draw their physics when they are built (lqr); each
    reset seeds what an episode draws. An actuator without a control range (lqr) takes [-1, 1] as it is.

    Args:
        task: from `parse`.
        image_size: pixels of the square frame that `render` gives; None for no rendering.
        camera: which of the model's cameras, from 0; -1 for the free one.
        fast: whether frames have less detail; see `FAST_RENDERING`.

    Raises:
        ValueError: the model has no such camera.
    """
    from dm_control import suite  # type: ignore[import-untyped]
    from shimmy.dm_control_compatibility import DmControlCompatibilityV0  # type: ignore[import-untyped]

    raw = suite.load(task.domain, task.task, task_kwargs={"random": 0})
    num_cameras = raw.physics.model.ncam
    if not -1 <= camera < num_cameras:
        raise ValueError(
            f"camera: {task.domain}_{task.task} has cameras 0 to {num_cameras - 1}, and -1 for the free one; "
            f"got {camera}. Choose one of them."
        )
    env: gymnasium.Env = DmControlCompatibilityV0(raw, render_mode=None if image_size is None else "rgb_array")
    if image_size is not None:
        if fast:
            _render_fast(raw.physics.model)
        env = _OneCamera(env, image_size, camera)
    space = env.action_space
    if isinstance(space, Box) and np.any(np.abs([space.low, space.high]) >= UNBOUNDED):
        low = np.where(space.low <= -UNBOUNDED, -1.0, space.low)
        high = np.where(space.high >= UNBOUNDED, 1.0, space.high)
        env = TransformAction(env, lambda action: action, Box(low, high, dtype=np.float64))
    return env


def load_gymnasium(task: Task, *, pixels: bool, fast: bool = False) -> gymnasium.Env:
    """Builds a registered gymnasium environment.

    Args:
        task: from `parse`.
        pixels: whether frames are needed. Then what is observed is an image, or `render` gives RGB frames.
        fast: whether they have less detail, where MuJoCo renders them; see `FAST_RENDERING`.

    Raises:
        ValueError: pixels are asked for, and the environment neither observes nor renders them.
    """
    if not pixels:
        return gymnasium.make(task.task, disable_env_checker=True)
    modes = _render_modes(task.task)
    renders = modes is None or "rgb_array" in modes
    try:
        options: dict[str, Any] = {"render_mode": "rgb_array"} if renders else {}
        env = gymnasium.make(task.task, disable_env_checker=True, **options)
    except TypeError as error:
        if not renders or "render_mode" not in str(error):
            raise
        renders, env = False, gymnasium.make(task.task, disable_env_checker=True)
    if not renders and not is_image(env.observation_space):
        raise ValueError(
            f"obs: {task.task} has no render mode 'rgb_array' and observes no image (uint8 from 0 to 255, [height, "
            f"width] or [height, width, 1 or 3]) but {env.observation_space}, so it gives no pixels. "
            "Use obs=state, or add the mode."
        )
    if fast and hasattr(env.unwrapped, "mujoco_renderer"):
        _render_fast(env.unwrapped.model)  # type: ignore[attr-defined]
    return env


def control_step_limit(env: gymnasium.Env) -> int | None:
    """The time limit of an episode of a loaded environment, in control steps; None where there is none."""
    # What gymnasium.make built carries a spec; Shimmy hands on dm_control's own limit.
    limit = env.spec.max_episode_steps if env.spec is not None else env.unwrapped._step_limit  # type: ignore[attr-defined]
    return None if limit is None or np.isinf(limit) else int(np.ceil(limit))


class _OneCamera(gymnasium.Wrapper):
    """Renders square frames with a camera that is kept; dm_control's own `render` makes one per frame, for 1 ms.

    It can be kept because no task of the suite replaces its model at a reset.
    """

    def __init__(self, env: gymnasium.Env, image_size: int, camera: int):
        from dm_control.mujoco import engine  # type: ignore[import-untyped]

        super().__init__(env)
        physics = env.unwrapped._env.physics  # type: ignore[attr-defined]
        # The same picture: a larger buffer would only be cleared for nothing. It is allocated with the camera.
        physics.model.vis.global_.offwidth = physics.model.vis.global_.offheight = image_size
        self._camera = engine.Camera(physics, image_size, image_size, camera)

    def render(self) -> Any:
        """A frame, uint8 [image_size, image_size, 3]."""
        return self._camera.render().copy()  # the camera draws the next one into the same memory


def _render_fast(model: Any) -> None:
    for name, limit in FAST_RENDERING.items():
        setattr(model.vis.quality, name, min(limit, getattr(model.vis.quality, name)))


def _render_modes(env_id: str) -> list[str] | None:
    """The render modes an environment class declares; None where its entry point is no class."""
    entry_point: Any = gymnasium.registry[env_id].entry_point
    if isinstance(entry_point, str):
        try:
            entry_point = gymnasium.envs.registration.load_env_creator(entry_point)
        except (ImportError, AttributeError):
            return None  # gymnasium.make gives the reason
    metadata = getattr(entry_point, "metadata", None)
    return None if metadata is None else list(metadata.get("render_modes", []))


def _dm_control_tasks(rendering: bool) -> dict[str, tuple[str, str]]:
    gl.choose_backend(rendering=rendering)
    try:
        from dm_control import suite
    except Exception:
        gl.check_backend()  # a missing OpenGL library breaks the import; this says which
        raise
    tasks = {f"{domain}_{task}": (domain, task) for domain, task in suite.ALL_TASKS}
    cup = {f"cup_{task}": (domain, task) for domain, task in suite.ALL_TASKS if domain == _CUP}
    return tasks | cup


def _import_module(name: str, module: str) -> None:
    if not module:
        return
    try:
        importlib.import_module(module)
    except ImportError as error:
        raise ValueError(
            f"env: {name!r} asks for the module {module!r}, which cannot be imported ({error}). "
            "Write module:Id, with the module on PYTHONPATH or in the current directory."
        ) from error


def _unknown(name: str, wanted: str, dm_control: list[str]) -> ValueError:
    near = [*_nearest(wanted, dm_control), *_nearest(wanted, list(gymnasium.registry))]
    offer = f"Nearest: {', '.join(near)}." if near else "Nothing is near it."
    return ValueError(
        f"env: unknown environment {name!r}. {offer} Expected a dm_control task (walker_walk, cup_catch), "
        "a gymnasium id (Pendulum-v1), an Atari game (ALE/Pong-v5) or module:Id."
    )


def _nearest(name: str, known: list[str]) -> list[str]:
    by_lower = {other.lower(): other for other in known}
    return [by_lower[near] for near in difflib.get_close_matches(name.lower(), by_lower, n=3, cutoff=0.5)]
