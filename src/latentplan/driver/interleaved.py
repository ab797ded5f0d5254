"""Learning between the decisions of an episode, instead of after it."""

import time
from types import TracebackType
from typing import Self

from latentplan.driver.learner import Learner
from latentplan.driver.reporting import Interrupted
from latentplan.driver.run_folder import RunFolder
from latentplan.driver.run_state import RunState, copied
from latentplan.types import Batch


class Interleaved:
    """One episode that is learned from while it is collected; if it does not end, the run's state is as before it.

    Checkpoints therefore hold states between episodes only, and a resumed run repeats the whole episode.

    Args:
        state: of the run; modified at every record.
        folder: its folder.
        learner: takes the updates that are due.
    """

    def __init__(self, state: RunState, folder: RunFolder, learner: Learner) -> None:
        """See the class."""
        self._state, self._folder, self._learner, self._records = state, folder, learner, 0
        self._learning = 0.0

    def seconds(self) -> float:
        """Wall-clock time of the updates so far."""
        return self._learning

    def on_record(self, record: Batch) -> None:
        """Adds the newest record, [1, ...] each, to the replay memory, then takes the updates that are due.

        Raises:
            Interrupted: the run was asked to stop.
        """
        started = time.monotonic()
        self._folder.add_records(self._state, record)
        self._learner.learn(self._state, decisions=self._records)
        self._records += 1
        self._learning += time.monotonic() - started

    def __enter__(self) -> Self:
        """Keeps a copy of the state, since updates donate theirs."""
        state = self._state
        learned = state.train_state, state.sums, self._folder.replay.priorities(state.replay_state)
        self._before, self._progress = copied(learned), state.progress
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, where: TracebackType | None) -> None:
        """Takes back what an unfinished episode has changed."""
        if error is None:
            return
        state = self._state
        state.train_state, state.sums, priorities = self._before
        state.progress = self._progress
        if not isinstance(error, Interrupted):  # after which the run ends
            state.replay_state = self._folder.filled_replay(state.progress)
        state.replay_state = self._folder.replay.with_priorities(state.replay_state, priorities)
