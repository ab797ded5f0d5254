"""A run's folder, for saving and resuming: checkpoints, episodes and metrics."""

import time
from collections.abc import Callable, Sequence
from typing import Any, Self

import jax
import numpy as np

from latentplan.driver import memory
from latentplan.driver.checkpoint import Checkpoints
from latentplan.driver.compilation import compiled
from latentplan.driver.job import Job
from latentplan.driver.logging import MetricsLog, Row
from latentplan.driver.provenance import check_version, package_version
from latentplan.driver.run_state import RunState, fresh_state, logged_name
from latentplan.driver.schedule import Progress
from latentplan.replay.episodes import load_episodes, write_episode
from latentplan.replay.ring import ReplayState, add_episode, make_replay
from latentplan.types import Batch


class NonFinite(RuntimeError):
    """A metric is NaN or infinite; the last valid checkpoint is kept."""


class RunFolder:
    """A run's folder: checkpoints, episodes and metrics, and the replay memory filled from it.

    Args:
        job: the run.
        say: called with messages about what was restored or lost.

    Attributes:
        replay: the replay functions.
        saved: the counters at the last checkpoint.
    """

    def __init__(self, job: Job, say: Callable[[str], None]) -> None:
        """See the class."""
        self._job, self._say = job, say
        self._opened = time.monotonic()
        self.replay = make_replay(job.replay, job.spec)
        self._add = compiled(self.replay.add, donate_argnums=0)
        self._checkpoints = Checkpoints(job.logdir / "checkpoints", keep=job.run.keep_checkpoints)
        self._metrics = MetricsLog(job.logdir)
        self.saved = Progress()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Closes the metrics' files."""
        self._metrics.close()

    def resume(self) -> RunState:
        """Restores the newest valid checkpoint and the episodes up to it; a fresh state if there is none.

        Returns:
            RunState.

        Raises:
            ValueError: all checkpoints are corrupt, or they were written with another config or version of this
                package.
        """
        for metadata in list(self._checkpoints.metadata().values())[-1:]:
            check_version(metadata.get("version", "0.1.0"), self._job.logdir)  # 0.1.0 did not record it
        job = self._job
        fresh = fresh_state(job.agent, self.replay, job.run.seed, overlap=job.run.overlap, start=job.start)
        found = self._checkpoints.restore(fresh, self._say)
        if found is None:
            return self._begin(fresh)
        tree, metadata = found
        self._check_data(metadata.get("data"))
        state = self._state(tree, Progress(**metadata["progress"]))
        state.replay_state = self.replay.with_priorities(state.replay_state, tree["priorities"])
        progress = self.saved = state.progress
        self._metrics.rewind(progress.metrics_bytes, self._say)
        self._say(
            f"resumed at {progress.env_steps} env_steps, {progress.episodes} episodes, {progress.updates} updates"
        )
        return state

    def save(self, state: RunState) -> None:
        """Writes a checkpoint, unless this state is already saved.

        Args:
            state: of the run; its counters are updated.

        Raises:
            NonFinite: a metric since the last row is not finite; nothing is written.
            DiskFull: the disk is full; earlier checkpoints are intact.
        """
        self.check_finite(state)
        if self._checkpoints.steps() and _step(self.saved) == _step(state.progress):
            return
        now, seconds = time.monotonic(), state.seconds()
        state.progress = state.progress._replace(metrics_bytes=self._metrics.position(), seconds=seconds)
        state.counted_at = now
        tree = {"train_state": state.train_state, "sums": state.sums, "acting": state.acting_params}
        tree["priorities"] = self.replay.priorities(state.replay_state)
        metadata = {"progress": state.progress._asdict(), "version": package_version(), "data": self._data_size()}
        self._checkpoints.save(_step(state.progress), tree, metadata)
        self.saved = state.progress

    def add_episodes(self, state: RunState, episodes: Sequence[Batch], *, in_replay: bool = False) -> None:
        """Writes new episodes to files, adds them to the replay memory and counts them.

        Args:
            state: of the run; its replay memory and counters are updated.
            episodes: NumPy arrays [n + 1, ...] each.
            in_replay: the replay memory already holds them, by `add_records`.
        """
        progress = state.progress
        for i, episode in enumerate(episodes):
            write_episode(self._job.logdir / "episodes", progress.episodes + i, episode)
            if not in_replay:
                self.add_records(state, episode)
        jax.block_until_ready(state.replay_state)
        decisions = sum(len(episode.reward) - 1 for episode in episodes)
        state.progress = progress._replace(
            env_steps=progress.env_steps + decisions * self._job.spec.action_repeat,
            episodes=progress.episodes + len(episodes),
            records=progress.records + decisions + len(episodes),
        )

    def add_records(self, state: RunState, records: Batch) -> None:
        """Adds consecutive records, NumPy arrays [n, ...] each, to the replay memory."""
        state.replay_state = add_episode(self.replay, self._add, state.replay_state, records)

    def log(self, state: RunState, values: Row) -> None:
        """Writes a row of metrics, with counters, the run's wall-clock time and the process's memory."""
        resident = memory.resident_bytes()
        machine = {"time/total": state.seconds()} | ({"memory/resident": resident / 2**30} if resident else {})
        self._metrics.write(state.progress.counters(), values | machine)

    def check_finite(self, state: RunState) -> None:
        """Raises `NonFinite` if a metric since the last row is not finite, or an update reported `finite` = 0."""
        progress = state.progress
        bad = []
        for update, sums in state.sums.items():
            found = {name for name, x in sums.items() if not np.isfinite(x)}
            if not found and float(sums["finite"]) != progress.summed_updates.get(update, 0):
                found = {"finite"}
            bad += [logged_name(name, update, state.sums) for name in sorted(found)]
        if bad:
            saved = self._checkpoints.steps()
            kept = f"the last valid checkpoint is step {saved[-1]}" if saved else "there was no checkpoint yet"
            raise NonFinite(
                f"{', '.join(bad)}: expected finite numbers, got NaN or infinity within the "
                f"last {sum(progress.summed_updates.values())} updates (at {progress.updates} updates); {kept}. "
                "Lower the learning rates or the gradient clipping norms, and check the scale of the rewards"
            )

    def filled_replay(self, progress: Progress) -> ReplayState:
        """The replay memory with the recorded data and the episodes that are counted; priorities are not restored."""
        state = jax.jit(self.replay.init)()
        for episode in self._job.data.training if self._job.data is not None else ():
            state = add_episode(self.replay, self._add, state, episode)
        folder = self._job.logdir / "episodes"
        for _, episode in load_episodes(folder, progress.episodes, self._job.spec, self._say):
            state = add_episode(self.replay, self._add, state, episode)
        return state

    def _begin(self, fresh: dict[str, Any]) -> RunState:
        if self._checkpoints.steps():
            raise ValueError(
                f"logdir: expected a readable checkpoint in {self._job.logdir / 'checkpoints'}, got only corrupt ones; "
                "move that folder away to start again from the first episode"
            )
        if list((self._job.logdir / "episodes").glob("*.npz")):
            self._say("there is no checkpoint yet: the run starts again and collects the same episodes")
        self._metrics.rewind(0)
        state = self._state(fresh, Progress())
        if self._job.start is not None:  # the run that they come from may go on, or be deleted
            self.save(state)
        return state

    def _data_size(self) -> list[int] | None:
        """Episodes and records of the recorded data to learn from."""
        data = self._job.data
        return None if data is None else [len(data.training), sum(len(episode.reward) for episode in data.training)]

    def _check_data(self, before: list[int] | None) -> None:
        """Raises if the recorded data is not that with which the run was begun."""
        if before != self._data_size():
            expected, got = (
                "none" if size is None else f"{size[0]} episodes with {size[1]} records"
                for size in (before, self._data_size())
            )
            raise ValueError(
                f"data: expected the data of the run's beginning, {expected} to learn from, got {got}; "
                "give the same, or another logdir"
            )

    def _state(self, tree: dict[str, Any], progress: Progress) -> RunState:
        return RunState(
            train_state=tree["train_state"],
            replay_state=self.filled_replay(progress),
            sums=tree["sums"],
            acting_params=tree["acting"],
            progress=progress,
            counted_at=self._opened,
        )


def _step(progress: Progress) -> int:
    """A number that increases with every change of the counters."""
    return 2 * progress.episodes + progress.updates + (progress.evaluated_at == progress.env_steps)
