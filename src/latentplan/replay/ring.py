"""Replay on the accelerator: a ring of records from which windows are drawn, uniformly, by priority or by age.

The state is a pytree and every function is pure, so that a memory may be vmapped over seeds, and a sample sharded over
its windows.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import flashbax as fbx
import jax
import jax.numpy as jnp

from latentplan.config import Config, PositiveInt, Share, UnitInterval
from latentplan.types import Array, Batch, EnvSpec, Key, Sample

_LONGEST_PIECE = 1024  # records; keeps the number of compiled `add` programs at 11 for any episode
_PRIORITY_BYTES = 16  # a tree of sums over up to twice as many leaves


@dataclass(frozen=True, kw_only=True)
class ReplayConfig(Config):
    """Replay's settings. The batch is that of PlaNet (its hyper-parameter appendix): 50 sequences of 50 steps."""

    capacity: PositiveInt = 500_000
    """Records kept; the oldest are overwritten. One record is one decision, and one more per episode."""
    batch_size: PositiveInt = 50
    """Windows in one batch."""
    batch_length: PositiveInt = 50
    """Records in one window."""
    priority_exponent: UnitInterval = 0.0
    """Windows are drawn in proportion to priority^this; 0: all alike. The agent gives priorities; TD-MPC has 0.6."""
    importance_exponent: UnitInterval = 0.4
    """Drawn by priority, windows weigh probability^-this, at most 1. TD-MPC has 0.4."""
    newest_share: Share = 0.0
    """Share of a batch's windows that is drawn from the newest records alone, so that the model soon learns where its
    mistakes are made use of. PlaNet's loader, run with its defaults, has none: it is uniform over episodes (the newest
    of 55: 0.0180 of the draws). Dreamer V3's online queue is about 0.1 % of the windows at a train ratio of 1024."""
    newest: PositiveInt = 5_000
    """How many records are the newest."""

    def check(self) -> None:
        """Rules between fields."""
        fits = f"at most capacity = {self.capacity} records"
        self.require(self.batch_length <= self.capacity, "batch_length", fits, "lower it or raise capacity")
        by_age = not self.newest_share or not self.priority_exponent
        self.require(by_age, "newest_share", "0 where windows are drawn by priority", "set priority_exponent to 0")
        enough = not self.newest_share or self.newest >= self.batch_length
        self.require(enough, "newest", f"at least batch_length = {self.batch_length} records", "raise it")


class Replay(NamedTuple):
    """A replay memory as pure functions.

    Attributes:
        init: () -> state, with nothing in it.
        add: (state, Batch [n, ...]) -> state, appends n <= capacity records. Compiles once per n, so whole
            episodes go through `add_episode`. jit it with the state donated, or every call copies the memory.
        sample: (state, key) -> Sample, B windows of T consecutive records. A window may run over the end of an
            episode into the next; `is_first` marks where, and is left as it was recorded, so a window's first record is
            seldom flagged. Needs `can_sample`.
        reprioritise: (state, indices [B], priority [B]) -> state, indices from a Sample. Does nothing where windows are
            drawn uniformly; new ones have the largest priority so far.
        priorities: (state) -> the part of the state that holds priorities, a pytree; None where windows are drawn
            uniformly.
        with_priorities: (state, priorities) -> state.
        can_sample: (state) -> bool scalar, whether at least T records are held.
        capacity: records kept.
    """

    init: Callable[[], Any]
    add: Callable[[Any, Batch], Any]
    sample: Callable[[Any, Key], Sample]
    reprioritise: Callable[[Any, Array, Array], Any]
    priorities: Callable[[Any], Any]
    with_priorities: Callable[[Any, Any], Any]
    can_sample: Callable[[Any], Array]
    capacity: int


def make_replay(config: ReplayConfig, spec: EnvSpec) -> Replay:
    """Builds a replay memory for one environment.

    Each observation lies flattened, [capacity, prod(shape)]: accelerators that lay arrays out in tiles would pad a
    last axis of 3 channels to many times its size.

    Args:
        config: sizes.
        spec: the environment.

    Returns:
        Pure functions over the state.

    Examples:
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
    lengths = {"min_length_time_axis": config.batch_length, "max_length_time_axis": config.capacity}
    sizes = {
        "sample_batch_size": config.batch_size - num_newest,
        "sample_sequence_length": config.batch_length,
        "period": 1,
    }
    buffer: Any
    if prioritised:
        options = {"priority_exponent": config.priority_exponent, "device": jax.default_backend()}
        buffer = fbx.make_prioritised_trajectory_buffer(add_batch_size=1, **lengths, **sizes, **options)
    else:
        buffer = fbx.make_trajectory_buffer(add_batch_size=1, **lengths, **sizes)

    def init() -> Any:
        return buffer.init(_record(spec))

    def add(state: Any, chunk: Batch) -> Any:
        records = len(chunk.reward)
        chunk = chunk._replace(observation={name: x.reshape(records, -1) for name, x in chunk.observation.items()})
        return buffer.add(state, jax.tree.map(lambda x: x[None], chunk))

    def sample(state: Any, key: Key) -> Sample:
        positions = jnp.arange(config.capacity)[None]  # flashbax draws where windows lie; the records are read below
        drawn = buffer.sample(state.replace(experience=positions), key)
        steps = drawn.experience
        if num_newest:
            newest = _newest_windows(state, jax.random.fold_in(key, 1), config, num_newest)
            steps = jnp.concatenate([steps, newest])
        steps = steps.T  # [T, B]
        batch = jax.tree.map(lambda x: x[0, steps], state.experience)
        shapes = {name: (*steps.shape, *space.shape) for name, space in spec.observations.items()}
        batch = batch._replace(observation={name: batch.observation[name].reshape(shapes[name]) for name in shapes})
        return Sample(batch, importance(drawn) if prioritised else jnp.ones(steps.shape[1]), steps[0])

    def importance(drawn: Any) -> Array:
        weight = jnp.maximum(drawn.probabilities, 1e-12) ** -config.importance_exponent
        return weight / jnp.max(weight)

    def reprioritise(state: Any, indices: Array, priority: Array) -> Any:
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


def _newest_windows(state: Any, key: Key, config: ReplayConfig, number: int) -> Array:
    """[number, T], positions of windows that begin anywhere among the newest records."""
    held = jnp.where(state.is_full, config.capacity, state.current_index)
    newest = jnp.minimum(held, config.newest)
    begin = jax.random.randint(key, (number, 1), 0, newest - config.batch_length + 1)
    return (state.current_index - newest + begin + jnp.arange(config.batch_length)) % config.capacity


def add_episode(replay: Replay, add: Callable[[Any, Batch], Any], state: Any, episode: Batch) -> Any:
    """Adds an episode of any length in pieces whose lengths are powers of two, the largest first.

    `add` compiles once per length; this way a few programs serve every episode.

    Args:
        replay: whose memory it is.
        add: `jax.jit(replay.add, donate_argnums=0)`, made once by the caller.
        state: the memory; donated, so not to be used again.
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
    """Bytes that the memory takes on the device."""
    return config.capacity * (record_bytes(spec) + (_PRIORITY_BYTES if config.priority_exponent else 0))


def check_lengths(config: ReplayConfig, spec: EnvSpec) -> None:
    """Refuses windows that are longer than any episode.

    Raises:
        ConfigError: naming both lengths.
    """
    if spec.max_decisions is not None:
        longest = spec.max_decisions + 1
        episode = f"at most {longest} records, the longest episode (its time limit is {spec.max_decisions} decisions)"
        config.require(config.batch_length <= longest, "batch_length", episode, "lower it")


def _record(spec: EnvSpec) -> Batch:
    """One empty record as it is stored."""
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
    """Bytes that one record takes."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(jax.eval_shape(lambda: _record(spec))))
