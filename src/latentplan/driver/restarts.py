"""Environments that are started again where a worker process dies."""

from collections.abc import Callable
from typing import Self, TypeVar

from latentplan.driver.job import Job
from latentplan.driver.reporting import Reporter
from latentplan.envs.workers import WorkerDied, Workers

RESTARTS = 3  # in one phase; then the run fails

T = TypeVar("T")


class RestartingWorkers:
    """A run's environments, started when they are first needed and again after a death.

    Args:
        job: the run.
        reporter: told of restarts; no worker is started again once the run was asked to stop.
    """

    def __init__(self, job: Job, reporter: Reporter) -> None:
        """See the class."""
        self._make = lambda: Workers(job.env, job.environment, job.run.num_envs)
        self._workers = job.workers
        self._reporter = reporter

    def run(self, phase: Callable[[Workers], T]) -> T:
        """Runs a phase; where a worker dies, the whole phase once more with new workers.

        Args:
            phase: called with the workers. It resets them with the same seeds each time, so a repetition gives the
                same episodes.

        Returns:
            What the phase returns.

        Raises:
            WorkerDied: the environment itself raised, which it would do again, or workers keep dying.
            Interrupted: the run was asked to stop; a signal to the process group ends workers, too.
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
                self._reporter.say(f"{error}; starting the environments again and repeating the episode")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Closes the workers."""
        if self._workers is not None:
            self._workers.close()
