"""What a run tells its caller while it goes on, and how the caller asks it to stop."""

import threading
from collections.abc import Callable
from typing import Any

from latentplan.driver.schedule import Progress

Report = Callable[[str, dict[str, Any]], None]
"""(kind, values): kind is "message", "progress", "episodes", "learned" or "evaluated"."""


class Interrupted(Exception):
    """The run was asked to stop; everything is saved."""


class Reporter:
    """Passes events on to a caller.

    Args:
        report: called with every event.

    Attributes:
        stop: set it to end the run at the next decision or update.
    """

    def __init__(self, report: Report) -> None:
        """See the class."""
        self._report = report
        self.stop = threading.Event()

    def say(self, message: str) -> None:
        """Reports a line of text."""
        self._report("message", {"message": message})

    def progress(self, doing: str, progress: Progress) -> None:
        """Reports that one more decision or update is done, or about to be.

        Args:
            doing: "acting" or "learning".
            progress: where the run stands.
        """
        self._report("progress", {"doing": doing, **progress.counters()})

    def finished(self, phase: str, progress: Progress, values: dict[str, Any]) -> None:
        """Reports the end of a phase.

        Args:
            phase: "episodes", "learned" or "evaluated".
            progress: where the run stands.
            values: the phase's metrics.
        """
        self._report(phase, progress.counters() | values)

    def stop_if_asked(self) -> None:
        """Raises `Interrupted` once `stop` is set."""
        if self.stop.is_set():
            raise Interrupted
