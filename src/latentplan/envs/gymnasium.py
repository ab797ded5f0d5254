"""Environments of gymnasium's registry: Pendulum-v1, or my_module:MyEnv-v0, which imports the module first."""

import importlib
from typing import TYPE_CHECKING, Any

import gymnasium

from latentplan.envs import gl
from latentplan.envs.images import has_images
from latentplan.envs.rendering import render_fast
from latentplan.envs.suite import Suite, UnknownTask

if TYPE_CHECKING:
    from latentplan.envs.env import EnvConfig


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
        ValueError: the module cannot be imported, or pixels are requested and the environment neither observes nor
            renders any.
        GLUnavailable: it is rendered by MuJoCo, and OpenGL does not work.
    """
    pixels = config.obs == "pixels"
    gl.choose_backend(rendering=pixels)
    module, _, env_id = name.rpartition(":")
    import_module(name, module)
    if env_id not in gymnasium.registry:
        raise UnknownTask(env_id)
    if not pixels:
        return gymnasium.make(env_id, disable_env_checker=True)
    env = _make_rendering(env_id)
    if hasattr(env.unwrapped, "mujoco_renderer"):
        gl.check_backend()
        if config.render_quality == "fast":
            render_fast(env.unwrapped.model)  # type: ignore[attr-defined]
    return env


def import_module(name: str, module: str) -> None:
    """Imports the module in "module:Id", which registers the id.

    Args:
        name: of the environment, for the error message.
        module: dotted name; "" for none.

    Raises:
        ValueError: it cannot be imported.
    """
    if not module:
        return
    try:
        importlib.import_module(module)
    except ImportError as error:
        raise ValueError(
            f"env: {name!r} needs the module {module!r}, which cannot be imported ({error}). "
            "Write module:Id, with the module on PYTHONPATH or in the current directory."
        ) from error


def _make_rendering(env_id: str) -> gymnasium.Env:
    """Builds the environment in render mode "rgb_array", or without a render mode if it observes images."""
    modes = _render_modes(env_id)
    renders = modes is None or "rgb_array" in modes
    try:
        options: dict[str, Any] = {"render_mode": "rgb_array"} if renders else {}
        env = gymnasium.make(env_id, disable_env_checker=True, **options)
    except TypeError as error:
        if not renders or "render_mode" not in str(error):
            raise
        renders, env = False, gymnasium.make(env_id, disable_env_checker=True)
    if not renders and not has_images(env.observation_space):
        raise ValueError(
            f"obs: {env_id} has no render mode 'rgb_array' and observes no image (uint8 from 0 to 255, [height, "
            f"width] or [height, width, 1 or 3]) but {env.observation_space}, so it has no pixels. "
            "Use obs=state, or add the mode."
        )
    return env


def _render_modes(env_id: str) -> list[str] | None:
    """The render modes that an environment class declares; None if its entry point is not a class."""
    entry_point: Any = gymnasium.registry[env_id].entry_point
    if isinstance(entry_point, str):
        try:
            entry_point = gymnasium.envs.registration.load_env_creator(entry_point)
        except (ImportError, AttributeError):
            return None  # gymnasium.make raises the reason
    metadata = getattr(entry_point, "metadata", None)
    return None if metadata is None else list(metadata.get("render_modes", []))


SUITE = Suite(
    title="gymnasium",
    example="a gymnasium id (Pendulum-v1) or module:Id",
    has=has,
    names=names,
    load=load,
)
