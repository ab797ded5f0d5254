"""Observations by name: images as they are or rendered, everything else as float32 vectors."""

import fnmatch
import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Space, Tuple, flatten, flatten_space

from latentplan.envs import images
from latentplan.envs.boundary import Path

if TYPE_CHECKING:
    from latentplan.envs.env import EnvConfig


def is_rendered(space: Space, config: "EnvConfig") -> bool:
    """Whether frames are rendered, since the environment's own observations have no image (of that name)."""
    if config.names:
        return "image" in config.names and "image" not in _available(space)
    return config.renders and not images.has_images(space)


def by_name(env: gymnasium.Env, name: str, config: "EnvConfig") -> gymnasium.Env:
    """Gives observations by name.

    With obs state, the whole observation becomes one vector, "state". With obs pixels, an observed image is "image";
    of a dictionary or tuple, each image and each other entry that is a vector has its own name, where a dot separates
    the names of nested ones. Without any image, frames are rendered. With names, those of all these are chosen.

    Args:
        env: the environment.
        name: its name, for error messages.
        config: what to observe, and how large.

    Returns:
        The environment: images uint8 [image_size, image_size, channels * frame_stack], vectors float32 [n]. Discrete
        values are one-hot vectors.

    Raises:
        ValueError: an entry has no fixed size, or there is none of a name, or two.
    """
    entries = _entries(env.observation_space, config)
    for entry, (_, space) in entries.items():
        _check_vector(name, entry, space, config)
    spaces: dict[str, Space] = {entry: _named_space(space, config) for entry, (_, space) in entries.items()}
    rendered = is_rendered(env.observation_space, config)
    if rendered:
        env.reset()
        spaces = {"image": Box(0, 255, env.render().shape, np.uint8), **spaces}  # type: ignore[union-attr]
    env = _ByName(env, entries, spaces, rendered=rendered)
    if not config.pixels:
        return env
    return images.stack(images.fit(env, config.image_size, grayscale=config.grayscale), config.frame_stack)


def used_paths(space: Space, config: "EnvConfig") -> tuple[Path, ...]:
    """Where the entries that are used lie in the environment's own observations; () if all of it is rendered."""
    return tuple(path for path, _ in _entries(space, config).values())


def observation_notes(space: Space, config: "EnvConfig") -> Iterator[str]:
    """What a user might not expect of how observations are used: one sentence each.

    Args:
        space: the environment's own observation space.
        config: what to observe.
    """
    leaves = dict(_leaves(space))
    vectors = {path: leaf for path, leaf in leaves.items() if _is_vector(leaf)}
    pictured = {path: leaf for path, leaf in vectors.items() if images.is_image(leaf) or len(leaf.shape) == 3}
    if is_rendered(space, config) and not config.names:
        for path, leaf in pictured.items():
            yield (
                f"the image is rendered: {_called(path)} {_brief(leaf)} is not used, since images are "
                f"{images.WHAT_IS_AN_IMAGE}"
            )
        return
    if config.names:
        chosen = used_paths(space, config)
        pictured = {path: leaf for path, leaf in pictured.items() if path in chosen}
    elif config.pixels:
        for path, leaf in leaves.items():
            if path not in vectors:
                yield f"{_called(path)} {type(leaf).__name__} is not used, since it is no vector of a fixed size"
    for path, leaf in pictured.items():
        if not config.pixels or not images.is_image(leaf):
            advice = "; obs=pixels keeps images" if images.is_image(leaf) else ""
            size = math.prod(leaf.shape)
            yield f"{_called(path)} {_brief(leaf)} is flattened into a vector of {size} numbers{advice}"
            continue
        if images.is_unit_image(leaf):
            yield f"{_called(path)} {_brief(leaf)} from 0 to 1 is scaled to uint8 from 0 to 255"
        if images.channels_first(leaf.shape):
            yield f"{_called(path)} {_brief(leaf)} is taken as [channels, height, width]"


def _entries(space: Space, config: "EnvConfig") -> dict[str, tuple[Path, Space]]:
    """Name -> keys and space of what is observed of the environment's own observations; rendered frames come on top."""
    if config.names:
        available = _available(space)
        rendered = {"image"} if is_rendered(space, config) else set()
        chosen = [name for pattern in config.names for name in _matching(pattern, available, rendered)]
        return {name: available[name] for name in dict.fromkeys(chosen) if name not in rendered}
    if not config.pixels:
        return {"state": ((), space)}
    if is_rendered(space, config):
        return {}
    return _named(space, list(_parts(space)))


def _named(space: Space, found: list[tuple[Path, Space]]) -> dict[str, tuple[Path, Space]]:
    entries = {".".join(map(str, path)) or "image": (path, part) for path, part in found}
    if len(entries) < len(found):
        raise ValueError(f"env: {space} has two entries of the same name; expected different ones. Rename one.")
    return entries


def _available(space: Space) -> dict[str, tuple[Path, Space]]:
    """Name -> keys and space of everything that can be chosen: the entries, "image" and "state"."""
    entries = _named(space, [(path, leaf) for path, leaf in _leaves(space) if path])
    if images.is_image(space):
        entries["image"] = (), space
    elif not images.has_images(space):
        entries.setdefault("state", ((), space))
    return entries


def _matching(pattern: str, available: Mapping[str, object], rendered: set[str]) -> list[str]:
    found = [name for name in (*available, *rendered) if fnmatch.fnmatchcase(name, pattern)]
    if not found:
        known = ", ".join(dict.fromkeys([*available, "image"]))
        raise ValueError(f"obs: expected names among {known}, got {pattern!r}; choose from these")
    return found


def _parts(space: Space, path: Path = ()) -> Iterator[tuple[Path, Space]]:
    """The images, and the vectors beside them, as large as possible."""
    if images.is_image(space) or (_is_vector(space) and not images.has_images(space)):
        yield path, space
    elif isinstance(space, Dict | Tuple):
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
    if config.pixels and images.is_image(space):
        return Box(0, 255, space.shape, np.uint8) if images.is_unit_image(space) else space  # type: ignore[return-value]
    return Box(-np.inf, np.inf, flatten_space(space).shape, np.float32)


class _ByName(gymnasium.ObservationWrapper):
    """Takes entries out of an environment's observation, and adds a rendered "image"."""

    def __init__(
        self,
        env: gymnasium.Env,
        entries: Mapping[str, tuple[Path, Space]],
        spaces: Mapping[str, Space],
        *,
        rendered: bool,
    ):
        super().__init__(env)
        self.observation_space = Dict(dict(spaces))
        self._entries, self._rendered = entries, rendered

    def observation(self, observation: Any) -> dict[str, Any]:
        """By name."""
        values: dict[str, Any] = {"image": self.env.render()} if self._rendered else {}
        for name, (path, space) in self._entries.items():
            value = observation
            for key in path:
                value = value[key]
            if self.observation_space[name].dtype != np.uint8:  # type: ignore[index]
                values[name] = np.asarray(flatten(space, value), np.float32)
            else:
                values[name] = images.as_uint8(value) if images.is_unit_image(space) else value
        return values


def _is_vector(space: Space) -> bool:
    """Whether observations are numbers of a fixed count, one or more, also inside dictionaries and tuples."""
    leaves = [leaf for _, leaf in _leaves(space)]
    plain = all(isinstance(leaf, Box | Discrete | MultiDiscrete | MultiBinary) for leaf in leaves)
    return plain and any(0 not in leaf.shape for leaf in leaves)


def _check_vector(name: str, entry: str, space: Space, config: "EnvConfig") -> None:
    if not _is_vector(space):
        advice = "Leave it out of obs" if config.names else "Use obs=pixels, if it renders or observes images"
        raise ValueError(
            f"env: {name} has the observation space {space} for {entry!r}, which is not a vector of numbers of a fixed "
            f"size. {advice}, or wrap it where it is registered with gymnasium.wrappers.TransformObservation."
        )


def _called(path: Path) -> str:
    return "the observation" + "".join(f"[{key!r}]" for key in path)


def _brief(space: Any) -> str:
    return f"{space.dtype} {list(space.shape)}"
