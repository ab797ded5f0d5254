"""Whatever a memory's size, and whatever was added to it: windows are stretches of what was added, in order."""

import functools
from typing import NamedTuple

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latentplan.replay.ring import ReplayConfig, add_episode, make_replay
from latentplan.types import Batch, EnvSpec

SPEC = EnvSpec.single((2,), action_size=1)
MODES = {
    "uniform": {},
    "newest": {"newest_share": 0.5},
    "priority": {"priority_exponent": 0.6},
}
SIZES = [(8, 8), (13, 3)]
"""(capacity, batch_length) in records."""


class Addition(NamedTuple):
    """Episodes of several environments, collected side by side, as they are added: one after the other."""

    lengths: list[int]
    priorities: list[float]


ADDITIONS = st.builds(
    Addition,
    lengths=st.lists(st.integers(2, 20), min_size=1, max_size=4),
    priorities=st.lists(st.floats(0.0, 1e6, width=32, allow_subnormal=False), min_size=8, max_size=8),
)


@functools.cache
def memory(mode: str, capacity: int, length: int):
    newest = {"newest": max(length, capacity // 2)} if mode == "newest" else {}
    sizes = {"capacity": capacity, "batch_size": 8, "batch_length": length}
    replay = make_replay(ReplayConfig(**sizes, **MODES[mode], **newest), SPEC)
    return replay, jax.jit(replay.add), jax.jit(replay.sample), jax.jit(replay.reprioritise)


def records(start: int, count: int) -> Batch:
    """An episode whose every field tells a record's running number."""
    number = np.arange(start, start + count)
    return Batch(
        observation={"state": np.stack([number, -number], axis=1).astype(np.float32)},
        action=2 * number[:, None].astype(np.float32),
        reward=number.astype(np.float32),
        is_first=np.arange(count) == 0,
        is_last=np.arange(count) == count - 1,
        is_terminal=(np.arange(count) == count - 1) & (count % 2 == 0),
    )


@pytest.mark.parametrize("mode", MODES)
@given(size=st.sampled_from(SIZES), additions=st.lists(ADDITIONS, min_size=1, max_size=3), seed=st.integers(0, 99))
@settings(max_examples=12)
def test_a_window_is_a_stretch_of_what_was_added_last(mode, size, additions, seed):
    capacity, length = size
    replay, add, sample, reprioritise = memory(mode, capacity, length)
    state, total, firsts, ends = replay.init(), 0, [], {}
    for i, addition in enumerate(additions):
        for count in addition.lengths:
            state = add_episode(replay, add, state, records(total, count))
            firsts.append(total)
            ends[total + count - 1] = count % 2 == 0
            total += count
        assert bool(replay.can_sample(state)) == (total >= length)
        if total < length:
            continue
        batch, weight, indices = jax.device_get(sample(state, jax.random.fold_in(jax.random.key(seed), i)))
        number = batch.reward.astype(int)
        assert number.shape == (length, 8)
        np.testing.assert_array_equal(np.diff(number, axis=0), 1)  # none runs over the place where it is written next
        oldest = max(0, total - capacity)
        assert oldest <= number.min() and number.max() < total
        if mode == "newest":
            assert number[:, 4:].min() >= max(0, total - max(length, capacity // 2))
        np.testing.assert_array_equal(number[0] % capacity, indices)
        np.testing.assert_array_equal(batch.observation["state"], np.stack([number, -number], axis=-1))
        np.testing.assert_array_equal(batch.action[..., 0], 2 * number)
        np.testing.assert_array_equal(batch.is_first, np.isin(number, firsts))
        np.testing.assert_array_equal(batch.is_last, np.isin(number, list(ends)))
        np.testing.assert_array_equal(batch.is_terminal, np.isin(number, [end for end in ends if ends[end]]))
        assert (weight > 0).all() and weight.max() == 1.0
        state = reprioritise(state, indices, np.float32(addition.priorities))
