"""Environments of gymnasium's registry: Pendulum-v1, or my_module:MyEnv-v0, whose module is imported first."""

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
    """Whether a name is "module:Id", or an id that is registered already."""
    return ":" in name or name in gymnasium.registry


def names() -> tuple[str, ...]:
    """The ids registered so far."""
    return tuple(gymnasium.registry)


def load(name: str, config: "EnvConfig") -> gymnasium.Env:
    """Builds a registered environment.

    Args:
        name: "Pendulum-v1" or "module:Id".
        config: how to present it. Pixels are what it observes where that is an image, and rendered where it is not.

    Raises:
        UnknownTask: the id is not registered.
        ValueError: the module cannot be imported; or pixels are asked for, and the environment neither observes nor
            renders them.
        GLUnavailable: MuJoCo renders it, and OpenGL does not work.
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
    """Imports the module of "module:Id", which registers the id.

    Args:
        name: of the environment, for the message.
        module: dotted; empty for none.

    Raises:
        ValueError: it cannot be imported.
    """
    if not module:
        return
    try:
        importlib.import_module(module)
    except ImportError as error:
        raise ValueError(
            f"env: {name!r} asks for the module {module!r}, which cannot be imported ({error}). "
            "Write module:Id, with the module on PYTHONPATH or in the current directory."
        ) from error


def _make_rendering(env_id: str) -> gymnasium.Env:
    """The environment in render mode "rgb_array", or without one where it observes images."""
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
            f"width] or [height, width, 1 or 3]) but {env.observation_space}, so it gives no pixels. "
            "Use obs=state, or add the mode."
        )
    return env


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


SUITE = Suite(
    title="gymnasium",
    example="a gymnasium id (Pendulum-v1) or module:Id",
    has=has,
    names=names,
    load=load,
)
