"""Observations by name: images as they are or rendered, everything else as float32 vectors."""

import math
from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Graph, Sequence, Space, Text, Tuple, flatten, flatten_space
from gymnasium.wrappers import TransformObservation

from latentplan.envs import images

if TYPE_CHECKING:
    from latentplan.envs.env import EnvConfig

Path = tuple[Any, ...]
"""The keys that lead to an entry inside nested dictionaries and tuples."""


def is_rendered(space: Space, config: "EnvConfig") -> bool:
    """Whether frames are rendered in the place of an environment's own observations, which have no image."""
    return config.obs == "pixels" and not images.has_images(space)


def by_name(env: gymnasium.Env, name: str, config: "EnvConfig") -> gymnasium.Env:
    """Gives observations by name.

    With obs state, the whole observation becomes one vector, "state". With obs pixels, an observed image is "image";
    of a dictionary or tuple, each image and each other entry has its own name, where a dot separates the names of
    nested ones. Without any image, frames are rendered.

    Args:
        env: the environment.
        name: its name, for error messages.
        config: what to observe, and how large.

    Returns:
        The environment: images uint8 [image_size, image_size, channels * frame_stack], vectors float32 [n]. Discrete
        values are one-hot vectors.

    Raises:
        ValueError: an entry has no fixed size, or what is rendered is no frame.
    """
    if is_rendered(env.observation_space, config):
        env = _rendered(env)
    else:
        entries = _entries(env.observation_space, split=config.obs == "pixels")
        for entry, (_, space) in entries.items():
            _check_flattenable(name, entry, space)
        spaces: dict[str, Space] = {entry: _named_space(space, config) for entry, (_, space) in entries.items()}
        env = TransformObservation(env, partial(_by_name, entries=entries, spaces=spaces), Dict(spaces))
    if config.obs == "state":
        return env
    return images.stack(images.fit(env, config.image_size, grayscale=config.grayscale), config.frame_stack)


def observation_notes(space: Space, config: "EnvConfig") -> Iterator[str]:
    """What a user might not expect of how observations are used: one sentence each.

    Args:
        space: the environment's own observation space.
        config: what to observe.
    """
    leaves = _leaves(space)
    pictured = {path: leaf for path, leaf in leaves if images.is_image(leaf) or len(leaf.shape or ()) == 3}
    if is_rendered(space, config):
        for path, leaf in pictured.items():
            yield (
                f"the image is rendered: {_called(path)} {_brief(leaf)} is not used, since images are "
                f"{images.WHAT_IS_AN_IMAGE}"
            )
        return
    for path, leaf in pictured.items():
        if config.obs == "state" or not images.is_image(leaf):
            advice = "; obs=pixels keeps images" if images.is_image(leaf) else ""
            size = math.prod(leaf.shape)
            yield f"{_called(path)} {_brief(leaf)} is flattened into a vector of {size} numbers{advice}"
        elif images.channels_first(leaf.shape):
            yield f"{_called(path)} {_brief(leaf)} is taken as [channels, height, width]"


def _rendered(env: gymnasium.Env) -> gymnasium.Env:
    env.reset()
    space = Box(0, 255, env.render().shape, np.uint8)  # type: ignore[union-attr]
    return TransformObservation(env, lambda _: {"image": env.render()}, Dict({"image": space}))


def _entries(space: Space, *, split: bool) -> dict[str, tuple[Path, Space]]:
    """Entry's name -> its keys and its space; a single one where there is nothing to split."""
    if not split:
        return {"state": ((), space)}
    found = list(_parts(space))
    entries = {".".join(map(str, path)) or "image": (path, part) for path, part in found}
    if len(entries) < len(found):
        raise ValueError(f"env: {space} has two entries of the same name; expected different ones. Rename one.")
    return entries


def _parts(space: Space, path: Path = ()) -> Iterator[tuple[Path, Space]]:
    """The images, and what lies beside them, as large as possible."""
    if images.is_image(space) or not images.has_images(space):
        yield path, space
        return
    for key, inner in _children(space):
        yield from _parts(inner, (*path, key))


def _leaves(space: Space, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    if not isinstance(space, Dict | Tuple):
        yield path, space
        return
    for key, inner in _children(space):
        yield from _leaves(inner, (*path, key))


def _children(space: Any) -> list[tuple[Any, Space]]:
    return list(space.spaces.items() if isinstance(space, Dict) else enumerate(space.spaces))


def _named_space(space: Space, config: "EnvConfig") -> Box:
    if config.obs == "pixels" and images.is_image(space):
        return space  # type: ignore[return-value]
    return Box(-np.inf, np.inf, flatten_space(space).shape, np.float32)


def _by_name(
    observation: Any, *, entries: Mapping[str, tuple[Path, Space]], spaces: Mapping[str, Space]
) -> dict[str, np.ndarray]:
    values = {}
    for name, (path, space) in entries.items():
        value = observation
        for key in path:
            value = value[key]
        values[name] = value if spaces[name] is space else np.asarray(flatten(space, value), np.float32)
    return values


def _check_flattenable(name: str, entry: str, space: Space) -> None:
    plain = not any(isinstance(leaf, Text | Sequence | Graph) for _, leaf in _leaves(space))
    if not (plain and space.is_np_flattenable):
        raise ValueError(
            f"env: {name} has the observation space {space} for {entry!r}, which is not a vector of numbers of a fixed "
            "size. Use obs=pixels, if it renders or observes images, or wrap it where it is registered with "
            "gymnasium.wrappers.TransformObservation."
        )


def _called(path: Path) -> str:
    return "the observation" + "".join(f"[{key!r}]" for key in path)


def _brief(space: Any) -> str:
    return f"{space.dtype} {list(space.shape)}"
