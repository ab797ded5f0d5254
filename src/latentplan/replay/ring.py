"""Replay on the accelerator: a ring buffer of records, from which windows are sampled uniformly, by priority or by age.

The state is a pytree and every function is pure, so a memory can be vmapped over seeds and a sample sharded over its
windows.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import flashbax as fbx
import jax
import jax.numpy as jnp
from flashbax.buffers.sum_tree import SumTreeState
from flashbax.buffers.trajectory_buffer import TrajectoryBuffer, TrajectoryBufferState

from latentplan.config import Config, PositiveInt, Share, UnitInterval
from latentplan.types import Array, Batch, EnvSpec, Key, Sample

ReplayState: TypeAlias = TrajectoryBufferState
"""Flashbax's ring of records. Where windows are sampled by priority, a subclass that also holds the priorities."""

_LONGEST_PIECE = 1024  # records; keeps the number of compiled `add` programs at 11 for any episode
_PRIORITY_BYTES = 16  # a tree of sums over up to twice as many leaves


@dataclass(frozen=True, kw_only=True)
class ReplayConfig(Config):
    """Replay's settings. The batch is that of PlaNet (its hyper-parameter appendix): 50 sequences of 50 steps."""

    capacity: PositiveInt = 500_000
    """Maximum number of records; the oldest are overwritten. An episode of n decisions takes n + 1 records."""
    batch_size: PositiveInt = 50
    """Windows in one batch."""
    batch_length: PositiveInt = 50
    """Records in one window."""
    priority_exponent: UnitInterval = 0.0
    """Prioritised replay's alpha: windows are sampled in proportion to priority^alpha; 0: uniform. TD-MPC uses 0.6."""
    importance_exponent: UnitInterval = 0.4
    """Prioritised replay's beta: importance weights are probability^-beta, scaled to at most 1. TD-MPC uses 0.4."""
    newest_share: Share = 0.0
    """Fraction of each batch that is sampled from the newest records only, so that the model is soon corrected where
    the planner exploits its errors."""
    # PlaNet's loader, with its defaults, has none: it is uniform over episodes (the newest of 55 gets 0.0180 of the
    # samples). Dreamer V3's online queue supplies about 0.1 % of the windows at a train ratio of 1024.
    newest: PositiveInt = 5_000
    """Number of records that count as the newest."""

    def check(self) -> None:
        """Checks constraints between fields."""
        fits = f"at most capacity = {self.capacity} records"
        self.require(self.batch_length <= self.capacity, "batch_length", fits, "lower it or raise capacity")
        by_age = not self.newest_share or not self.priority_exponent
        self.require(by_age, "newest_share", "0 with prioritised replay", "set priority_exponent to 0")
        enough = not self.newest_share or self.newest >= self.batch_length
        self.require(enough, "newest", f"at least batch_length = {self.batch_length} records", "raise it")


class Replay(NamedTuple):
    """A replay memory as pure functions.

    Attributes:
        init: () -> state, an empty memory.
        add: (state, Batch [n, ...]) -> state, appends n <= capacity records. It compiles once per n, so use
            `add_episode` for whole episodes. Donate the state under jit, or every call copies the memory.
        sample: (state, key) -> Sample, B windows of T consecutive records. A window may continue into the next episode;
            `is_first` marks the boundary and is left as recorded, so a window's first record is rarely flagged.
            Requires `can_sample`.
        reprioritise: (state, indices [B], priority [B]) -> state, indices from a Sample. Has no effect under uniform
            sampling. New windows get the largest priority so far.
        priorities: (state) -> the part of the state that holds priorities, a pytree; None under uniform sampling.
        with_priorities: (state, priorities) -> state.
        can_sample: (state) -> bool scalar, whether at least T records are held.
        capacity: maximum number of records.
    """

    init: Callable[[], ReplayState]
    add: Callable[[ReplayState, Batch], ReplayState]
    sample: Callable[[ReplayState, Key], Sample]
    reprioritise: Callable[[ReplayState, Array, Array], ReplayState]
    priorities: Callable[[ReplayState], SumTreeState | None]
    with_priorities: Callable[[ReplayState, SumTreeState | None], ReplayState]
    can_sample: Callable[[ReplayState], Array]
    capacity: int


def make_replay(config: ReplayConfig, spec: EnvSpec) -> Replay:
    """Builds a replay memory for an environment.

    Observations are stored flattened, [capacity, prod(shape)]: on accelerators with tiled layouts, a last axis of 3
    channels would be padded to many times its size.

    Args:
        config: sizes.
        spec: the environment.

    Returns:
        Pure functions over the state.

    Examples:
        >>> import numpy as np
        >>> spec = EnvSpec.single((3,), action_size=1, action_repeat=1, max_decisions=4)
        >>> replay = make_replay(ReplayConfig(capacity=8, batch_size=2, batch_length=3), spec)
        >>> add = jax.jit(replay.add, donate_argnums=0)
        >>> flags = np.arange(5) == 0
        >>> episode = Batch({"state": np.ones((5, 3), "float32")}, np.zeros((5, 1), "float32"),
        ...                 np.zeros(5, "float32"), flags, flags[::-1], np.zeros(5, bool))
        >>> state = add_episode(replay, add, replay.init(), episode)
        >>> replay.sample(state, jax.random.key(0)).batch.observation["state"].shape
        (3, 2, 3)
    """
    prioritised = config.priority_exponent > 0
    num_newest = min(round(config.newest_share * config.batch_size), config.batch_size - 1)
    buffer = _make_buffer(config, config.batch_size - num_newest)

    def init() -> ReplayState:
        return buffer.init(_record(spec))

    def add(state: ReplayState, chunk: Batch) -> ReplayState:
        records = len(chunk.reward)
        chunk = chunk._replace(observation={name: x.reshape(records, -1) for name, x in chunk.observation.items()})
        with jax.numpy_rank_promotion("allow"):  # flashbax adds rows to columns
            return buffer.add(state, jax.tree.map(lambda x: x[None], chunk))

    def sample(state: ReplayState, key: Key) -> Sample:
        positions = jnp.arange(config.capacity)[None]  # flashbax samples positions; the records are gathered below
        with jax.numpy_rank_promotion("allow"):  # as in `add`
            drawn = buffer.sample(state.replace(experience=positions), key)
        steps = drawn.experience
        if num_newest:
            newest = _newest_windows(state, jax.random.fold_in(key, 1), config, num_newest)
            steps = jnp.concatenate([steps, newest])
        weight = _importance(drawn.probabilities, config) if prioritised else jnp.ones(len(steps), jnp.float32)
        return Sample(_gather(state.experience, steps.T, spec), weight, steps[:, 0])

    def reprioritise(state: ReplayState, indices: Array, priority: Array) -> ReplayState:
        return buffer.set_priorities(state, indices, priority) if prioritised else state

    return Replay(
        init=init,
        add=add,
        sample=sample,
        reprioritise=reprioritise,
        priorities=lambda state: state.sum_tree_state if prioritised else None,
        with_priorities=lambda state, kept: state.replace(sum_tree_state=kept) if prioritised else state,
        can_sample=buffer.can_sample,
        capacity=config.capacity,
    )


def _make_buffer(config: ReplayConfig, windows: int) -> TrajectoryBuffer:
    """Flashbax's buffer, which holds one stream of records and samples `windows` of them at a time."""
    sizes = {
        "add_batch_size": 1,
        "sample_batch_size": windows,
        "sample_sequence_length": config.batch_length,
        "period": 1,
        "min_length_time_axis": config.batch_length,
        "max_length_time_axis": config.capacity,
    }
    if config.priority_exponent:
        options = {"priority_exponent": config.priority_exponent, "device": jax.default_backend()}
        return fbx.make_prioritised_trajectory_buffer(**sizes, **options)
    return fbx.make_trajectory_buffer(**sizes)


def _gather(experience: Batch, steps: Array, spec: EnvSpec) -> Batch:
    """The records [T, B, ...] at positions [T, B] of the memory, their observations in the environment's shapes."""
    batch = jax.tree.map(lambda x: x[0, steps], experience)
    shapes = {name: (*steps.shape, *space.shape) for name, space in spec.observations.items()}
    return batch._replace(observation={name: batch.observation[name].reshape(shapes[name]) for name in shapes})


def _importance(probabilities: Array, config: ReplayConfig) -> Array:
    """[B], importance weights, scaled to at most 1."""
    weight = jnp.maximum(probabilities, 1e-12) ** -config.importance_exponent
    return weight / jnp.max(weight)


def _newest_windows(state: ReplayState, key: Key, config: ReplayConfig, number: int) -> Array:
    """[number, T], positions of windows sampled uniformly from the newest records."""
    held = jnp.where(state.is_full, config.capacity, state.current_index)
    newest = jnp.minimum(held, config.newest)
    begin = jax.random.randint(key, (number, 1), 0, newest - config.batch_length + 1)
    return (state.current_index - newest + begin + jnp.arange(config.batch_length)[None]) % config.capacity


def add_episode(
    replay: Replay, add: Callable[[ReplayState, Batch], ReplayState], state: ReplayState, episode: Batch
) -> ReplayState:
    """Adds an episode of any length in chunks whose lengths are powers of two, largest first.

    `add` compiles once per length; this way a few compiled programs serve every episode.

    Args:
        replay: the replay functions.
        add: `jax.jit(replay.add, donate_argnums=0)`, created once by the caller.
        state: the memory; donated, so it must not be used afterwards.
        episode: [n, ...] records.

    Returns:
        The memory with the episode appended.
    """
    records = len(episode.reward)
    start = 0
    while start < records:
        longest = min(records - start, replay.capacity, _LONGEST_PIECE)
        size = 1 << (longest.bit_length() - 1)
        state = add(state, jax.tree.map(lambda x, start=start, size=size: x[start : start + size], episode))
        start += size
    return state


def replay_bytes(config: ReplayConfig, spec: EnvSpec) -> int:
    """The memory's size on the device, in bytes."""
    return config.capacity * (record_bytes(spec) + (_PRIORITY_BYTES if config.priority_exponent else 0))


def _record(spec: EnvSpec) -> Batch:
    """One empty record in the layout of the memory."""
    flag = jnp.zeros((), bool)
    return Batch(
        observation={
            name: jnp.zeros((math.prod(space.shape),), space.dtype) for name, space in spec.observations.items()
        },
        action=jnp.zeros((spec.action_size,), jnp.float32),
        reward=jnp.zeros((), jnp.float32),
        is_first=flag,
        is_last=flag,
        is_terminal=flag,
    )


def record_bytes(spec: EnvSpec) -> int:
    """The size of one record, in bytes."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(jax.eval_shape(lambda: _record(spec))))
