"""Collection of episodes, sequentially or in a thread that overlaps with learning."""

import functools
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import NamedTuple, Self

import jax.numpy as jnp
import numpy as np

from latentplan.driver.episodes import (
    agent_policy,
    cut_message,
    episode_return,
    precompile_act,
    random_policy,
    run_episodes,
)
from latentplan.driver.job import Job
from latentplan.driver.reporting import Reporter
from latentplan.driver.restarts import RestartingWorkers
from latentplan.driver.rng import env_seeds, stream_key
from latentplan.driver.run_state import RunState
from latentplan.driver.schedule import Progress, in_seed_phase
from latentplan.driver.timing import Stopwatch
from latentplan.types import Batch, Params


class Collected(NamedTuple):
    """One episode from every environment.

    Attributes:
        episodes: one Batch per environment.
        metrics: to log.
    """

    episodes: list[Batch]
    metrics: dict[str, float]


class Collector:
    """Collects episodes with random actions in the seed phase, then with the agent in mode "explore".

    Args:
        job: the run.
        workers: the environments.
        reporter: notified of every decision, except when collection overlaps with learning.
    """

    def __init__(self, job: Job, workers: RestartingWorkers, reporter: Reporter) -> None:
        """See the class."""
        self._job, self._workers, self._reporter = job, workers, reporter
        self._thread = ThreadPoolExecutor(1, "collector")
        self._ahead: Future[Collected] | None = None

    def compile(self, params: Params) -> None:
        """Compiles `act` for the shapes of these parameters."""
        job = self._job
        self._act = precompile_act(job.agent, job.spec, job.run.num_envs, params, "explore")

    def collect(self, state: RunState, on_record: Callable[[Batch], None] | None = None) -> Collected:
        """Returns the next episodes, waiting for those started by `start_ahead`.

        Args:
            state: of the run; not modified.
            on_record: called with each record, [1, ...], before the next decision; it may modify the state, whose
                parameters are read at every decision.

        Raises:
            WorkerDied: an environment failed. The same episodes can be collected again.
        """
        if self._ahead is None:
            progress = state.progress
            on_decision = functools.partial(self._on_decision, progress)
            return self._run(progress, lambda: self._params(state), on_decision, on_record)
        ahead, self._ahead = self._ahead, None
        return ahead.result()

    def start_ahead(self, state: RunState) -> None:
        """Starts the next episodes in a thread, unless already started or none remain.

        They act with `state.acting_params`, which learning does not donate or modify.
        """
        if self._ahead is None and state.progress.env_steps < self._job.run.env_steps:
            params = self._params(state)
            self._ahead = self._thread.submit(self._run, state.progress, lambda: params, self._reporter.stop_if_asked)

    def settle(self) -> None:
        """Waits until no thread is using the environments."""
        if self._ahead is not None:
            wait([self._ahead])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Stops and waits for the thread."""
        self._reporter.stop.set()
        self._thread.shutdown()

    def _params(self, state: RunState) -> Params:
        return state.acting_params if self._job.run.overlap else state.train_state.params

    def _run(
        self,
        progress: Progress,
        params: Callable[[], Params],
        on_decision: Callable[[], None],
        on_record: Callable[[Batch], None] | None = None,
    ) -> Collected:
        run, stopwatch = self._job.run, Stopwatch()
        random = in_seed_phase(run, progress, self._job.replay.batch_length)
        policy = random_policy(self._job.spec) if random else agent_policy(self._job.agent, params, self._act)
        stream = "random" if random else "explore"
        keys = jnp.stack([stream_key(run.seed, stream, progress.episodes + i) for i in range(run.num_envs)])
        seeds = env_seeds(run.seed, "env_collect", progress.episodes, run.num_envs)
        workers = self._workers.current()
        trajectories = run_episodes(
            workers, policy, seeds, keys, on_decision=on_decision, on_record=on_record, stopwatch=stopwatch
        )
        self._reporter.say_once(cut_message(trajectories, self._job.environment.max_decisions))
        episodes = [one.batch for one in trajectories]
        metrics = {
            "collect/return": float(np.mean([episode_return(episode) for episode in episodes])),
            "collect/random": float(random),
            "collect/decisions": sum(len(episode.reward) - 1 for episode in episodes) / len(episodes),
        }
        return Collected(episodes, metrics | stopwatch.seconds())

    def _on_decision(self, progress: Progress) -> None:
        self._reporter.stop_if_asked()
        self._reporter.progress("acting", progress)
