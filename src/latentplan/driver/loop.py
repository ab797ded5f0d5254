"""The training loop: collect episodes, learn from replay, evaluate; interruptible and resumable at any point.

A run's state is a few counters (`schedule.Progress`) and the train state. Random numbers depend on the counters only
(`rng`), so a resumed run repeats, bit for bit on CPU, what it did after its last checkpoint.
"""

import functools
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import TypeVar

import jax

from latentplan.driver import memory
from latentplan.driver.collector import Collected, Collector
from latentplan.driver.evaluation import Evaluator
from latentplan.driver.held_out import HeldOut
from latentplan.driver.interleaved import Interleaved
from latentplan.driver.job import Job, check_job
from latentplan.driver.learner import Learner
from latentplan.driver.logging import Row
from latentplan.driver.reporting import Interrupted, Report, Reporter
from latentplan.driver.restarts import RestartingWorkers
from latentplan.driver.run_folder import RunFolder
from latentplan.driver.run_state import copied
from latentplan.driver.schedule import Progress, checkpoint_due, in_seed_phase, next_phase
from latentplan.driver.signals import stop_on_signals
from latentplan.envs.recorded import RECORDED
from latentplan.envs.workers import Workers
from latentplan.replay.ring import replay_bytes

T = TypeVar("T")
_ALLOWANCE = 2**30  # bytes, for temporary memory besides learning: acting, videos, compilation


def train(job: Job, report: Report = lambda kind, values: None) -> Progress:
    """Trains until `job.run.env_steps`, resuming from the log directory's newest checkpoint.

    Args:
        job: agent, environment, schedule and log directory.
        report: called with every event.

    Returns:
        The final counters.

    Raises:
        Interrupted: after SIGINT or SIGTERM; everything is saved.
        WorkerDied: an environment keeps failing; everything is saved.
        NonFinite: an update produced NaN or infinity.
        ValueError: the job's settings are incompatible with each other or the machine; see `check_job`.
    """
    check_job(job)
    reporter = Reporter(report)
    with ExitStack() as closing:
        closing.enter_context(stop_on_signals(reporter.stop, reporter.say))
        run = _Run(job, reporter, closing)
        if run.next_phase() != "stop":
            run.compile()
        else:
            at, asked = run.state.progress, job.run.env_steps
            reporter.say(
                f"already at {at.env_steps} env_steps and {at.updates} updates, with env_steps = {asked} asked for; "
                "nothing is left to do"
            )
        run.until_done()
        return run.state.progress


class _Run:
    """A run in progress: its state and the components that work on it."""

    def __init__(self, job: Job, reporter: Reporter, closing: ExitStack) -> None:
        self.job, self.reporter = job, reporter
        self.folder = closing.enter_context(RunFolder(job, reporter.say))
        start = functools.partial(Workers, job.env, job.environment, job.run.num_envs)
        workers = RestartingWorkers(start, restarts=job.run.env_restarts, workers=job.workers)
        self.workers = closing.enter_context(workers)
        self.collector = closing.enter_context(Collector(job, workers, reporter))
        self.learner = Learner(job, self.folder.replay, reporter)
        self.evaluator = Evaluator(job, workers, reporter)
        self.held_out = HeldOut(job) if job.data is not None and job.data.held_out else None
        self.state = self.folder.resume()

    def compile(self) -> None:
        """Compiles everything before timing starts; reports the time taken and the memory needed."""
        self.reporter.say("compiling")
        started = time.monotonic()
        if self.job.env != RECORDED:
            self.collector.compile(self.state.train_state.params)
            self.evaluator.compile(self.state.train_state.params)
        work = self.learner.compile(self.state)
        replay = replay_bytes(self.job.replay, self.job.spec)
        resident = memory.resident_bytes() if jax.default_backend() == "cpu" else None
        most = f", at most {(resident + work + _ALLOWANCE) / 2**30:.1f} GiB in this process" if resident else ""
        needs = f"replay {replay / 2**30:.2f} GiB, learning {work / 2**30:.2f} GiB{most}"
        self.reporter.say(f"compiled in {time.monotonic() - started:.1f} s; memory: {needs}")

    def next_phase(self) -> str:
        """As `schedule.next_phase`."""
        return next_phase(self.job.run, self.state.progress, self.job.replay.batch_length)

    def until_done(self) -> None:
        """The loop."""
        try:
            while (phase := self.next_phase()) != "stop":
                if phase == "learn":
                    self.learn()
                elif phase == "evaluate":
                    self.evaluate()
                else:
                    if checkpoint_due(self.job.run, self.state.progress, self.folder.saved):
                        self.folder.save(self.state)
                    self.collect()
            self.folder.save(self.state)
        except Interrupted:
            self.collector.settle()
            self.folder.save(self.state)
            raise

    def collect(self) -> None:
        """Collects one episode in every environment, writes it to disk and adds it to replay."""
        state, started, before = self.state, time.monotonic(), self.state.progress.updates
        interleaved = self.interleaves()
        collected, learning = self._repeated_on_failure(self.learn_meanwhile if interleaved else self.only_collect)
        stored = time.monotonic()
        self.folder.add_episodes(state, collected.episodes, in_replay=interleaved)
        if self.job.run.overlap:
            state.acting_params = copied(state.train_state.params)
        ended = time.monotonic()
        times = {"time/write": ended - stored, "time/collect": ended - started - learning}
        self._log("episodes", collected.metrics | times)
        if interleaved:
            self._log_learned(state.progress.updates - before, learning)

    def only_collect(self) -> tuple[Collected, float]:
        """The next episodes, and no seconds of learning."""
        return self.collector.collect(self.state), 0.0

    def learn_meanwhile(self) -> tuple[Collected, float]:
        """The next episode, and the seconds of the updates that were taken between its decisions."""
        with Interleaved(self.state, self.folder, self.learner) as episode:
            return self.collector.collect(self.state, episode.on_record), episode.seconds()

    def interleaves(self) -> bool:
        """Whether the next episode is learned from while it is collected."""
        run, window = self.job.run, self.job.replay.batch_length
        return run.interleave and not in_seed_phase(run, self.state.progress, window)

    def learn(self) -> None:
        """Runs the updates that are due, then logs their mean metrics."""
        started, before = time.monotonic(), self.state.progress.updates
        if self.job.run.overlap:
            self.collector.start_ahead(self.state)
        self.learner.learn(self.state)
        self._log_learned(self.state.progress.updates - before, time.monotonic() - started)

    def evaluate(self) -> None:
        """Runs episodes without exploration noise; logs returns and diagnostics, writes pictures."""
        self.collector.settle()
        state, started = self.state, time.monotonic()
        held_out = {} if self.held_out is None else self.held_out.measure(state.train_state, state.progress.updates)
        values = held_out | self._repeated_on_failure(lambda: self.evaluator.evaluate(state))
        at, step = state.progress.env_steps, state.progress.schedule_steps
        state.progress = state.progress._replace(evaluated_at=at, evaluated_step=step)
        self._log("evaluated", values | {"time/evaluate": time.monotonic() - started})
        if not state.progress.episodes:  # while it collects, checkpoints follow env_steps
            self.folder.save(state)

    def _repeated_on_failure(self, phase: Callable[[], T]) -> T:
        """Runs a phase; environments that fail are restarted, after everything has been saved."""

        def save() -> None:
            self.reporter.stop_if_asked()  # a signal to the process group ends the environments, too
            self.collector.settle()
            self.folder.save(self.state)

        return self.workers.run(phase, on_failure=save, say=self.reporter.say)

    def _log_learned(self, updates: int, seconds: float) -> None:
        self.folder.check_finite(self.state)
        means = self.learner.take_means(self.state)
        times = {"time/learn": seconds, "time/updates_per_second": updates / seconds}
        self._log("learned", means | times)

    def _log(self, phase: str, values: Row) -> None:
        self.folder.log(self.state, values)
        self.reporter.finished(phase, self.state.progress, values)
