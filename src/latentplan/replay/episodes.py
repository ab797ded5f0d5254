"""Episodes on disk, one compressed NumPy file each: the offline data set, and the source of replay on resuming."""

import io
import os
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from latentplan.files import atomic_path
from latentplan.types import Batch, EnvSpec

_PREFIX = "observation/"
_OTHERS = ("action", "reward", "is_first", "is_last", "is_terminal")


class CorruptEpisode(ValueError):
    """A file that does not hold exactly one complete episode."""


def episode_path(directory: str | os.PathLike, index: int) -> Path:
    """The path of episode `index`, counted from 0 in the order of addition to replay."""
    return Path(directory) / f"{index:06d}.npz"


def write_episode(directory: str | os.PathLike, index: int, episode: Batch) -> Path:
    """Writes one episode atomically as `{index:06d}.npz`.

    `numpy.load(path)` reads it back; its keys are the fields of `Batch`, and "observation/NAME" for each observation.
    An older file of the same index is replaced.

    Args:
        directory: of the episode files; created if missing.
        index: the number of the episode, from 0.
        episode: NumPy arrays with a leading axis of n + 1 records for n decisions.

    Returns:
        The path of the file.

    Raises:
        ValueError: the arrays do not form one complete episode.
        DiskFull: the disk is full; earlier files are intact and no unfinished file is left.
    """
    episode = jax.tree.map(np.asarray, episode)
    problem = _problem(episode, None)
    if problem:
        raise ValueError(f"episode {index}: {problem}; pass the records of one complete episode")
    path = episode_path(directory, index)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **_flat(episode))
    return path


def read_episode(path: str | os.PathLike, spec: EnvSpec | None = None) -> Batch:
    """Reads one episode and validates it: checksums, fields, lengths and the first record.

    Args:
        path: a file written by `write_episode`.
        spec: if given, shapes and dtypes must match this environment.

    Returns:
        NumPy arrays with a leading axis of n + 1 records.

    Raises:
        CorruptEpisode: the file is missing, incomplete, corrupt or from another environment.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            # Read members completely: zipfile verifies a checksum only at a member's end.
            arrays = {name.removesuffix(".npy"): _array(archive.read(name)) for name in archive.namelist()}
    except Exception as error:  # on a corrupt archive zipfile, zlib and NumPy raise almost anything
        raise CorruptEpisode(f"episode file {path}: cannot be read ({type(error).__name__}: {error})") from error
    episode = _nested(arrays)
    if episode is None:
        got = ", ".join(sorted(arrays))
        expected = ", ".join(["observation/NAME", *_OTHERS])
        raise CorruptEpisode(f"episode file {path}: expected the fields {expected}, got {got}")
    problem = _problem(episode, spec)
    if problem:
        raise CorruptEpisode(f"episode file {path}: {problem}")
    return episode


def _flat(episode: Batch) -> dict[str, Any]:
    """Flattens an episode into arrays by file key."""
    observations: dict[str, Any] = {f"{_PREFIX}{name}": x for name, x in episode.observation.items()}
    return observations | {name: getattr(episode, name) for name in _OTHERS}


def _nested(arrays: dict[str, np.ndarray]) -> Batch | None:
    """Rebuilds an episode from a file's arrays; None if keys are missing or unknown."""
    arrays = dict(arrays)
    if "observation" in arrays:  # version 0.1.0 had one observation, without a name
        observation = arrays.pop("observation")
        arrays[_PREFIX + ("image" if observation.ndim == 4 else "state")] = observation
    observations = {key.removeprefix(_PREFIX): x for key, x in arrays.items() if key.startswith(_PREFIX)}
    others = {key: x for key, x in arrays.items() if not key.startswith(_PREFIX)}
    return Batch(observations, **others) if observations and set(others) == set(_OTHERS) else None


def load_episodes(
    directory: str | os.PathLike, count: int, spec: EnvSpec, report: Callable[[str], None]
) -> Iterator[tuple[int, Batch]]:
    """Reads episodes 0 to count - 1 in order; skips and reports those that are missing or corrupt.

    Files of later indices and unfinished files are ignored: a run that resumes from a checkpoint rewrites them.

    Args:
        directory: of the episode files.
        count: number of episodes written.
        spec: of the environment, which they must match.
        report: called with one message per skipped episode, which names the file.

    Yields:
        (index, episode).
    """
    for index in range(count):
        try:
            episode = read_episode(episode_path(directory, index), spec)
        except CorruptEpisode as error:
            report(f"{error}; this episode is skipped and missing from replay")
            continue
        yield index, episode


def _array(data: bytes) -> np.ndarray:
    return np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)


def _problem(episode: Batch, spec: EnvSpec | None) -> str | None:
    """Why the arrays are not one valid episode; None if they are."""
    arrays = _flat(episode)
    lengths = {name: x.shape[0] if x.ndim else 0 for name, x in arrays.items()}
    if len(set(lengths.values())) != 1:
        return f"expected equal lengths, got {lengths}"
    records = lengths["reward"]
    if records < 2:
        return f"expected at least 2 records (one decision), got {records}"
    if not episode.is_first[0] or np.any(episode.is_first[1:]):
        return "is_first: expected true on the first record only, got something else"
    if spec is None:
        return None
    if set(episode.observation) != set(spec.observations):
        return f"observation: expected {', '.join(spec.observations)}, got {', '.join(episode.observation)}"
    expected = {f"{_PREFIX}{name}": (space.shape, space.dtype) for name, space in spec.observations.items()}
    expected |= {"action": ((spec.action_size,), "float32"), "reward": ((), "float32")}
    expected |= dict.fromkeys(("is_first", "is_last", "is_terminal"), ((), "bool"))
    for name, (shape, dtype) in expected.items():
        found = arrays[name]
        if found.shape[1:] != tuple(shape) or found.dtype != np.dtype(dtype):
            return f"{name}: expected {dtype} {tuple(shape)} per record, got {found.dtype} {found.shape[1:]}"
    return None
