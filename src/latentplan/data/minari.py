"""Minari data sets (the Farama Foundation's standard, version 0.5): read as episodes, and written from them."""

import shutil
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, flatten

from latentplan.data.arrays import Steps, cut_episodes, flattened_notes, readable
from latentplan.types import ArraySpec, Batch, EnvSpec


def is_dataset(folder: Path) -> bool:
    """Whether a folder holds a Minari data set."""
    return (folder / "data" / "metadata.json").is_file()


def read(dataset: str | Path) -> Iterator[tuple[str, Batch, tuple[str, ...]]]:
    """Reads a data set's episodes.

    Boxes are scaled to [-1, 1] by their bounds; dictionaries keep their entries' names; other spaces are flattened.

    Args:
        dataset: its name, or its folder.

    Yields:
        (where it comes from, episode, notes as in `Steps`).

    Raises:
        ValueError: there is no such data set here, or it has actions of another kind.
    """
    import minari

    try:
        held = minari.MinariDataset(dataset / "data") if isinstance(dataset, Path) else minari.load_dataset(dataset)
    except Exception as error:  # FileNotFoundError, ValueError, and what its parsers raise
        missing = isinstance(error, FileNotFoundError)  # Minari's own words advise an argument of its function
        reason = "which is none" if missing else f"{type(error).__name__}: {error}".splitlines()[0]
        raise ValueError(
            f"data: expected a file, a folder, a pattern, or the name of a local Minari data set, got {dataset} "
            f"({reason}); check the path; `minari list local` shows the names"
        ) from error
    if not isinstance(held.action_space, Box | Discrete):
        raise ValueError(f"{dataset}: action: expected a Box or a Discrete space, got {held.action_space}")
    for episode in _intact(held, dataset):
        where = f"{dataset}, episode {episode.id}"
        with readable(where, "what the data set's spaces say"):
            steps = Steps(
                observation=_observations(held.observation_space, episode.observations),
                action=_actions(held.action_space, np.asarray(episode.actions)),
                reward=np.asarray(episode.rewards, np.float32),
                terminal=np.asarray(episode.terminations, bool),
                last=np.zeros(len(episode.rewards), bool),
                next_observation=None,
                shifted=False,
                notes=_notes(held.observation_space),
            )
        for batch in cut_episodes(steps):
            yield where, batch, steps.notes


def _notes(space: gymnasium.Space) -> tuple[str, ...]:
    spaces = space.spaces if isinstance(space, Dict) else {"the observation": space}
    return flattened_notes({name: (x.dtype, x.shape) for name, x in spaces.items() if isinstance(x, Box)})


def _intact(held: Any, dataset: str | Path) -> Iterator[Any]:
    with readable(dataset, "an intact Minari data set"):
        yield from held.iterate_episodes()


def check_name(name: str) -> None:
    """Checks that a data set of this name can be written, and that Minari's store stays readable with it.

    Args:
        name: "NAME-v0" or "NAMESPACE/NAME-v0".

    Raises:
        ValueError: it is not of that form, or taken.
    """
    from minari.dataset.minari_dataset import parse_dataset_id
    from minari.storage import get_dataset_path

    try:
        parse_dataset_id(name)
        parts = name.split("/")
        holds = "" not in parts and "data" not in parts  # "data" is what marks the folder of a data set
    except (ValueError, TypeError):  # without a version it fails on int(None)
        holds = False
    if not holds:
        raise ValueError(
            f"minari: expected NAME-v0 or NAMESPACE/NAME-v0 of letters, digits, - and _, with a namespace of at least "
            f"two that is not data, got {name!r}; choose such a name"
        )
    folder = get_dataset_path(name)
    if folder.exists():
        raise ValueError(
            f"minari: expected a new name, got {name}, which exists; delete it with `minari delete {name}`"
        )
    store = get_dataset_path()
    if any((outer / "data").is_dir() for outer in folder.parents if store in outer.parents):
        raise ValueError(f"minari: expected a name outside other data sets, got {name}; choose another namespace")


@contextmanager
def _whole_or_nothing(folder: Path) -> Iterator[None]:
    """Removes a folder, and those made for it, if writing it fails or is interrupted."""
    made = next(outer for outer in (folder, *folder.parents) if outer.parent.exists())
    try:
        yield
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise


def write(name: str, episodes: Iterable[Batch], spec: EnvSpec, *, env: str = "", description: str = "") -> int:
    """Writes episodes as a Minari data set, which `minari.load_dataset(name)` reads back.

    Images are stored as they are, not as JPEG. Actions are in [-1, 1], or whole numbers; each lasts `action_repeat`
    control steps.

    Args:
        name: "NAME-v0" or "NAMESPACE/NAME-v0".
        episodes: n + 1 records each.
        spec: of their environment.
        env: the environment's name, where gymnasium can make it.
        description: of the data set.

    Returns:
        The number of episodes written.

    Raises:
        ValueError: the name is taken or not of that form, or there is no episode.
    """
    import minari
    from minari.data_collector import EpisodeBuffer
    from minari.storage import get_dataset_path

    check_name(name)
    buffers = [
        EpisodeBuffer(
            id=index,
            observations=_stored(episode.observation),
            actions=episode.action[1:].argmax(1) if spec.discrete else episode.action[1:],
            rewards=list(episode.reward[1:]),
            terminations=list(episode.is_terminal[1:]),
            truncations=list(episode.is_last[1:] & ~episode.is_terminal[1:]),
        )
        for index, episode in enumerate(episodes)
    ]
    if not buffers:
        raise ValueError("minari: expected at least one episode, got none; let the run collect one")
    choices = Discrete(spec.action_size) if spec.discrete else None
    with _whole_or_nothing(get_dataset_path(name)), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of each description that is left out, such as an e-mail address
        minari.create_dataset_from_buffers(
            name,
            buffers,
            env=env if env in gymnasium.registry else None,
            observation_space=_observation_space(spec),
            action_space=choices or Box(-1.0, 1.0, (spec.action_size,), np.float32),
            description=description or None,
            jpeg_encoding=False,
        )
    return len(buffers)


def _observations(space: gymnasium.Space, values: Any) -> dict[str, np.ndarray]:
    if isinstance(space, Dict):
        return {name: _observation(inner, values[name]) for name, inner in space.spaces.items()}
    array = _observation(space, values)
    return {"image" if array.dtype == np.uint8 else "state": array}


def _observation(space: gymnasium.Space, values: Any) -> np.ndarray:
    """uint8 [n + 1, height, width, channels], or float32 [n + 1, size]."""
    if isinstance(space, Box) and space.dtype == np.uint8 and len(space.shape) == 3:
        return np.asarray(values)
    if isinstance(space, Box):
        return np.asarray(values, np.float32).reshape(len(values), -1)
    flat = np.stack([np.asarray(flatten(space, value), np.float32) for value in values])
    return flat.reshape(len(flat), -1)


def _actions(space: Box | Discrete, actions: np.ndarray) -> np.ndarray:
    """One-hot choices, or float32 in [-1, 1]."""
    if isinstance(space, Discrete):
        return np.eye(int(space.n), dtype=np.float32)[actions.astype(np.int64) - int(space.start)]
    if not np.isfinite([space.low, space.high]).all():
        return actions.astype(np.float32)
    low, high = (x.astype(np.float64) for x in (space.low, space.high))
    scaled = 2 * (actions - low) / np.where(high > low, high - low, 1.0) - 1
    return np.where(high > low, scaled, 0.0).astype(np.float32)


def _stored(observation: dict[str, np.ndarray]) -> Any:
    return next(iter(observation.values())) if len(observation) == 1 else observation


def _observation_space(spec: EnvSpec) -> gymnasium.Space:
    boxes: dict[str, gymnasium.Space] = {name: _box(space) for name, space in spec.observations.items()}
    return next(iter(boxes.values())) if len(boxes) == 1 else Dict(boxes)


def _box(space: ArraySpec) -> Box:
    if space.dtype == "uint8":
        return Box(0, 255, space.shape, np.uint8)
    return Box(-np.inf, np.inf, space.shape, np.dtype(space.dtype).type)
