"""Episodes on disk: round trip, atomic writing, and every kind of damage."""

import errno
import io
import os

import jax
import numpy as np
import pytest

from latentplan.files import DiskFull, atomic_path
from latentplan.replay.episodes import (
    CorruptEpisode,
    episode_path,
    load_episodes,
    read_episode,
    write_episode,
)
from latentplan.types import Batch, EnvSpec

SPEC = EnvSpec.single((8, 8, 3), "uint8", action_size=2, action_repeat=2, max_decisions=6)


def make_episode(decisions: int = 6, seed: int = 0) -> Batch:
    rng = np.random.default_rng(seed)
    records = decisions + 1
    return Batch(
        observation={"image": rng.integers(0, 256, (records, 8, 8, 3), np.uint8)},
        action=rng.uniform(-1, 1, (records, 2)).astype(np.float32),
        reward=rng.normal(size=records).astype(np.float32),
        is_first=np.arange(records) == 0,
        is_last=np.arange(records) == decisions,
        is_terminal=np.zeros(records, bool),
    )


def assert_same(one: Batch, other: Batch) -> None:
    assert one.observation.keys() == other.observation.keys()
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def test_round_trip_keeps_every_bit_and_plain_numpy_reads_it(tmp_path):
    episode = make_episode()
    path = write_episode(tmp_path / "episodes", 12, episode)
    assert path == tmp_path / "episodes" / "000012.npz"
    assert_same(read_episode(path, SPEC), episode)
    with np.load(path) as arrays:
        assert set(arrays) == {"observation/image", *Batch._fields} - {"observation"}
        np.testing.assert_array_equal(arrays["observation/image"], episode.observation["image"])
    assert os.listdir(path.parent) == ["000012.npz"]


@pytest.mark.parametrize("shape", [(8, 8, 3), (5,)])
def test_a_file_of_version_0_1_whose_observation_has_no_name_is_read(tmp_path, shape):
    observation = np.ones((7, *shape), np.uint8 if len(shape) == 3 else np.float32)
    np.savez_compressed(tmp_path / "old.npz", **make_episode()._replace(observation=observation)._asdict())
    spec = EnvSpec.single(shape, observation.dtype.name, action_size=2)
    for episode in (read_episode(tmp_path / "old.npz", spec), read_episode(tmp_path / "old.npz")):
        ((name, found),) = episode.observation.items()
        assert name in spec.observations
        np.testing.assert_array_equal(found, observation)


def test_writing_the_same_index_replaces(tmp_path):
    write_episode(tmp_path, 0, make_episode(seed=0))
    write_episode(tmp_path, 0, make_episode(seed=1))
    assert_same(read_episode(episode_path(tmp_path, 0)), make_episode(seed=1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reward": np.zeros(3, np.float32)}, "equal lengths"),
        ({"is_first": np.zeros(7, bool)}, "is_first"),
        ({"is_first": np.ones(7, bool)}, "is_first"),
    ],
)
def test_writing_what_is_not_an_episode_is_refused(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        write_episode(tmp_path, 0, make_episode()._replace(**change))
    with pytest.raises(ValueError, match="at least 2 records"):
        write_episode(tmp_path, 0, jax.tree.map(lambda x: x[:1], make_episode()))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.5, 0.99])
def test_a_half_written_file_is_corrupt(tmp_path, fraction):
    path = write_episode(tmp_path, 0, make_episode())
    data = path.read_bytes()
    path.write_bytes(data[: int(fraction * len(data))])
    with pytest.raises(CorruptEpisode, match="000000.npz"):
        read_episode(path)


def test_no_flipped_byte_passes_as_other_data(tmp_path):
    """A flip is either noticed or was in a place that does not matter, such as a time stamp."""
    episode = make_episode()
    path = write_episode(tmp_path, 0, episode)
    data = path.read_bytes()
    noticed = 0
    positions = range(0, len(data), 7)
    for position in positions:
        path.write_bytes(data[:position] + bytes([data[position] ^ 0x55]) + data[position + 1 :])
        try:
            assert_same(read_episode(path, SPEC), episode)
        except CorruptEpisode:
            noticed += 1
    assert noticed > 0.7 * len(positions)


def test_missing_fields_and_foreign_files_are_corrupt(tmp_path):
    path = tmp_path / "000000.npz"
    np.savez_compressed(path, reward=np.zeros(3))
    with pytest.raises(CorruptEpisode, match="expected the fields"):
        read_episode(path)
    path.write_text("not an archive")
    with pytest.raises(CorruptEpisode, match="cannot be read"):
        read_episode(path)
    episode = make_episode()
    np.savez(path, **episode._replace(observation=0, reward=np.array([None] * 7))._asdict())  # pickled: never loaded
    with pytest.raises(CorruptEpisode, match="cannot be read"):
        read_episode(path)


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        (EnvSpec.single((9, 9, 3), "uint8", action_size=2), "observation/image"),
        (EnvSpec.single((8, 8, 3), "float32", action_size=2), "observation/image"),
        (EnvSpec.single((8,), action_size=2), "observation"),
        (EnvSpec.single((8, 8, 3), "uint8", action_size=1), "action"),
    ],
)
def test_an_episode_of_another_environment_is_refused(tmp_path, spec, field):
    path = write_episode(tmp_path, 0, make_episode())
    with pytest.raises(CorruptEpisode, match=f"{field}: expected"):
        read_episode(path, spec)


def test_loading_skips_and_reports_what_is_damaged_or_missing(tmp_path):
    for index in range(5):
        write_episode(tmp_path, index, make_episode(seed=index))
    episode_path(tmp_path, 1).unlink()
    episode_path(tmp_path, 3).write_bytes(b"PK\x03\x04 half")
    (tmp_path / ".tmp-000004.npz").write_bytes(b"left over from a kill")
    messages = []
    loaded = list(load_episodes(tmp_path, 4, SPEC, messages.append))
    assert [index for index, _ in loaded] == [0, 2]  # 4 is beyond the count
    assert_same(loaded[1][1], make_episode(seed=2))
    assert len(messages) == 2
    assert "000001.npz" in messages[0]
    assert "000003.npz" in messages[1]


@pytest.mark.parametrize("place", ["write", "fsync"])
def test_a_full_disk_is_named_and_leaves_earlier_files_intact(tmp_path, monkeypatch, place):
    write_episode(tmp_path, 0, make_episode(seed=0))

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(*((np, "savez_compressed") if place == "write" else (os, "fsync")), full)
        for index in (0, 1):
            with pytest.raises(DiskFull, match="logdir.*Free some space") as caught:
                write_episode(tmp_path, index, make_episode(seed=5))
            assert caught.value.errno == errno.ENOSPC
    assert os.listdir(tmp_path) == ["000000.npz"]
    assert_same(read_episode(episode_path(tmp_path, 0)), make_episode(seed=0))


def test_an_interrupted_write_leaves_nothing(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")

    def interrupted():
        with atomic_path(path) as temporary:
            temporary.write_text("ne")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert os.listdir(tmp_path) == ["file"]
    assert path.read_text() == "old"


def test_other_errors_keep_their_type(tmp_path):
    with pytest.raises(io.UnsupportedOperation), atomic_path(tmp_path / "file"):
        raise io.UnsupportedOperation
    assert os.listdir(tmp_path) == []
