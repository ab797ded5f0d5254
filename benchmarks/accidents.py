"""Accidents that befall a training process at planned moments: kills, suspensions, a full disk."""

import contextlib
import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, Self

from latentplan.driver.logging import METRICS_FILE
from latentplan.files import TEMPORARY

Kind = Literal["kill", "worker", "suspend", "disk"]
KINDS: dict[Kind, str] = {
    "kill": "kill -9 of the process",
    "worker": "kill -9 of an environment's process",
    "suspend": "suspended (SIGSTOP) for 1 to 4 s",
    "disk": "disk full",
}
ROOT = Path(__file__).parents[1]
_LIMIT = 600.0  # seconds, for a moment to come
_POLL = 0.02  # seconds


During = Literal["start", "save", "work"]
_DURING: tuple[During, ...] = ("start", "save", "work", "work")


class Accident(NamedTuple):
    """One accident and its moment.

    Attributes:
        kind: what happens.
        row: number of rows of metrics.jsonl that have to be written before.
        during: "start", within the time that the program takes to start; "save", while a checkpoint is being written;
            "work", whatever it does after that row.
        delay: position within that time, from 0 to 1.
    """

    kind: Kind
    row: int
    during: During
    delay: float


def plan(counts: dict[Kind, int], rows: int, rng: random.Random) -> list[Accident]:
    """Accidents at random moments, in the order of the rows that they follow.

    A quarter of the kills come while the program starts and a quarter while it saves. The last tenth of the run is
    spared, so that it does not end before its last accident.

    Args:
        counts: the number of accidents of each kind.
        rows: of metrics.jsonl that the whole run will have.
        rng: what is drawn from.

    Returns:
        The accidents.
    """
    accidents = []
    for kind, count in counts.items():
        for i in range(count):
            during = _DURING[i % 4] if kind == "kill" else "work"
            accidents.append(Accident(kind, rng.randrange(9 * rows // 10), during, rng.random()))
    return sorted(accidents, key=lambda accident: accident.row)


class UnexpectedEnd(RuntimeError):
    """A run ended as it should not have."""


class Training:
    """A training command, which is given again whenever an accident has ended it.

    Args:
        command: the program and its arguments.
        logdir: the run's folder.
        output: file for what it prints, not on the disk that is filled.
        startup: seconds from its start to its first row of metrics.
        rng: for lengths of time.

    Attributes:
        starts: how often the command was given.
        befell: number of accidents by kind; of kills also by what they ended: "starting", "saving" or "working".
    """

    def __init__(
        self, command: Sequence[str], logdir: Path, output: Path, *, startup: float, rng: random.Random
    ) -> None:
        """See the class."""
        self._command, self._logdir, self._output = list(command), logdir, output
        self._startup, self._rng = startup, rng
        self._process: subprocess.Popen | None = None
        self._complete = False
        self.starts, self.befell = 0, Counter[str]()

    def suffer(self, accident: Accident) -> None:
        """Lets the run, started if need be, go on until the accident's moment, and then have it.

        Nothing happens if the run is complete before.
        """
        process = self._running()
        if process is None or not self._await_moment(process, accident):
            return
        if accident.kind == "kill":
            self._kill(process)
        elif accident.kind == "worker":
            self._kill_environment(process)
        elif accident.kind == "suspend":
            self._suspend(process)
        else:
            self._fill_disk(process)

    def finish(self) -> None:
        """Lets the run come to its end."""
        while (process := self._running()) is not None:
            process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Ends the process and its environments' processes, if there are any."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def __str__(self) -> str:
        """What happened so far."""
        befell = ", ".join(f"{count} {name}" for name, count in self.befell.items())
        return f"{self.starts} starts; {befell or 'no accident'}"

    def _running(self) -> subprocess.Popen | None:
        """The process, started if there is none; None once the run is complete."""
        if self._process is not None and self._process.poll() is not None:
            self._take_end(self._process.returncode)
        if self._process is None and not self._complete:
            self.starts += 1
            self._started_at = time.time()
            with self._output.open("ab") as output:
                self._output_at = output.tell()
                self._process = subprocess.Popen(
                    self._command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
                )
        return self._process

    def _take_end(self, status: int) -> None:
        """What the end of a process that was not killed means: the run's end, an accident's, or a defect."""
        self._process, said = None, self._said()
        self._complete = status == 0
        accident = any(reason in said for reason in ("full disk", "environment worker"))
        if "Traceback" in said or (status and not (status == 1 and accident)):
            raise UnexpectedEnd(f"{' '.join(self._command)}: ended with status {status} and said\n{said[-3000:]}")

    def _await_moment(self, process: subprocess.Popen, accident: Accident) -> bool:
        """Whether the moment came; else the process ended before."""

        def come() -> bool:
            if accident.during == "start":
                return self._works() or time.time() - self._started_at >= accident.delay * self._startup
            if rows_of(self._logdir) < accident.row or not self._works():
                return False
            return accident.during == "work" or self._saves()

        if not _until(come, process, 0.002 if accident.during == "save" else _POLL):
            return False
        if accident.during != "start":
            time.sleep(accident.delay * (0.1 if accident.during == "save" else 0.5))
        return process.poll() is None

    def _kill(self, process: subprocess.Popen) -> None:
        doing = "saving" if self._saves() else "working" if self._works() else "starting"
        process.kill()
        process.wait()
        self._process = None
        self.befell += Counter(["kill", doing])
        if not _until(lambda: not _group(process.pid), None, _POLL):
            raise UnexpectedEnd(f"{' '.join(self._command)}: it was killed, its processes {_group(process.pid)} go on")

    def _kill_environment(self, process: subprocess.Popen) -> None:
        environments = environment_processes(process.pid)
        if environments:
            os.kill(self._rng.choice(environments), signal.SIGKILL)
            self.befell["worker"] += 1

    def _suspend(self, process: subprocess.Popen) -> None:
        os.killpg(process.pid, signal.SIGSTOP)
        time.sleep(1.0 + 3.0 * self._rng.random())
        os.killpg(process.pid, signal.SIGCONT)
        self.befell["suspend"] += 1

    def _fill_disk(self, process: subprocess.Popen) -> None:
        """Fills the disk but for 0 to 64 KiB until the run has failed, if it does not end before."""
        filler = self._logdir.with_name("filler")
        try:
            with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(2**16))
            os.truncate(filler, max(0, filler.stat().st_size - self._rng.randrange(2**16)))
            self.befell["disk"] += process.wait() != 0
        finally:
            filler.unlink()

    def _saves(self) -> bool:
        """Whether a checkpoint is being written, since this start."""
        for unfinished in (self._logdir / "checkpoints").glob(f"{TEMPORARY}*"):
            with contextlib.suppress(FileNotFoundError):
                if unfinished.stat().st_ctime > self._started_at:
                    return True
        return False

    def _works(self) -> bool:
        """Whether the process has restored and compiled everything."""
        return "compiled in" in self._said()

    def _said(self) -> str:
        return self._output.read_bytes()[self._output_at :].decode(errors="replace")


def _until(come, process: subprocess.Popen | None, poll: float) -> bool:
    """Waits; False if the process, if any, ended before, or if it takes too long."""
    deadline = time.monotonic() + _LIMIT
    while not come():
        if (process is not None and process.poll() is not None) or time.monotonic() > deadline:
            return False
        time.sleep(poll)
    return True


def rows_of(logdir: Path) -> int:
    """The number of rows of metrics that a run has written so far."""
    file = logdir / METRICS_FILE
    return file.read_bytes().count(b"\n") if file.exists() else 0


def environment_processes(pid: int) -> list[int]:
    """The processes of a training process's environments, by their command line."""
    found = []
    for child in _group(pid):
        with contextlib.suppress(OSError):
            if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                found.append(child)
    return found


def _group(pid: int) -> list[int]:
    """The live processes of a process group."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, group = stat.read_text().rpartition(")")[2].split()[:3]
            if int(group) == pid and state != "Z":
                found.append(int(stat.parent.name))
    return found


@contextlib.contextmanager
def small_disk(folder: Path, size: str = "64m") -> Iterator[str]:
    """Mounts a small disk of its own in memory on a folder, which only root may do on Linux.

    Args:
        folder: an empty one.
        size: as for `mount -o size=`.

    Yields:
        Why there is none; "" if there is.
    """
    try:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True, text=True
        )
        problem = done.stderr.strip() if done.returncode else ""
    except OSError as error:
        problem = str(error)
    try:
        yield problem
    finally:
        if not problem:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)
