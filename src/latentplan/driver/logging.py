"""Metrics output: `metrics.jsonl`, TensorBoard events and small JSON files."""

import contextlib
import importlib.util
import json
import math
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latentplan.files import TEMPORARY, DiskFull, atomic_path, clear_disk_errors

if TYPE_CHECKING:
    from tensorboardX.event_file_writer import EventsWriter

METRICS_FILE = "metrics.jsonl"
MACHINE_DEPENDENT = ("time/", "memory/")
"""Prefixes of the metrics that two equal runs do not have in common."""
KINDS = ("collect", "learn", "evaluation", "held_out")
"""Groups of metrics: "collect/return" is the return of collected episodes."""
COUNTERS = ("env_steps", "episodes", "updates")
"""What every line begins with."""
RESERVED = (*KINDS, *COUNTERS, *(prefix.rstrip("/") for prefix in MACHINE_DEPENDENT))
"""Names that nothing else may be logged under."""
Row = dict[str, Any]
"""A line of metrics.jsonl: counters and metrics by name, each a number, a string or a list of numbers."""


class MetricsLog:
    """Appends metrics to `metrics.jsonl` and to TensorBoard events in the same directory.

    One call to `write` appends one line of strict JSON and flushes it to disk: counters first, then metrics, with
    floats that round-trip exactly and non-finite values as null. By convention, machine-dependent fields begin with
    `time/` or `memory/`; all others are reproducible on CPU (`reproducible`). TensorBoard's step is the counter
    `env_steps`.

    Events are written synchronously, not by tensorboardX's thread, which dies silently on a full disk, so that the next
    write blocks forever. They need tensorboardX, from the extra `cli`; without it there are none.

    Args:
        logdir: an existing directory. An incomplete last line, from a run that was killed, is dropped.
    """

    def __init__(self, logdir: str | os.PathLike) -> None:
        """See the class."""
        self._logdir = Path(logdir)
        self.path = self._logdir / METRICS_FILE
        self._file = self.path.open("ab", buffering=0)
        self._events: EventsWriter | None = None  # from the first line on
        self._has_tensorboard = importlib.util.find_spec("tensorboardX") is not None
        self._purge_from: int | None = None
        self._cut(self._size())

    def write(self, counters: dict[str, int], metrics: Row) -> None:
        """Appends one line and the corresponding TensorBoard scalars.

        A vector becomes a list in the JSON line, and one scalar per element in TensorBoard, NAME/1 to NAME/n.

        Args:
            counters: of the run, including `env_steps`. Not written to TensorBoard.
            metrics: scalars (Python, NumPy or JAX) and vectors; strings are written to the JSON line only.

        Raises:
            ValueError: `env_steps` is missing, a name occurs twice, or a value is neither scalar nor vector.
            DiskFull: the disk is full; earlier lines are intact.
        """
        if "env_steps" not in counters:
            raise ValueError(f"counters: expected env_steps among them, got {sorted(counters)}; add it")
        twice = sorted(set(counters) & set(metrics))
        if twice:
            raise ValueError(f"metrics: expected names different from the counters', got {twice} in both; rename them")
        row = {name: _plain(name, value) for name, value in {**counters, **metrics}.items()}
        finite = {name: _finite(value) for name, value in row.items()}
        self._append(json.dumps(finite, allow_nan=False).encode() + b"\n")
        if not self._has_tensorboard:
            return
        with clear_disk_errors(self._logdir):
            self._draw(int(counters["env_steps"]), {k: v for name in metrics for k, v in _scalars(name, row[name])})

    def position(self) -> int:
        """Flushes `metrics.jsonl` to disk and returns its size in bytes, which checkpoints store."""
        os.fsync(self._file.fileno())
        return self._size()

    def rewind(self, size_bytes: int, report: Callable[[str], None] = lambda message: None) -> int:
        """Truncates `metrics.jsonl` to a stored `position`, so that a resumed run continues as if never interrupted.

        Later points are purged from TensorBoard, too.

        Args:
            size_bytes: the size to truncate to.
            report: called with a message if the file is already shorter, that is, if lines were lost.

        Returns:
            The new size. An incomplete last line is dropped.
        """
        before = self._size()
        if before < size_bytes:
            report(f"metrics {self.path}: expected at least {size_bytes} bytes, got {before}; some lines are lost")
        self._cut(min(size_bytes, before))
        rows = read_metrics(self.path)
        self._purge_from = rows[-1]["env_steps"] + 1 if rows else 0
        self._close_events()
        return self._size()

    def close(self) -> None:
        """Closes the files."""
        self._close_events()
        self._file.close()

    def _size(self) -> int:
        return os.fstat(self._file.fileno()).st_size

    def _cut(self, size: int) -> None:
        """Truncates to at most `size` bytes, at the end of a line."""
        with self.path.open("rb") as file:
            whole = file.read(size).rfind(b"\n") + 1
        if whole < self._size():
            os.truncate(self._file.fileno(), whole)

    def _append(self, line: bytes) -> None:
        size = self._size()
        try:
            with clear_disk_errors(self.path):
                rest = line
                while rest:
                    rest = rest[self._file.write(rest) or 0 :]
        except BaseException:
            os.truncate(self._file.fileno(), size)
            raise

    def _draw(self, env_steps: int, scalars: dict[str, float]) -> None:
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog
        from tensorboardX.summary import scalar

        if self._events is None:
            count = len(list(self._logdir.glob("events.out.tfevents.*")))
            self._events = EventsWriter(str(self._logdir / "events"), f".{count:04d}")  # unique even within one second
            if self._purge_from is not None:
                start = SessionLog(status=SessionLog.START)
                self._events.write_event(Event(wall_time=time.time(), step=self._purge_from, session_log=start))
        for name, value in scalars.items():
            self._events.write_event(Event(wall_time=time.time(), step=env_steps, summary=scalar(name, value)))
        self._events.flush()

    def _close_events(self) -> None:
        if self._events is not None:
            with contextlib.suppress(OSError):  # `write` has already reported a full disk
                self._events.close()
            self._events = None


def read_metrics(path: str | os.PathLike) -> list[Row]:
    """Reads `metrics.jsonl`.

    Args:
        path: the file.

    Returns:
        One dict per line, in order, with NaN for null. An incomplete last line is skipped.

    Raises:
        ValueError: any other line is not JSON; the message names it.
    """
    rows = []
    for number, line in enumerate(Path(path).read_bytes().split(b"\n")[:-1], start=1):
        try:
            row = json.loads(line)
        except ValueError as error:
            raise ValueError(f"{path}: expected JSON on line {number}, got {line[:60]!r}; remove it") from error
        rows.append({name: _not_finite(value) for name, value in row.items()})
    return rows


def reproducible(row: Row) -> Row:
    """A row of metrics.jsonl without what depends on the machine, that is, on a CPU the same in every repetition."""
    return {name: value for name, value in row.items() if not name.startswith(MACHINE_DEPENDENT)}


def write_json_atomic(path: str | os.PathLike, obj: object) -> None:
    """Writes an object as indented JSON, atomically.

    Raises:
        TypeError: the object cannot be serialised as JSON.
        DiskFull: the disk is full; an older file is intact.
    """
    text = json.dumps(obj, indent=2) + "\n"
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def prepare_logdir(path: str | os.PathLike) -> Path:
    """Creates the log directory and checks that it is writable.

    Returns:
        Its absolute path.

    Raises:
        ValueError: it is a file, lies below one, or is not writable.
        DiskFull: the disk is full.
    """
    logdir = Path(path).expanduser().absolute()
    if logdir.exists() and not logdir.is_dir():
        raise ValueError(f"logdir: expected a directory, got the file {logdir}; choose another")
    probe = logdir / f"{TEMPORARY}probe"
    try:
        with clear_disk_errors(logdir):
            logdir.mkdir(parents=True, exist_ok=True)
            try:
                probe.write_text("probe")
            finally:
                probe.unlink(missing_ok=True)
    except DiskFull:
        raise
    except OSError as error:
        raise ValueError(
            f"logdir: expected a writable directory, got {logdir} ({error.strerror}); "
            "choose another or change its permissions"
        ) from error
    return logdir


def _finite(value: object) -> object:
    if isinstance(value, list):
        return [_finite(element) for element in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _not_finite(value: object) -> object:
    if isinstance(value, list):
        return [_not_finite(element) for element in value]
    return math.nan if value is None else value


def _scalars(name: str, value: Any) -> Iterator[tuple[str, float]]:
    if isinstance(value, list):
        yield from ((f"{name}/{i}", float(element)) for i, element in enumerate(value, start=1))
    elif not isinstance(value, str):
        yield name, float(value)


def _plain(name: str, value: Any) -> int | float | str | bool | list:
    """Converts a scalar to an equal Python number, and a vector to a list of them."""
    if isinstance(value, int | float | str):
        return value
    if getattr(value, "shape", None) == () and value.dtype.kind in "biuf":
        return value.item()
    if getattr(value, "shape", None) == ():  # bfloat16 and similar
        return float(value)
    if isinstance(value, list | tuple) or len(getattr(value, "shape", ())) == 1:
        return [_plain(f"{name}[{i}]", element) for i, element in enumerate(value)]
    raise ValueError(
        f"{name}: expected a scalar or a vector, got {type(value).__name__} {getattr(value, 'shape', '')}; "
        "reduce it first"
    )
