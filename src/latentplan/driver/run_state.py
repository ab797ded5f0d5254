"""Where a run stands: its state, as it is before the first update, and as a checkpoint holds it."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from latentplan.driver.checkpoint import Checkpoints
from latentplan.driver.job import update_metrics
from latentplan.driver.rng import stream_key
from latentplan.driver.schedule import Progress, RunConfig
from latentplan.replay.ring import Replay, ReplayConfig, make_replay
from latentplan.types import Agent, Array, EnvSpec, Params, TrainState


@dataclass
class RunState:
    """Where a run stands. Changed in place, since updates donate what they were given.

    Attributes:
        train_state: the agent's.
        replay_state: the replay memory.
        sums: the update metrics' sums since they were last written.
        acting_params: with overlap, the parameters that the next episodes are collected with.
        progress: the counters.
        counted_at: `time.monotonic()` up to which `progress.seconds` counts.
    """

    train_state: TrainState
    replay_state: Any
    sums: dict[str, Array]
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
    metrics = update_metrics(agent, replay)
    train_state = jax.jit(agent.init)(stream_key(seed, "init"))
    priorities = jax.jit(lambda: replay.priorities(replay.init()))()  # without the rest of the memory
    sums = {name: jnp.zeros((), x.dtype) for name, x in metrics.items() if name != "priority"}
    acting = copied(train_state.params) if overlap else None
    return {"train_state": train_state, "sums": sums, "acting": acting, "priorities": priorities}


def restore(
    agent: Agent,
    spec: EnvSpec,
    config: RunConfig,
    replay_config: ReplayConfig,
    logdir: Path,
    say: Callable[[str], None],
) -> tuple[TrainState, Progress]:
    """The newest good checkpoint of a run, for evaluation or for research code.

    Args:
        agent: as the run was trained.
        spec: of the environment.
        config: as the run was trained.
        replay_config: as the run was trained.
        logdir: of the run.
        say: called with a line about checkpoints that are skipped.

    Returns:
        (TrainState, Progress).

    Raises:
        ValueError: there is no readable checkpoint.
    """
    directory = Path(logdir) / "checkpoints"
    template = fresh_state(agent, make_replay(replay_config, spec), 0, overlap=config.overlap)
    found = Checkpoints(directory).restore(template, say) if directory.is_dir() else None
    if found is None:
        raise ValueError(f"logdir: expected a checkpoint in {directory}, got none that can be read; train first")
    tree, metadata = found
    return tree["train_state"], Progress(**metadata["progress"])


def copied(params: Params) -> Params:
    """The same parameters in memory of their own, which donating the others leaves alone."""
    return jax.tree.map(jnp.copy, params)
