"""Where a run stands: its state, as it is before the first update, and as a checkpoint holds it."""

import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from latentplan.driver.job import update_metrics
from latentplan.driver.rng import stream_key
from latentplan.driver.schedule import Progress
from latentplan.replay.ring import Replay
from latentplan.types import Agent, Array, Params, TrainState


@dataclass
class RunState:
    """Where a run stands. Changed in place, since updates donate what they were given.

    Attributes:
        train_state: the agent's.
        replay_state: the replay memory.
        sums: the metrics' sums since they were last written, by the update's name.
        acting_params: with overlap, the parameters that the next episodes are collected with.
        progress: the counters.
        counted_at: `time.monotonic()` up to which `progress.seconds` counts.
    """

    train_state: TrainState
    replay_state: Any
    sums: dict[str, dict[str, Array]]
    acting_params: Params | None
    progress: Progress
    counted_at: float

    def seconds(self) -> float:
        """Wall-clock time of the run, all its parts together."""
        return self.progress.seconds + time.monotonic() - self.counted_at


def fresh_state(agent: Agent, replay: Replay, seed: int, *, overlap: bool) -> dict[str, Any]:
    """What a checkpoint's tree holds, as it is before the first update.

    Args:
        agent: what learns.
        replay: what it learns from; only shapes are looked at.
        seed: of the run.
        overlap: `RunConfig.overlap`.

    Returns:
        {"train_state": TrainState, "sums": the metrics' running sums, "acting": with overlap, the parameters that
        the next episodes are collected with, "priorities": the replay's, where it has some}.

    Raises:
        ValueError: the replay draws by priorities, and the agent gives none.
    """
    train_state = jax.jit(agent.init)(stream_key(seed, "init"))
    priorities = jax.jit(lambda: replay.priorities(replay.init()))()  # without the rest of the memory
    sums = {
        update: {name: jnp.zeros((), x.dtype) for name, x in metrics.items() if name != "priority"}
        for update, metrics in update_metrics(agent, replay).items()
    }
    acting = copied(train_state.params) if overlap else None
    return {"train_state": train_state, "sums": sums, "acting": acting, "priorities": priorities}


def logged_name(metric: str, update: str, updates: Collection[str]) -> str:
    """The name under which a metric of an update is logged.

    Args:
        metric: as the update calls it.
        update: the update's name.
        updates: the names of all of the agent's updates.

    Returns:
        "learn/METRIC"; of an agent with several updates "learn/UPDATE/METRIC".
    """
    return f"learn/{metric}" if len(updates) == 1 else f"learn/{update}/{metric}"


def copied(params: Params) -> Params:
    """The same parameters in memory of their own, which donating the others leaves alone."""
    return jax.tree.map(jnp.copy, params)
