"""Progress reports to a run's caller, and the caller's stop request."""

import threading
from collections.abc import Callable

from latentplan.driver.logging import Row
from latentplan.driver.schedule import Progress

Report = Callable[[str, Row], None]
"""(kind, values): kind is "message", "progress", "episodes", "learned" or "evaluated"."""


class Interrupted(Exception):
    """The run was stopped on request; everything is saved."""


class Reporter:
    """Forwards events to the caller.

    Args:
        report: called with every event.

    Attributes:
        stop: set it to end the run at the next decision or update.
    """

    def __init__(self, report: Report) -> None:
        """See the class."""
        self._report = report
        self.stop = threading.Event()
        self._said: set[str] = set()

    def say(self, message: str) -> None:
        """Reports a line of text."""
        self._report("message", {"message": message})

    def say_once(self, message: str) -> None:
        """Reports a line of text unless it was reported before; nothing if it is empty."""
        if message and message not in self._said:
            self._said.add(message)
            self.say(message)

    def progress(self, doing: str, progress: Progress) -> None:
        """Reports progress by one decision or update.

        Args:
            doing: "acting" or "learning".
            progress: the run's counters.
        """
        self._report("progress", {"doing": doing, **progress.counters()})

    def finished(self, phase: str, progress: Progress, values: Row) -> None:
        """Reports the end of a phase.

        Args:
            phase: "episodes", "learned" or "evaluated".
            progress: the run's counters.
            values: the phase's metrics.
        """
        self._report(phase, progress.counters() | values)

    def stop_if_asked(self) -> None:
        """Raises `Interrupted` once `stop` is set."""
        if self.stop.is_set():
            raise Interrupted
