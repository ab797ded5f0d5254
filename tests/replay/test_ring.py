"""Replay: windows are what was added, drawn uniformly; memory and lengths are checked before allocating."""

import flashbax as fbx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from latentplan.driver import memory
from latentplan.driver.memory import check_memory
from latentplan.replay.ring import (
    Replay,
    ReplayConfig,
    add_episode,
    make_replay,
    replay_bytes,
)
from latentplan.types import ArraySpec, Batch, EnvSpec

SPEC = EnvSpec.single((4, 4, 3), "uint8", action_size=2, action_repeat=2, max_decisions=40)


def make_records(start: int, count: int, first: bool = True) -> Batch:
    """Records whose every field tells their running number."""
    number = np.arange(start, start + count)
    return Batch(
        observation={"image": np.broadcast_to((number % 256).astype(np.uint8)[:, None, None, None], (count, 4, 4, 3))},
        action=np.stack([number, -number], axis=1).astype(np.float32),
        reward=number.astype(np.float32),
        is_first=(np.arange(count) == 0) & first,
        is_last=np.arange(count) == count - 1,
        is_terminal=np.zeros(count, bool),
    )


def make(capacity: int = 64, batch_size: int = 32, batch_length: int = 5):
    replay = make_replay(ReplayConfig(capacity=capacity, batch_size=batch_size, batch_length=batch_length), SPEC)
    return replay, jax.jit(replay.add, donate_argnums=0), jax.jit(replay.sample)


def filled(replay: Replay, add, lengths) -> tuple:
    state, start, firsts = replay.init(), 0, []
    for length in lengths:
        state = add_episode(replay, add, state, make_records(start, length))
        firsts.append(start)
        start += length
    return state, start, firsts


@pytest.mark.parametrize("lengths", [[23], [23, 11], [23, 41], [23, 41, 17, 30, 64]])
def test_windows_are_contiguous_slices_of_what_was_added(lengths):
    replay, add, sample = make()
    state, total, firsts = filled(replay, add, lengths)
    batch, weight, indices = sample(state, jax.random.key(0))
    image = batch.observation["image"]
    assert (image.shape, image.dtype) == ((5, 32, 4, 4, 3), jnp.uint8)
    assert batch.action.shape == (5, 32, 2)
    number = np.asarray(batch.reward).astype(int)
    np.testing.assert_array_equal(np.diff(number, axis=0), 1)
    np.testing.assert_array_equal(number[0] % 64, indices)
    np.testing.assert_array_equal(weight, np.ones(32))
    assert number.min() >= max(0, total - 64)
    assert number.max() < total
    np.testing.assert_array_equal(image, np.broadcast_to(number[..., None, None, None] % 256, (5, 32, 4, 4, 3)))
    np.testing.assert_array_equal(batch.action, np.stack([number, -number], axis=-1))
    np.testing.assert_array_equal(batch.is_first, np.isin(number, firsts))


def test_every_start_is_equally_likely_also_after_wrap_around():
    replay, add, _ = make(capacity=16, batch_size=1000, batch_length=5)
    state, total, _ = filled(replay, add, [9, 9, 9])
    draw = jax.jit(lambda state, keys: jax.vmap(lambda key: replay.sample(state, key).batch.reward[0])(keys))
    starts = np.asarray(draw(state, jax.random.split(jax.random.key(1), 12))).astype(int).ravel()
    values, counts = np.unique(starts, return_counts=True)
    np.testing.assert_array_equal(values, np.arange(total - 16, total - 4))  # 12 windows
    expected = 1000.0
    chi_squared = np.sum((counts - expected) ** 2 / expected)
    assert chi_squared < 31.3  # 11 degrees of freedom, p = 0.001


@pytest.mark.parametrize("lengths", [[9], [23], [23, 41, 17]])
def test_a_share_of_the_windows_begins_anywhere_among_the_newest_records(lengths):
    """Before the newest are as many as asked for, afterwards, and around the end of the memory."""
    config = ReplayConfig(capacity=64, batch_size=4000, batch_length=5, newest_share=0.25, newest=12)
    replay = make_replay(config, SPEC)
    state, total, _ = filled(replay, jax.jit(replay.add, donate_argnums=0), lengths)
    batch, _, indices = replay.sample(state, jax.random.key(3))
    number = np.asarray(batch.reward).astype(int)
    np.testing.assert_array_equal(np.diff(number, axis=0), 1)
    np.testing.assert_array_equal(number[0] % 64, indices)
    counts = np.bincount(number[0, 3000:], minlength=total)
    starts = np.arange(max(total - 12, 0), total - 4)
    assert counts[starts].sum() == 1000
    assert stats.chisquare(counts[starts]).pvalue > 1e-3
    assert number[0, :3000].min() == max(total - 64, 0)  # the others come from the whole memory


def test_pieces_equal_one_big_add_and_few_programs_serve_every_length():
    replay, add, _ = make(capacity=128)
    whole = jax.jit(replay.add)
    one, many = replay.init(), replay.init()
    start = 0
    for length in (37, 1, 40, 31, 50, 64):
        records = make_records(start, length)
        one, many = whole(one, records), add_episode(replay, add, many, records)
        start += length
    jax.tree.map(np.testing.assert_array_equal, one, many)
    assert add._cache_size() <= 7  # 1, 2, 4, ..., 64


def test_an_episode_longer_than_the_memory_leaves_its_end():
    replay, add, sample = make(capacity=20)
    state, total, _ = filled(replay, add, [75])
    number = np.asarray(sample(state, jax.random.key(3)).batch.reward)
    assert number.min() >= total - 20
    assert number.max() < total
    np.testing.assert_array_equal(np.sort(np.asarray(state.experience.reward[0])), np.arange(total - 20, total))


def test_the_memory_is_donated_and_updated_in_place():
    replay, add, _ = make(capacity=4096)
    state = replay.init()
    records = make_records(0, 8)
    compiled = add.lower(state, records).compile()
    stored = state.experience.observation["image"].nbytes
    assert compiled.memory_analysis().alias_size_in_bytes >= stored
    assert compiled.memory_analysis().temp_size_in_bytes < stored / 10
    add(state, records)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state.experience))


def test_sampling_is_a_function_of_the_key():
    replay, add, sample = make()
    state, _, _ = filled(replay, add, [40])
    one, same, other = (sample(state, jax.random.key(seed)) for seed in (0, 0, 1))
    jax.tree.map(np.testing.assert_array_equal, one, same)
    assert not np.array_equal(one.batch.reward, other.batch.reward)
    jax.tree.map(np.testing.assert_array_equal, one, replay.sample(state, jax.random.key(0)))
    assert sample._cache_size() == 1


def test_it_can_be_sampled_once_a_window_is_there():
    replay, add, _ = make(batch_length=5)
    state = replay.init()
    assert not replay.can_sample(state)
    state = add_episode(replay, add, state, make_records(0, 4))
    assert not replay.can_sample(state)
    state = add_episode(replay, add, state, make_records(4, 1))
    assert replay.can_sample(state)


def test_every_observation_comes_back_in_its_shape():
    spec = SPEC._replace(observations={**SPEC.observations, "state": ArraySpec((3,))})
    replay = make_replay(ReplayConfig(capacity=16, batch_size=2, batch_length=4), spec)
    records = make_records(0, 8)
    records.observation["state"] = np.arange(24, dtype=np.float32).reshape(8, 3)
    state = add_episode(replay, jax.jit(replay.add, donate_argnums=0), replay.init(), records)
    batch = replay.sample(state, jax.random.key(0)).batch
    np.testing.assert_array_equal(batch.observation["state"][..., 0], 3 * batch.reward)
    np.testing.assert_array_equal(batch.observation["image"][..., 1, 2, 0], batch.reward)


def test_sizes_are_checked():
    for name in ("capacity", "batch_size", "batch_length"):
        with pytest.raises(ValueError, match=f"ReplayConfig.{name}: expected at least 1, got 0"):
            ReplayConfig(**{name: 0})
    with pytest.raises(ValueError, match=r"ReplayConfig.batch_length: expected at most capacity = 40 records, got 50"):
        ReplayConfig(capacity=40)


def test_the_bytes_are_those_of_the_arrays():
    config = ReplayConfig(capacity=100, batch_length=10)
    state = make_replay(config, SPEC).init()
    assert replay_bytes(config, SPEC) == sum(leaf.nbytes for leaf in jax.tree.leaves(state.experience))
    pixels = EnvSpec.single((64, 64, 3), "uint8", action_size=2)
    assert 6.1e9 < replay_bytes(ReplayConfig(), pixels) < 6.2e9


def test_what_does_not_fit_is_refused_with_a_capacity_that_does(monkeypatch):
    pixels = EnvSpec.single((64, 64, 3), "uint8", action_size=2)
    monkeypatch.setattr(memory, "free_bytes", lambda device: 4 * 2**30)
    with pytest.raises(
        ValueError, match=r"ReplayConfig.capacity: .*\(3.20 GiB, 80% of the 4.00 GiB free on .*got 500000; set it to"
    ) as caught:
        check_memory(ReplayConfig(), pixels)
    fitting = int(str(caught.value).rsplit(" ", 1)[1])
    check_memory(ReplayConfig(capacity=fitting), pixels)
    with pytest.raises(ValueError, match="ReplayConfig.capacity"):
        check_memory(ReplayConfig(capacity=fitting + 1000), pixels)
    monkeypatch.setattr(memory, "free_bytes", lambda device: None)
    check_memory(ReplayConfig(), pixels)


def test_free_memory_is_asked_of_the_device(tmp_path):
    class Device:
        platform = "gpu"

        def memory_stats(self):
            return {"bytes_limit": 100, "bytes_in_use": 30}

    class Silent(Device):
        def memory_stats(self):
            return None

    assert memory.free_bytes(Device()) == 70
    assert memory.free_bytes(Silent()) is None
    free = memory.free_bytes(jax.devices("cpu")[0])
    assert free is None or free > 0


def test_a_containers_limit_counts(tmp_path):
    assert memory._container_free(tmp_path) is None
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("600\n")
    (tmp_path / "memory.stat").write_text("anon 500\ninactive_file 100\n")
    assert memory._container_free(tmp_path) is None
    (tmp_path / "memory.max").write_text("1000\n")
    assert memory._container_free(tmp_path) == 500
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:       4 kB\n")
    assert memory._available(tmp_path / "meminfo") == 4096
    assert memory._available(tmp_path / "none") is None


def test_windows_are_drawn_by_their_priorities_and_weigh_less_where_they_come_often():
    config = ReplayConfig(capacity=16, batch_size=2000, batch_length=4, priority_exponent=0.5, importance_exponent=0.4)
    replay = make_replay(config, SPEC)
    add, sample = jax.jit(replay.add, donate_argnums=0), jax.jit(replay.sample)
    state, total, _ = filled(replay, add, [12])
    batch, weight, indices = sample(state, jax.random.key(0))
    starts = np.asarray(batch.reward[0]).astype(int)
    assert set(starts) == set(range(total - 3)) and np.allclose(weight, 1.0)  # new windows are all alike
    np.testing.assert_array_equal(starts, indices)
    priority = jnp.where(indices == 2, 4.0, 0.25)
    state = jax.jit(replay.reprioritise)(state, indices, priority)
    batch, weight, indices = sample(state, jax.random.key(1))
    starts = np.asarray(batch.reward[0]).astype(int)
    expected = 2.0 / (2.0 + 8 * 0.5)  # square roots of the priorities
    assert abs(np.mean(starts == 2) - expected) < 0.02
    ratio = (expected / ((1 - expected) / 8)) ** -0.4
    np.testing.assert_allclose(weight, np.where(starts == 2, ratio, 1.0), rtol=1e-4)
    kept = replay.priorities(state)
    again = replay.with_priorities(filled(replay, add, [12])[0], kept)
    np.testing.assert_array_equal(sample(again, jax.random.key(1)).indices, indices)


def test_without_priorities_nothing_is_weighed():
    replay, add, _ = make()
    state, _, _ = filled(replay, add, [23])
    drawn = replay.sample(state, jax.random.key(0))
    assert (drawn.weight == 1.0).all() and replay.priorities(state) is None
    assert replay.reprioritise(state, drawn.indices, jnp.ones(32)) is state


@pytest.mark.parametrize("settings", [{}, {"newest_share": 0.5, "newest": 12}, {"priority_exponent": 0.6}])
def test_flashbax_draws_the_windows(settings):
    """The same windows as flashbax's own sampling, with the records read once they are known."""
    replay = make_replay(ReplayConfig(capacity=32, batch_size=8, batch_length=4, **settings), SPEC)
    state, _, _ = filled(replay, jax.jit(replay.add, donate_argnums=0), [23, 17])
    if "priority_exponent" in settings:
        sizes = {"add_batch_size": 1, "sample_batch_size": 8, "sample_sequence_length": 4, "period": 1}
        sizes |= {"min_length_time_axis": 4, "max_length_time_axis": 32}
        state = replay.reprioritise(state, jnp.arange(8), jnp.arange(1.0, 9.0))
        buffer = fbx.make_prioritised_trajectory_buffer(**sizes, priority_exponent=0.6, device="cpu")
    else:
        size = 4 if "newest" in settings else 8
        sizes = {"add_batch_size": 1, "sample_batch_size": size, "sample_sequence_length": 4, "period": 1}
        buffer = fbx.make_trajectory_buffer(**sizes, min_length_time_axis=4, max_length_time_axis=32)
    with jax.numpy_rank_promotion("allow"):  # flashbax adds rows to columns
        expected = buffer.sample(state, jax.random.key(5)).experience.reward  # [B, T]
    found = replay.sample(state, jax.random.key(5)).batch.reward
    np.testing.assert_array_equal(found[:, : len(expected)], expected.T)


@pytest.mark.parametrize("settings", [{}, {"newest_share": 0.5, "newest": 12}, {"priority_exponent": 0.6}])
def test_memories_side_by_side_are_memories_one_by_one(settings):
    """`jax.vmap` over seeds: memories with other records, other keys and other priorities."""
    replay = make_replay(ReplayConfig(capacity=32, batch_size=8, batch_length=4, **settings), SPEC)
    records = [make_records(start, 20) for start in (0, 100)]
    keys = jax.random.split(jax.random.key(0))

    def fill(records, key):
        state = replay.add(replay.add(replay.init(), records), jax.tree.map(lambda x: x[:15], records))
        indices = replay.sample(state, key).indices
        state = replay.reprioritise(state, indices, 1.0 + indices)
        return replay.sample(state, key), replay.can_sample(state), replay.priorities(state)

    one, both = jax.jit(fill), jax.jit(jax.vmap(fill))(jax.tree.map(lambda *x: np.stack(x), *records), keys)
    for i in range(2):
        alone = one(records[i], keys[i])
        jax.tree.map(lambda x, y, i=i: np.testing.assert_allclose(x[i], y, rtol=1e-6), both, alone)


@pytest.mark.parametrize("field", ["priority_exponent", "importance_exponent"])
def test_exponents_are_shares(field):
    with pytest.raises(ValueError, match=f"ReplayConfig.{field}: expected 0 to 1, got 1.5"):
        ReplayConfig(**{field: 1.5})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"newest_share": 1.0}, "ReplayConfig.newest_share: expected at least 0 and less than 1"),
        ({"newest_share": 0.5, "priority_exponent": 0.6}, "0 with prioritised replay"),
        ({"newest_share": 0.5, "newest": 49}, r"ReplayConfig.newest: expected at least batch_length = 50 records"),
    ],
)
def test_the_newest_are_some_and_there_are_enough_of_them(settings, message):
    with pytest.raises(ValueError, match=message):
        ReplayConfig(**settings)
