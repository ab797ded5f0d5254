"""Learning: sampling from replay, the agent's update and the metrics' sums, as one compiled program."""

from typing import Any

import jax
import jax.numpy as jnp

from latentplan.driver.compilation import compiled
from latentplan.driver.job import Job
from latentplan.driver.reporting import Reporter
from latentplan.driver.rng import stream_key
from latentplan.driver.run_state import RunState
from latentplan.driver.schedule import updates_due
from latentplan.replay.ring import Replay
from latentplan.types import Array, Key, TrainState


class Learner:
    """Takes the updates that are due.

    Args:
        job: the run.
        replay: the replay memory's functions.
        reporter: told of every update.
    """

    def __init__(self, job: Job, replay: Replay, reporter: Reporter) -> None:
        """See the class."""
        self._job, self._replay, self._reporter = job, replay, reporter

    def compile(self, state: RunState) -> int:
        """Compiles the update for this state's shapes.

        Args:
            state: of the run; not changed.

        Returns:
            Bytes that an update needs beside what it is given; 0 where the compiler does not say.
        """
        step = compiled(self._step, donate_argnums=(0, 2))
        key = stream_key(self._job.run.seed, "learn", 0)
        self.program = step.lower(state.train_state, state.replay_state, state.sums, key).compile()
        analysis = self.program.memory_analysis()
        return analysis.temp_size_in_bytes if analysis else 0

    def learn(self, state: RunState) -> None:
        """Takes all updates that are due, and adds their metrics to the sums.

        Args:
            state: of the run; changed with every update, so that it is whole wherever this is interrupted.

        Raises:
            Interrupted: the run was asked to stop.
        """
        due = updates_due(self._job.run, state.progress, self._job.replay.batch_length)
        while state.progress.updates < due:
            self._reporter.stop_if_asked()
            self._update(state)
            self._reporter.progress("learning", state.progress)

    def take_means(self, state: RunState) -> dict[str, float]:
        """The metrics' means over the updates since the last call; the sums start again at zero.

        Args:
            state: of the run; its sums change.

        Returns:
            {"learn/NAME": mean}.
        """
        count = state.progress.summed_updates
        means = {f"learn/{name}": float(x) / count for name, x in state.sums.items()}
        state.sums = jax.tree.map(jnp.zeros_like, state.sums)
        state.progress = state.progress._replace(summed_updates=0)
        return means

    def _update(self, state: RunState) -> None:
        progress = state.progress
        key = stream_key(self._job.run.seed, "learn", progress.updates)
        state.train_state, priorities, state.sums = self.program(state.train_state, state.replay_state, state.sums, key)
        state.replay_state = self._replay.with_priorities(state.replay_state, priorities)
        state.progress = progress._replace(updates=progress.updates + 1, summed_updates=progress.summed_updates + 1)

    def _step(
        self, train_state: TrainState, replay_state: Any, sums: dict[str, Array], key: Key
    ) -> tuple[TrainState, Any, dict[str, Array]]:
        sample_key, update_key = jax.random.split(key)
        sample = self._replay.sample(replay_state, sample_key)
        train_state, metrics = self._job.agent.update(train_state, sample, update_key)
        if "priority" in metrics:
            replay_state = self._replay.reprioritise(replay_state, sample.indices, metrics.pop("priority"))
        return train_state, self._replay.priorities(replay_state), jax.tree.map(jnp.add, sums, metrics)
