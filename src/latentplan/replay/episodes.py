"""Episodes on disk: one compressed NumPy file each, the offline data set and what resuming reloads."""

import io
import os
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from latentplan.files import atomic_path
from latentplan.types import Batch, EnvSpec


class CorruptEpisode(ValueError):
    """A file that does not hold one whole episode."""


def episode_path(directory: str | os.PathLike, index: int) -> Path:
    """The file of episode `index`, counted from 0 in the order in which episodes were added to replay."""
    return Path(directory) / f"{index:06d}.npz"


def write_episode(directory: str | os.PathLike, index: int, episode: Batch) -> Path:
    """Writes one episode as `{index:06d}.npz`, whole or not at all.

    `numpy.load(path)` reads it back; its keys are the fields of `Batch`. An older file of the same index is
    replaced.

    Args:
        directory: where episodes lie; made if missing.
        index: the number of the episode, from 0.
        episode: NumPy arrays with a leading axis of n + 1 records for n decisions.

    Returns:
        The path of the file.

    Raises:
        ValueError: the arrays are not one episode.
        DiskFull: the disk is full; earlier files are intact and no unfinished file is left.
    """
    episode = Batch(*(np.asarray(field) for field in episode))
    problem = _problem(episode, None)
    if problem:
        raise ValueError(f"episode {index}: {problem}; pass the records of one whole episode")
    path = episode_path(directory, index)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **episode._asdict())
    return path


def read_episode(path: str | os.PathLike, spec: EnvSpec | None = None) -> Batch:
    """Reads one episode and checks that it is whole: checksums, fields, lengths and the first record.

    Args:
        path: a file that `write_episode` made.
        spec: when given, shapes and dtypes must fit this environment.

    Returns:
        NumPy arrays with a leading axis of n + 1 records.

    Raises:
        CorruptEpisode: the file is missing, half-written, garbled or of another environment.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            # Whole members, since zipfile compares a checksum only when a member is read to its end.
            arrays = {Path(name).stem: _array(archive.read(name)) for name in archive.namelist()}
    except Exception as error:  # a garbled archive makes zipfile, zlib and NumPy raise almost anything
        raise CorruptEpisode(f"episode file {path}: cannot be read ({type(error).__name__}: {error})") from error
    if set(arrays) != set(Batch._fields):
        got = ", ".join(sorted(arrays))
        raise CorruptEpisode(f"episode file {path}: expected the fields {', '.join(Batch._fields)}, got {got}")
    episode = Batch(**arrays)
    problem = _problem(episode, spec)
    if problem:
        raise CorruptEpisode(f"episode file {path}: {problem}")
    return episode


def load_episodes(
    directory: str | os.PathLike, count: int, spec: EnvSpec, report: Callable[[str], None]
) -> Iterator[tuple[int, Batch]]:
    """Reads the episodes 0 to count - 1 in order; skips those that are missing or corrupt and says so.

    Files of later indices and unfinished files are not looked at: a run that goes back to a checkpoint writes
    them again.

    Args:
        directory: where the episodes lie.
        count: how many were written.
        spec: the environment they have to fit.
        report: called with one message per skipped episode; it names the file.

    Yields:
        The index and the episode.
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
    """Says what keeps the arrays from being one episode, or gives None."""
    lengths = {name: field.shape[0] if field.ndim else 0 for name, field in episode._asdict().items()}
    if len(set(lengths.values())) != 1:
        return f"expected equal lengths, got {lengths}"
    records = lengths["reward"]
    if records < 2:
        return f"expected at least 2 records (one decision), got {records}"
    if not episode.is_first[0] or np.any(episode.is_first[1:]):
        return "is_first: expected true on the first record only, got something else"
    if spec is None:
        return None
    expected = Batch(
        observation=(spec.observation_shape, spec.observation_dtype),
        action=((spec.action_size,), "float32"),
        reward=((), "float32"),
        is_first=((), "bool"),
        is_last=((), "bool"),
        is_terminal=((), "bool"),
    )
    for name, (shape, dtype), field in zip(Batch._fields, expected, episode, strict=True):
        if field.shape[1:] != tuple(shape) or field.dtype != np.dtype(dtype):
            return f"{name}: expected {dtype} {tuple(shape)} per record, got {field.dtype} {field.shape[1:]}"
    return None
