"""Losses on recorded episodes that are held out."""

import itertools
from dataclasses import replace

import jax

from latentplan.driver.compilation import compiled
from latentplan.driver.job import Job
from latentplan.driver.logging import Row
from latentplan.driver.rng import stream_key
from latentplan.driver.run_state import logged_name
from latentplan.replay.ring import ReplayState, add_episode, make_replay
from latentplan.types import Batch, Key, Metrics, TrainState

_BATCHES = 4


class HeldOut:
    """The metrics of an agent's updates on windows of held-out episodes; the updates themselves are discarded.

    Args:
        job: the run, with held-out episodes.
    """

    def __init__(self, job: Job) -> None:
        """See the class."""
        episodes = _at_least(job.replay.batch_length, job.data.held_out if job.data is not None else [])
        capacity = sum(len(episode.reward) for episode in episodes)
        self._seed, self._updates = job.run.seed, job.agent.updates
        uniform = replace(job.replay, capacity=capacity, priority_exponent=0.0, newest_share=0.0)
        self._replay = make_replay(uniform, job.spec)
        self._memory = jax.jit(self._replay.init)()
        add = compiled(self._replay.add, donate_argnums=0)
        for episode in episodes:
            self._memory = add_episode(self._replay, add, self._memory, episode)
        self._program = compiled(self._metrics)

    def measure(self, train_state: TrainState, updates: int) -> Row:
        """The metrics, averaged over some batches.

        Args:
            train_state: of the run; not modified.
            updates: gradient steps taken so far; they determine the random numbers.

        Returns:
            "held_out/METRIC", or "held_out/UPDATE/METRIC" for an agent with several updates -> mean.
        """
        keys = jax.random.split(stream_key(self._seed, "held_out", updates), _BATCHES)
        batches = [jax.device_get(self._program(train_state, self._memory, key)) for key in keys]
        means = jax.tree.map(lambda *x: float(sum(x)) / len(x), *batches)
        return {
            logged_name(metric, update, means).replace("learn/", "held_out/", 1): value
            for update, metrics in means.items()
            for metric, value in metrics.items()
        }

    def _metrics(self, train_state: TrainState, memory: ReplayState, key: Key) -> dict[str, Metrics]:
        sample_key, update_key = jax.random.split(key)
        sample = self._replay.sample(memory, sample_key)
        found = {name: update(train_state, sample, update_key)[1] for name, update in self._updates.items()}
        return {update: {name: x for name, x in one.items() if name != "priority"} for update, one in found.items()}


def _at_least(records: int, episodes: list[Batch]) -> list[Batch]:
    """The episodes, repeated until they hold one window's records: windows cross episodes."""
    taken: list[Batch] = []
    held = 0
    for episode in itertools.cycle(episodes):
        if held >= records and len(taken) >= len(episodes):
            return taken
        taken.append(episode)
        held += len(episode.reward)
    return taken
