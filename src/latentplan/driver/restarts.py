"""A run's environments: started on first use, and again after a failure."""

import itertools
from collections.abc import Callable
from typing import Self, TypeVar

from latentplan.envs.boundary import SpaceMismatch
from latentplan.envs.workers import WorkerDied, Workers

T = TypeVar("T")


class RestartingWorkers:
    """Environments that are restarted when a worker process dies or its environment raises an exception.

    Args:
        start: starts the environments.
        restarts: maximum number of restarts per phase.
        workers: the environments, if already started.
    """

    def __init__(self, start: Callable[[], Workers], *, restarts: int, workers: Workers | None = None) -> None:
        """See the class."""
        self._start, self._restarts, self._workers = start, restarts, workers

    def current(self) -> Workers:
        """The environments; starts them if there are none."""
        if self._workers is None:
            self._workers = self._start()
        return self._workers

    def run(self, phase: Callable[[], T], *, on_failure: Callable[[], None], say: Callable[[str], None]) -> T:
        """Runs a phase; if an environment fails, repeats the whole phase with new environments.

        Args:
            phase: uses `current()`. It must reset the environments with the same seeds each time and change nothing
                until it succeeds, so that a repetition yields the same episodes.
            on_failure: called after every failure, before anything is restarted; saves the run, and may raise.
            say: called with a message about each restart.

        Returns:
            The result of the phase.

        Raises:
            WorkerDied: the last failure, with the worker's traceback, when no restarts are left.
            SpaceMismatch: an environment returned something other than it declares, as it would again.
        """
        for restarted in itertools.count():
            try:
                return phase()
            except (WorkerDied, SpaceMismatch) as error:
                self._workers = None  # a failure closes all of them
                on_failure()
                if isinstance(error, SpaceMismatch) or restarted == self._restarts:
                    raise
                say(
                    f"{error.summary}; restarting the environments and repeating the episode "
                    f"(restart {restarted + 1} of {self._restarts})"
                )
        raise AssertionError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Closes the environments."""
        if self._workers is not None:
            self._workers.close()
