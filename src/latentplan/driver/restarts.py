"""Environments that are restarted when a worker process dies."""

from collections.abc import Callable
from typing import Self, TypeVar

from latentplan.driver.job import Job
from latentplan.driver.reporting import Reporter
from latentplan.envs.workers import WorkerDied, Workers

RESTARTS = 3  # maximum per phase

T = TypeVar("T")


class RestartingWorkers:
    """A run's environments, started on first use and restarted after a worker's death.

    Args:
        job: the run.
        reporter: notified of restarts; nothing is restarted after a stop request.
    """

    def __init__(self, job: Job, reporter: Reporter) -> None:
        """See the class."""
        self._make = lambda: Workers(job.env, job.environment, job.run.num_envs)
        self._workers = job.workers
        self._reporter = reporter

    def run(self, phase: Callable[[Workers], T]) -> T:
        """Runs a phase; if a worker dies, repeats the whole phase with new workers.

        Args:
            phase: called with the workers. It must reset them with the same seeds each time, so that a repetition
                yields the same episodes.

        Returns:
            The result of the phase.

        Raises:
            WorkerDied: the environment raised an exception, which it would raise again, or workers keep dying.
            Interrupted: a stop was requested; a signal to the process group also ends workers.
        """
        attempt = 0
        while True:
            try:
                self._workers = self._workers or self._make()
                return phase(self._workers)
            except WorkerDied as error:
                self._workers = None
                self._reporter.stop_if_asked()
                if attempt == RESTARTS or error.traceback:
                    raise
                attempt += 1
                self._reporter.say(f"{error}; restarting the environments and repeating the episode")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Closes the workers."""
        if self._workers is not None:
            self._workers.close()
