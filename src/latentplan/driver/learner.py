"""Learning: one compiled program per update samples from replay, updates the agent and accumulates metrics."""

import functools

import jax
import jax.numpy as jnp

from latentplan.driver.compilation import compiled
from latentplan.driver.job import Job
from latentplan.driver.reporting import Reporter
from latentplan.driver.rng import stream_key
from latentplan.driver.run_state import RunState, logged_name
from latentplan.driver.schedule import after_step, after_update, next_update, stages_of, steps_due, within_episode
from latentplan.replay.ring import Replay, ReplayState
from latentplan.types import Array, Key, TrainState

Sums = dict[str, Array]


class Learner:
    """Runs the updates that are due, stage by stage.

    Args:
        job: the run.
        replay: the replay functions.
        reporter: notified of every update.

    Attributes:
        programs: update's name -> (train_state, replay_state, sums, key) -> (train_state, priorities, sums); set by
            `compile`.
    """

    def __init__(self, job: Job, replay: Replay, reporter: Reporter) -> None:
        """See the class."""
        self._job, self._replay, self._reporter = job, replay, reporter
        self._stages = stages_of(job.run, job.agent.updates)
        self.programs: dict[str, jax.stages.Compiled] = {}

    def compile(self, state: RunState) -> int:
        """Compiles the updates for the shapes of this state.

        Args:
            state: of the run; not modified.

        Returns:
            The largest temporary memory of any update, in bytes; 0 if the compiler does not report it.
        """
        key = stream_key(self._job.run.seed, "learn", 0)
        for update in (stage.update for stage in self._stages):
            program = compiled(functools.partial(self._sample_and_update, update), donate_argnums=(0, 2))
            inputs = state.train_state, state.replay_state, state.sums[update], key
            self.programs[update] = program.lower(*inputs).compile()
        analyses = [program.memory_analysis() for program in self.programs.values()]
        return max(analysis.temp_size_in_bytes if analysis else 0 for analysis in analyses)

    def learn(self, state: RunState, decisions: int | None = None) -> None:
        """Runs all updates that are due, and adds their metrics to the sums.

        Args:
            state: of the run; modified after every update, so that it is consistent whenever this is interrupted.
            decisions: made in the episode under way, which the counters do not include yet; None between episodes.

        Raises:
            Interrupted: the run was asked to stop.
        """
        collected = state.progress if decisions is None else within_episode(state.progress, decisions)
        due = steps_due(self._job.run, collected, self._job.replay.batch_length)
        while state.progress.schedule_steps < due:
            update = next_update(self._stages, state.progress)
            if update is None:
                state.progress = after_step(state.progress)
                continue
            self._reporter.stop_if_asked()
            self._take(update, state)
            self._reporter.progress("learning", state.progress)

    def take_means(self, state: RunState) -> dict[str, float]:
        """Returns the means of the metrics over the updates since the last call, and resets the sums.

        Args:
            state: of the run; its sums are reset.

        Returns:
            The means by `logged_name`. With several updates, also the total count of each.
        """
        progress, names = state.progress, state.sums.keys()
        means = {
            logged_name(metric, update, names): float(x) / count
            for update, count in progress.summed_updates.items()
            for metric, x in state.sums[update].items()
        }
        if len(names) > 1:
            means |= {logged_name("updates", update, names): n for update, n in progress.stage_updates.items()}
        state.sums = jax.tree.map(jnp.zeros_like, state.sums)
        state.progress = progress._replace(summed_updates={})
        return means

    def _take(self, update: str, state: RunState) -> None:
        key = stream_key(self._job.run.seed, "learn", state.progress.updates)
        inputs = state.train_state, state.replay_state, state.sums[update], key
        state.train_state, priorities, state.sums[update] = self.programs[update](*inputs)
        state.replay_state = self._replay.with_priorities(state.replay_state, priorities)
        state.progress = after_update(state.progress, update)

    def _sample_and_update(
        self, update: str, train_state: TrainState, replay_state: ReplayState, sums: Sums, key: Key
    ) -> tuple[TrainState, ReplayState, Sums]:
        sample_key, update_key = jax.random.split(key)
        sample = self._replay.sample(replay_state, sample_key)
        train_state, metrics = self._job.agent.updates[update](train_state, sample, update_key)
        if "priority" in metrics:
            replay_state = self._replay.reprioritise(replay_state, sample.indices, metrics.pop("priority"))
        return train_state, self._replay.priorities(replay_state), jax.tree.map(jnp.add, sums, metrics)
