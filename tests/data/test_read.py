"""Recorded data in other people's forms: NumPy and HDF5 files, Minari data sets, our own folders."""

import h5py
import numpy as np
import pytest

from latentplan.data import minari as ours
from latentplan.data import read_data, read_raw, split_held_out
from latentplan.replay.episodes import write_episode
from latentplan.types import ArraySpec, Batch, EnvSpec


def recorded(seed: int, decisions: int = 4) -> dict[str, np.ndarray]:
    """One episode: n + 1 observations, n actions and rewards."""
    rng = np.random.default_rng(seed)
    return {
        "observations": rng.normal(size=(decisions + 1, 3)),
        "actions": rng.uniform(-1, 1, (decisions, 2)),
        "rewards": rng.normal(size=decisions),
        "terminals": np.arange(decisions) == decisions - 1,
    }


def check(episode: Batch, raw: dict[str, np.ndarray], *, terminal: bool = True) -> None:
    np.testing.assert_allclose(episode.observation["state"], raw["observations"], rtol=1e-6)
    np.testing.assert_allclose(episode.action[1:], raw["actions"], rtol=1e-6)
    np.testing.assert_allclose(episode.reward[1:], raw["rewards"], rtol=1e-6)
    assert not episode.action[0].any() and episode.reward[0] == 0
    last = len(raw["rewards"])
    assert np.flatnonzero(episode.is_first).tolist() == [0] and np.flatnonzero(episode.is_last).tolist() == [last]
    assert np.flatnonzero(episode.is_terminal).tolist() == [last] * terminal
    assert [x.dtype for x in (episode.observation["state"], episode.action, episode.reward)] == [np.float32] * 3


def flat(*episodes: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """D4RL's form: transitions, one after the other, without an episode's last observation."""
    parts = [{**x, "observations": x["observations"][:-1]} for x in episodes]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def test_a_folder_of_numpy_files_with_an_episode_each(tmp_path):
    raw = [recorded(i, 4 + i) for i in range(3)]
    for i, arrays in enumerate(raw):
        np.savez(tmp_path / f"part{i}.npz", **arrays)
    for path in (str(tmp_path), str(tmp_path / "part*.npz")):
        found = read_data(path)
        assert found.spec == EnvSpec({"state": ArraySpec((3,))}, {"action": ArraySpec((2,))})
        assert found.records == 5 + 6 + 7
        for episode, arrays in zip(found.episodes, raw, strict=True):
            check(episode, arrays)


def test_transitions_with_the_next_observations_keep_every_decision(tmp_path):
    raw = [recorded(0), recorded(1, 5)]
    following = np.concatenate([x["observations"][1:] for x in raw])
    with h5py.File(tmp_path / "d4rl.hdf5", "w") as file:
        for name, x in (flat(*raw) | {"next_observations": following}).items():
            file[name] = x
    for episode, arrays in zip(read_data(str(tmp_path / "d4rl.hdf5")).episodes, raw, strict=True):
        check(episode, arrays)


def test_transitions_without_the_next_observations_lose_an_episodes_last_decision(tmp_path):
    raw = [recorded(0), recorded(1, 5)]
    arrays = flat(*raw)
    timeouts = arrays.pop("terminals")
    np.savez(tmp_path / "steps.npz", **arrays, timeouts=timeouts)
    for episode, one in zip(read_data(str(tmp_path / "steps.npz")).episodes, raw, strict=True):
        check(episode, {name: x[:-1] for name, x in one.items()}, terminal=False)


def test_episodes_as_groups_of_a_file_in_their_order_and_observations_by_name(tmp_path):
    """Robomimic's form."""
    with h5py.File(tmp_path / "demos.h5", "w") as file:
        for i in (10, 2):
            raw = recorded(i)
            group = file.create_group(f"data/demo_{i}")
            group["actions"], group["rewards"], group["dones"] = raw["actions"], raw["rewards"], raw["terminals"]
            group["obs/joints"], group["obs/camera"] = raw["observations"], np.full((5, 3, 8, 8), i, np.uint8)
    found = read_data(str(tmp_path / "demos.h5"))
    assert found.spec.observations == {"camera": ArraySpec((8, 8, 3), "uint8"), "joints": ArraySpec((3,))}
    assert [int(episode.observation["camera"][0, 0, 0, 0]) for episode in found.episodes] == [2, 10]


def test_files_of_other_dreamers_hold_what_led_to_an_observation(tmp_path):
    raw = recorded(3)
    shifted = {
        "image": np.zeros((5, 8, 8, 3), np.uint8),
        "action": np.concatenate([np.zeros((1, 2)), raw["actions"]]),
        "reward": np.concatenate([[0.0], raw["rewards"]]),
        "is_first": np.arange(5) == 0,
        "is_last": np.arange(5) == 4,
        "is_terminal": np.zeros(5, bool),
    }
    np.savez(tmp_path / "one.npz", **shifted)
    np.savez(tmp_path / "two.npz", **{name: np.concatenate([x, x]) for name, x in shifted.items()})
    for episode in read_data(str(tmp_path)).episodes:
        np.testing.assert_allclose(episode.action[1:], raw["actions"], rtol=1e-6)
        np.testing.assert_allclose(episode.reward[1:], raw["rewards"], rtol=1e-6)
        assert episode.observation["image"].shape == (5, 8, 8, 3) and not episode.is_terminal.any()


def test_whole_numbers_are_choices(tmp_path):
    np.savez(tmp_path / "a.npz", **recorded(0) | {"actions": np.array([0, 2, 1, 1])})
    found = read_data(str(tmp_path))
    assert found.spec.discrete and found.spec.action_size == 3
    np.testing.assert_array_equal(found.episodes[0].action, [[0, 0, 0], [1, 0, 0], [0, 0, 1], [0, 1, 0], [0, 1, 0]])


def test_choices_that_nobody_took_are_the_environments(tmp_path):
    np.savez(tmp_path / "a.npz", **recorded(0) | {"actions": np.array([0, 1, 1, 0])})
    spec = EnvSpec.single((3,), action_size=4, discrete=True)
    assert read_data(str(tmp_path), spec).episodes[0].action.shape == (5, 4)
    with pytest.raises(ValueError, match="expected a whole number from 0 to 0 per step, or one-hot, got 0 to 1"):
        read_data(str(tmp_path), EnvSpec.single((3,), action_size=1, discrete=True))


def test_one_hot_actions_of_our_own_episodes_are_choices_again(tmp_path):
    np.savez(tmp_path / "a.npz", **recorded(0) | {"actions": np.array([0, 2, 1, 1])})
    found = read_data(str(tmp_path))
    write_episode(tmp_path / "run", 0, found.episodes[0])
    again = read_data(str(tmp_path / "run"))
    assert again.spec == found.spec and again.spec.discrete
    np.testing.assert_array_equal(again.episodes[0].action, found.episodes[0].action)


def test_our_own_episodes_come_back(tmp_path):
    np.savez(tmp_path / "theirs.npz", **recorded(0))
    (episode,) = read_data(str(tmp_path)).episodes
    write_episode(tmp_path / "run" / "episodes", 0, episode)
    (tmp_path / "run" / "config.json").write_text("{}")
    for path in ("run", "run/episodes", "run/episodes/000000.npz"):
        (again,) = read_data(str(tmp_path / path)).episodes
        np.testing.assert_array_equal(again.action, episode.action)
        np.testing.assert_array_equal(again.is_terminal, episode.is_terminal)


@pytest.fixture
def minari_home(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))


@pytest.mark.parametrize("discrete", [False, True])
def test_what_is_written_as_a_minari_data_set_is_read_back_by_minari_and_by_us(minari_home, tmp_path, discrete):
    import minari

    rng = np.random.default_rng(0)
    for i in range(3):
        images = {"observations/camera": rng.integers(0, 256, (5, 8, 8, 3), np.uint8)}
        raw = recorded(i)
        raw["observations/joints"] = raw.pop("observations")
        actions = {"actions": np.arange(4) % 3} if discrete else {}
        np.savez(tmp_path / f"{i}.npz", **raw | images | actions)
    found = read_data(str(tmp_path))
    assert ours.write("lab/reach-v0", found.episodes, found.spec, description="a test") == 3
    loaded = minari.load_dataset("lab/reach-v0")
    assert loaded.total_episodes == 3 and loaded.total_steps == 12
    one = next(loaded.iterate_episodes())
    np.testing.assert_array_equal(one.observations["camera"], found.episodes[0].observation["camera"])
    assert one.terminations.tolist() == [False, False, False, True] and not one.truncations.any()
    again = read_data("lab/reach-v0")
    assert again.spec == found.spec
    for episode, other in zip(again.episodes, found.episodes, strict=True):
        np.testing.assert_array_equal(episode.observation["joints"], other.observation["joints"])
        np.testing.assert_allclose(episode.action, other.action, atol=1e-6)
        np.testing.assert_array_equal(episode.reward, other.reward)
    assert len(read_data(str(tmp_path / "minari" / "lab" / "reach-v0")).episodes) == 3
    with pytest.raises(ValueError, match="minari: expected a new name, got lab/reach-v0"):
        ours.write("lab/reach-v0", found.episodes, found.spec)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"actions": None}, r"a\.npz: expected an array action or actions, got observations, rewards, terminals"),
        ({"rewards": None}, r"a\.npz: expected an array reward or rewards"),
        ({"observations": None}, r"a\.npz: expected an array observation or observations or obs"),
        ({"rewards": np.zeros(3)}, r"rewards: expected one number for each of 4 actions, got \[3\]"),
        ({"rewards": np.zeros((4, 2))}, r"rewards: expected one number for each of 4 actions, got \[4, 2\]"),
        ({"observations": np.zeros((9, 3))}, "observations: expected 4 or 5 of them for 4 actions, got 9"),
        ({"observations": np.full((5, 3), np.nan)}, "observations: expected finite numbers, got NaN"),
        ({"actions": np.full((4, 2), np.inf)}, "actions: expected finite numbers"),
        ({"actions": np.full((4, 2), 2.0)}, r"action: expected numbers in \[-1, 1\], got 0 to 2; scale them"),
        ({"observations": np.array([["a"]] * 5)}, "expected numbers, got <U1"),
        ({"terminals": np.zeros(3)}, r"a\.npz: terminals: expected 4 numbers, one for each step, got \[3\]"),
        ({"dones": np.zeros(5)}, r"dones: expected 4 numbers, one for each step, got \[5\]"),
        ({"is_first": np.zeros(4)}, "is_first: expected 5, one for each observation, got 4 beside 5 observations"),
        ({"is_first": np.zeros(7)}, r"is_first: expected 4 or 5 numbers, one for each step, got \[7\]"),
        ({"terminals": np.full(4, np.nan)}, "terminals: expected finite numbers, got NaN"),
        ({"state": np.zeros((5, 3))}, "observation: expected one array, got observations and state; leave one out"),
        ({"obs": np.zeros((5, 8, 8, 3), np.uint8)}, "observation: expected one array, got observations and obs"),
        ({"rewards": np.full(4, -1e300)}, "rewards: expected numbers that float32 holds, got larger ones"),
        ({"observations": np.full((5, 3), 1e300)}, "observations: expected numbers that float32 holds"),
        ({"action": np.zeros((4, 2))}, "action: expected one array, got action and actions"),
        ({"rewards": np.array([None] * 4)}, "rewards: expected an array of numbers, got ValueError: Object arrays"),
    ],
)
def test_what_is_missing_or_wrong_is_told_with_the_file(tmp_path, change, message):
    arrays = {name: x for name, x in (recorded(0) | change).items() if x is not None}
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        read_data(str(tmp_path))


def test_is_first_for_every_observation_and_the_actions_between_them(tmp_path):
    """Two episodes of 5 observations; the action between them led to nothing."""
    one, two = recorded(0), recorded(1)
    arrays = {
        "observations": np.concatenate([one["observations"], two["observations"]]),
        "actions": np.concatenate([one["actions"], np.zeros((1, 2)), two["actions"]]),
        "rewards": np.concatenate([one["rewards"], [0.0], two["rewards"]]),
        "is_first": np.isin(np.arange(10), [0, 5]),
    }
    np.savez(tmp_path / "records.npz", **arrays, is_terminal=np.isin(np.arange(10), [4, 9]))
    np.savez(tmp_path / "steps.npz", **arrays, terminals=np.isin(np.arange(9), [3, 8]))
    for episode, raw in zip(read_data(str(tmp_path)).episodes, [one, two] * 2, strict=True):
        check(episode, raw)


@pytest.mark.parametrize(
    ("images", "note"),
    [
        (np.zeros((5, 8, 9), np.uint8), "observations uint8 [8, 9] is flattened into a vector of 72 numbers"),
        (np.zeros((5, 8, 9, 3)), "observations float64 [8, 9, 3] is flattened into a vector of 216 numbers"),
        (np.zeros((5, 8, 9, 3), np.uint8), ""),
        (np.zeros((5, 8)), ""),
    ],
)
def test_images_that_become_vectors_are_told(tmp_path, images, note):
    for name in "ab":
        np.savez(tmp_path / f"{name}.npz", **recorded(0) | {"observations": images})
    expected = (f"{note}; images are uint8 [height, width, channels]",) if note else ()
    assert read_raw(str(tmp_path)).notes == expected


def test_booleans_are_choices_and_what_is_not_used_is_not_read(tmp_path):
    taken = np.array([True, False, False, True])
    np.savez(tmp_path / "a.npz", **recorded(0) | {"actions": taken, "info": np.array([{}, None])})
    found = read_data(str(tmp_path))
    assert found.spec.discrete and found.spec.action_size == 2
    np.testing.assert_array_equal(found.episodes[0].action[1:].argmax(1), taken)


def test_links_in_a_file_are_followed_and_one_that_leads_nowhere_is_refused(tmp_path):
    raw = recorded(0)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name, x in raw.items():
            file[f"{name}_"], file[name] = x, h5py.SoftLink(f"/{name}_")
        file["info"] = h5py.SoftLink("/nowhere")  # is not used
    check(read_data(str(tmp_path / "a.h5")).episodes[0], raw)
    with h5py.File(tmp_path / "a.h5", "a") as file:
        del file["rewards_"]
    with pytest.raises(
        ValueError, match=r"^[^\n]*a\.h5: expected an intact.*got LookupError: a link rewards that leads"
    ):
        read_data(str(tmp_path / "a.h5"))


def test_episodes_that_do_not_fit_together_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", **recorded(0))
    np.savez(tmp_path / "b.npz", **recorded(0) | {"observations": np.zeros((5, 4))})
    with pytest.raises(ValueError, match=r"b\.npz.*expected state float32 \[3\], got state float32 \[4\]"):
        read_data(str(tmp_path))


def test_missing_data_is_reported(tmp_path, minari_home):
    with pytest.raises(ValueError, match=r"data: expected \.npz, \.h5 or \.hdf5 files in .*, got nothing"):
        read_data(str(tmp_path))
    with pytest.raises(
        ValueError, match="data: expected a file, a folder, a pattern, or the name.*check the path"
    ) as no:
        read_data(str(tmp_path / "nothing"))
    assert "download" not in str(no.value)
    np.save(tmp_path / "a.npy", np.zeros(3))
    with pytest.raises(ValueError, match=r"data: expected \.npz, .* got \.npy, .*; give each"):
        read_data(str(tmp_path))
    with pytest.raises(ValueError, match=r"a\.npy: expected a \.npz, \.h5 or \.hdf5 file, got \.npy"):
        read_data(str(tmp_path / "a.npy"))
    np.savez(tmp_path / "a.npz", **{name: x[:1] for name, x in flat(recorded(0)).items()})
    with pytest.raises(ValueError, match="data: expected at least one episode"):
        read_data(str(tmp_path))


NAMES = ["bad name", "d/slash-v0", "reach", "lab//reach-v0", "data/reach-v0", "../reach-v0", "", "lab/reach-v0/two-v0"]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_would_break_minaris_store_is_refused_and_nothing_is_written(minari_home, tmp_path, name):
    import minari

    np.savez(tmp_path / "a.npz", **recorded(0))
    found = read_data(str(tmp_path / "a.npz"))
    ours.write("lab/reach-v0", found.episodes, found.spec)
    with pytest.raises(ValueError, match="minari: expected"):
        ours.write(name, found.episodes, found.spec)
    assert list(minari.list_local_datasets()) == ["lab/reach-v0"]


def test_a_data_set_that_fails_half_way_leaves_nothing(minari_home, tmp_path, monkeypatch):
    from minari.dataset.minari_storage import MinariStorage

    def full(*_):
        raise OSError("no space left")

    np.savez(tmp_path / "a.npz", **recorded(0))
    found = read_data(str(tmp_path / "a.npz"))
    monkeypatch.setattr(MinariStorage, "update_metadata", full)
    with pytest.raises(OSError, match="no space left"):
        ours.write("lab/inner/reach-v0", found.episodes, found.spec)
    assert list((tmp_path / "minari").iterdir()) == []


@pytest.mark.parametrize(("number", "share", "held"), [(10, 0.1, 1), (40, 0.1, 4), (2, 0.1, 1), (1, 0.5, 0), (9, 0, 0)])
def test_held_out_episodes_are_whole_and_spread(number, share, held):
    kept, out = split_held_out(list(range(number)), share)
    assert len(out) == held and sorted(kept + out) == list(range(number))
