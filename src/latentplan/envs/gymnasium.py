"""Environments of gymnasium's registry: Pendulum-v1, or my_module:MyEnv-v0, which imports the module first."""

from typing import TYPE_CHECKING, Any

import gymnasium

from latentplan.envs import gl
from latentplan.envs.env_kwargs import check_arguments, keywords
from latentplan.envs.images import WHAT_IS_AN_IMAGE, has_images
from latentplan.envs.rendering import render_fast
from latentplan.envs.suite import Suite, UnknownTask
from latentplan.extensions import import_module

if TYPE_CHECKING:
    from latentplan.envs.env import EnvConfig

RESERVED = {"render_mode": "obs", "disable_env_checker": "latentplan"}
"""Argument of `gymnasium.make` that is no user's -> what decides it."""


def has(name: str) -> bool:
    """Whether a name has the form "module:Id" or is a registered id."""
    return ":" in name or name in gymnasium.registry


def names() -> tuple[str, ...]:
    """The ids registered so far."""
    return tuple(gymnasium.registry)


def load(name: str, config: "EnvConfig") -> gymnasium.Env:
    """Builds a registered environment.

    Args:
        name: "Pendulum-v1" or "module:Id".
        config: its settings. With obs pixels, frames are the environment's own image observation, or rendered if it has
            none.

    Raises:
        UnknownTask: the id is not registered.
        ValueError: the module cannot be imported, the environment does not take an argument, or pixels are requested
            and it neither observes nor renders any.
        GLUnavailable: it is rendered by MuJoCo, and OpenGL does not work.
    """
    pixels = config.renders
    gl.choose_backend(rendering=pixels)
    module, _, env_id = name.rpartition(":")
    import_registering(name, module)
    if env_id not in gymnasium.registry:
        raise UnknownTask(env_id)
    if not pixels:
        return make(env_id, config.kwargs, RESERVED)
    env = _make_rendering(env_id, config.kwargs)
    if hasattr(env.unwrapped, "mujoco_renderer"):
        gl.check_backend()
        if config.render_quality == "fast":
            render_fast(env.unwrapped.model)  # type: ignore[attr-defined]
    return env


def import_registering(name: str, module: str) -> None:
    """Imports the module in "module:Id", which registers the id; it may lie in the current directory.

    Args:
        name: of the environment, for the error message.
        module: dotted name; "" for none.

    Raises:
        ValueError: it cannot be imported.
    """
    if not module:
        return
    try:
        import_module(module)
    except ImportError as error:
        raise ValueError(
            f"env: {name!r} needs the module {module!r}, which cannot be imported ({error}). "
            "Write module:Id, with the module on PYTHONPATH or in the current directory."
        ) from error


def make(env_id: str, kwargs: dict[str, Any], reserved: dict[str, str], **ours: Any) -> gymnasium.Env:
    """Calls `gymnasium.make`, and names a user's argument that the environment does not take.

    Args:
        env_id: a registered id.
        kwargs: the user's arguments.
        reserved: argument's name -> what decides it instead.
        **ours: further arguments.

    Raises:
        ValueError: an argument is reserved, or the environment does not take it.
    """
    check_arguments(env_id, kwargs, kwargs, reserved)
    try:
        return gymnasium.make(env_id, disable_env_checker=True, **ours, **kwargs)
    except TypeError as error:
        refused = {key: value for key, value in kwargs.items() if f"unexpected keyword argument {key!r}" in str(error)}
        check_arguments(env_id, refused, keywords(_creator(env_id)), reserved)
        raise


def _make_rendering(env_id: str, kwargs: dict[str, Any]) -> gymnasium.Env:
    """Builds the environment in render mode "rgb_array", or without a render mode if it observes images."""
    modes = _render_modes(env_id)
    renders = modes is None or "rgb_array" in modes
    try:
        options: dict[str, Any] = {"render_mode": "rgb_array"} if renders else {}
        env = make(env_id, kwargs, RESERVED, **options)
    except TypeError as error:
        if not renders or "render_mode" not in str(error):
            raise
        renders, env = False, make(env_id, kwargs, RESERVED)
    if not renders and not has_images(env.observation_space):
        raise ValueError(
            f"obs: {env_id} has no render mode 'rgb_array' and observes no image ({WHAT_IS_AN_IMAGE}) but "
            f"{env.observation_space}, so it has no pixels. Use obs=state, or add the mode to metadata['render_modes'] "
            "and return frames from render."
        )
    return env


def _render_modes(env_id: str) -> list[str] | None:
    """The render modes that an environment class declares; None if its entry point is not a class."""
    try:
        metadata = getattr(_creator(env_id), "metadata", None)
    except (ImportError, AttributeError):
        return None  # gymnasium.make raises the reason
    return None if metadata is None else list(metadata.get("render_modes", []))


def _creator(env_id: str) -> Any:
    """An environment's class, or the function that creates it."""
    entry_point: Any = gymnasium.registry[env_id].entry_point
    return gymnasium.envs.registration.load_env_creator(entry_point) if isinstance(entry_point, str) else entry_point


SUITE = Suite(
    title="gymnasium",
    example="a gymnasium id (Pendulum-v1) or module:Id",
    has=has,
    names=names,
    load=load,
    takes_kwargs=True,
)
