"""A run's state, initially and in checkpoints."""

import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from latentplan.driver.job import update_metrics
from latentplan.driver.rng import stream_key
from latentplan.driver.schedule import Progress
from latentplan.replay.ring import Replay, ReplayState
from latentplan.types import Agent, Array, Params, TrainState

T = TypeVar("T")


@dataclass
class RunState:
    """A run's state. Modified in place, since updates donate their inputs.

    Attributes:
        train_state: the agent's.
        replay_state: the replay memory.
        sums: update's name -> sums of its metrics since they were last logged.
        acting_params: with overlap, the parameters for collecting the next episodes.
        progress: the counters.
        counted_at: the `time.monotonic()` at which `progress.seconds` was last updated.
    """

    train_state: TrainState
    replay_state: ReplayState
    sums: dict[str, dict[str, Array]]
    acting_params: Params | None
    progress: Progress
    counted_at: float

    def seconds(self) -> float:
        """Total wall-clock time of the run, over all its segments."""
        return self.progress.seconds + time.monotonic() - self.counted_at


def fresh_state(
    agent: Agent, replay: Replay, seed: int, *, overlap: bool, start: Params | None = None
) -> dict[str, Any]:
    """The initial content of a checkpoint's tree.

    Args:
        agent: the agent to train.
        replay: the replay memory; used for shapes only.
        seed: of the run.
        overlap: `RunConfig.overlap`.
        start: parameters to start from; None for random ones.

    Returns:
        {"train_state": TrainState, "sums": running sums of metrics, "acting": with overlap, the parameters for
        collecting the next episodes, "priorities": with prioritised replay, its priorities}.

    Raises:
        ValueError: prioritised replay is used, but the agent returns no priorities.
    """
    train_state = jax.jit(agent.init)(stream_key(seed, "init"), *([] if start is None else [start]))
    priorities = jax.jit(lambda: replay.priorities(replay.init()))()  # jit allocates only the priorities
    sums = {
        update: {name: jnp.zeros((), x.dtype) for name, x in metrics.items() if name != "priority"}
        for update, metrics in update_metrics(agent, replay).items()
    }
    acting = copied(train_state.params) if overlap else None
    return {"train_state": train_state, "sums": sums, "acting": acting, "priorities": priorities}


def logged_name(metric: str, update: str, updates: Collection[str]) -> str:
    """The logged name of an update's metric.

    Args:
        metric: its name in the update's output.
        update: the update's name.
        updates: the names of all updates of the agent.

    Returns:
        "learn/METRIC", or "learn/UPDATE/METRIC" for an agent with several updates.
    """
    return f"learn/{metric}" if len(updates) == 1 else f"learn/{update}/{metric}"


def copied(tree: T) -> T:
    """A copy of a pytree of arrays that is unaffected when the originals are donated."""
    return jax.tree.map(jnp.copy, tree)
