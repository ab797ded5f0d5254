"""Whether two runs are the same, bit for bit: metrics, episodes and the newest checkpoint."""

import hashlib
import json
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from latentplan.driver.checkpoint import Checkpoints
from latentplan.driver.logging import METRICS_FILE, read_metrics, reproducible
from latentplan.replay.episodes import CorruptEpisode, read_episode
from latentplan.types import Batch


class Comparison(NamedTuple):
    """What a run has of a reference.

    Attributes:
        rows: rows of metrics of the reference.
        episodes: its episodes.
        lost: names of the rows, episodes and checkpoints that only the reference has.
        differing: names of those that differ, or that only the other run has.
    """

    rows: int
    episodes: int
    lost: list[str]
    differing: list[str]


def compare(reference: Path, other: Path) -> Comparison:
    """Compares two finished runs. What depends on the machine, times and memory, does not count.

    Args:
        reference: folder of a run.
        other: folder of another.

    Returns:
        Comparison.
    """
    expected, got = _content(reference), _content(other)
    return Comparison(
        rows=sum(name.startswith("row") for name in expected),
        episodes=sum(name.startswith("episode") for name in expected),
        lost=[name for name in expected if name not in got],
        differing=[name for name, value in got.items() if expected.get(name) != value],
    )


def _content(logdir: Path) -> dict[str, str]:
    """A text for each part of a run, equal where the parts are: NaN equals NaN, but 0.0 does not equal -0.0."""
    rows = read_metrics(logdir / METRICS_FILE)
    found = {f"row {number}": json.dumps(reproducible(row)) for number, row in enumerate(rows, start=1)}
    found |= {f"episode {path.stem}": _episode(path) for path in sorted((logdir / "episodes").glob("*.npz"))}
    for step, digest in list(Checkpoints(logdir / "checkpoints").digests().items())[-1:]:
        found["newest checkpoint"] = f"{step} {digest}"
    return found


def _episode(path: Path) -> str:
    try:
        return _digest(read_episode(path))
    except CorruptEpisode as error:
        return str(error)


def _digest(episode: Batch) -> str:
    total = hashlib.sha256()
    for name, array in jax.tree_util.tree_leaves_with_path(episode):
        total.update(f"{jax.tree_util.keystr(name)} {array.dtype} {array.shape};".encode())
        total.update(np.ascontiguousarray(array).tobytes())
    return total.hexdigest()
