"""Recorded data of strangers: nothing in a file is executed, and what is no data is refused in a line."""

import io
import os
import pickle
import zipfile

import h5py
import hypothesis.extra.numpy as hypothesis_numpy
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentplan.data import read_data
from latentplan.data.arrays import NAMES, cut_episodes, read_steps

RECORDED = {"observations": np.zeros((5, 3)), "actions": np.zeros((4, 2)), "rewards": np.zeros(4)}
FORGED = {
    "pickle.npz": lambda file: file.write_bytes(pickle.dumps({"actions": Bomb()})),
    "array.npz": lambda file: file.write_bytes(npy(np.zeros(4))),
    "cut.npz": lambda file: (np.savez(file, **RECORDED), os.truncate(file, file.stat().st_size // 2)),
    "text.npz": lambda file: file.write_text("not an archive"),
    "objects.npz": lambda file: np.savez(file, **RECORDED | {"rewards": objects(4)}),
    "ours.npz": lambda file: np.savez(file, **OURS | {"reward": objects(5)}),
    "huge.npz": lambda file: forged_zip(file, (9_000_000_000_000,)),
    "text.h5": lambda file: file.write_text("no HDF5"),
    "huge.h5": lambda file: forged_hdf5(file, shape=(9_000_000_000_000,), dtype="f8"),
    "strings.h5": lambda file: forged_hdf5(file, data=["a"] * 4),
}
"""A file of a stranger -> what writes it."""
OURS = {"observation/state": np.zeros((5, 3), np.float32), "action": np.zeros((5, 2), np.float32)}
OURS |= {name: np.arange(5) == place for name, place in {"is_first": 0, "is_last": 4, "is_terminal": 9}.items()}


class Bomb:
    """Writes a file when it is unpickled."""

    def __reduce__(self):
        return (open, ("exploded", "w"))


def objects(size):
    array = np.full(size, None, object)
    array[0] = Bomb()
    return array


def npy(array):
    data = io.BytesIO()
    np.save(data, array)
    return data.getvalue()


def forged_zip(file, shape):
    """An array of eight bytes whose header claims a shape."""
    data = io.BytesIO()
    np.lib.format.write_array_header_1_0(data, {"descr": "<f8", "fortran_order": False, "shape": shape})
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in RECORDED.items():
            archive.writestr(f"{name}.npy", data.getvalue() + bytes(8) if name == "rewards" else npy(array))


def forged_hdf5(file, **actions):
    with h5py.File(file, "w") as held:
        held.create_dataset("rewards", data=np.zeros(4))
        held.create_dataset("actions", **actions)


@pytest.mark.parametrize("name", FORGED)
def test_a_strangers_file_runs_nothing_and_is_refused_in_a_line(tmp_path, monkeypatch, name):
    """Pickled objects are never loaded, and what a header claims is no reason to fail otherwise."""
    monkeypatch.chdir(tmp_path)
    FORGED[name](tmp_path / name)
    with pytest.raises(ValueError, match=name) as refused:
        read_data(name)
    assert "\n" not in str(refused.value)
    assert os.listdir(tmp_path) == [name]


ANY_ARRAY = hypothesis_numpy.arrays(
    st.sampled_from([np.float32, np.float64, np.int8, np.uint8, bool, object]),
    hypothesis_numpy.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
    elements=st.integers(0, 1),
)
EVERY_NAME = [name for names in NAMES.values() for name in names]
ANY_NAMES = st.sampled_from([*EVERY_NAME, "observation/a", "next_obs/b", "images"])


@given(arrays=st.dictionaries(ANY_NAMES, ANY_ARRAY, max_size=5), needed=st.integers(1, 4))
def test_any_named_arrays_are_whole_episodes_or_refused(arrays, needed):
    arrays = {"actions": np.zeros((needed, 2)), "rewards": np.zeros(needed), "obs": np.zeros((needed, 3))} | arrays
    try:
        episodes = list(cut_episodes(read_steps(arrays, "here")))
    except ValueError as refused:
        assert str(refused).startswith("here: ") and "expected" in str(refused)
        return
    for episode in episodes:
        assert {len(x) for x in (*episode.observation.values(), *episode[1:])} == {len(episode.reward)}
        assert len(episode.reward) > 1 and episode.is_first.tolist() == [True] + [False] * (len(episode.reward) - 1)
