"""Checkpoints: bit-identical, atomic, and damage never passes for data."""

import logging
import os
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from latentplan.driver import checkpoint as checkpoint_module
from latentplan.driver.checkpoint import Checkpoints
from latentplan.files import DiskFull


class State(NamedTuple):
    params: dict
    opt_state: object
    updates: jax.Array
    empty: jax.Array
    extra: object


def make_tree(seed: int = 0) -> State:
    one, two, three = jax.random.split(jax.random.key(seed), 3)
    params = {
        "cell": {"kernel": jax.random.normal(one, (7, 5)), "bias/odd.name": jnp.full((5,), -0.0)},
        "half": jax.random.normal(two, (3,)).astype(jnp.bfloat16),
    }
    return State(
        params=params,
        opt_state=optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-3)).init(params),
        updates=jnp.asarray(seed, jnp.int32),
        empty=jnp.zeros((4, 0)),
        extra=(three, None, [np.arange(3, dtype=np.int64) + 2**40, np.full((2,), np.nan), np.zeros((0,), np.int64)]),
    )


def as_bits(tree) -> list:
    leaves = [
        jax.random.key_data(x) if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key) else x
        for x in jax.tree.leaves(tree)
    ]
    return [(str(x.dtype), x.shape, np.asarray(x).tobytes()) for x in leaves]


def assert_same(one, other) -> None:
    assert jax.tree.structure(one) == jax.tree.structure(other)
    assert as_bits(one) == as_bits(other)


def silent(message: str) -> None:
    raise AssertionError(f"unexpected report: {message}")


def largest_file(folder) -> str:
    files = [os.path.join(at, name) for at, _, names in os.walk(folder / "arrays") for name in names]
    return max(files, key=os.path.getsize)


def test_a_tree_comes_back_bit_for_bit(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    tree = make_tree(3)
    metadata = {"decisions": 7, "returns": [0.1, 1e-300], "name": "walker"}
    checkpoints.save(7, tree, metadata)
    restored, got = checkpoints.restore(make_tree(0), silent)
    assert_same(restored, tree)
    assert got == metadata
    assert isinstance(restored.params["half"], jax.Array)
    assert restored.params["half"].devices() == {jax.devices()[0]}
    assert restored.extra[2][0].dtype == np.int64
    assert jax.random.uniform(restored.extra[0]) == jax.random.uniform(tree.extra[0])


def test_what_comes_back_can_be_donated(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, {"x": jnp.arange(1000.0)}, {})
    restored, _ = checkpoints.restore({"x": jnp.zeros(1000)}, silent)
    doubled = jax.jit(lambda tree: {"x": 2 * tree["x"]}, donate_argnums=0)(restored)
    np.testing.assert_array_equal(doubled["x"], 2 * np.arange(1000.0))
    again, _ = checkpoints.restore({"x": jnp.zeros(1000)}, silent)
    np.testing.assert_array_equal(again["x"], np.arange(1000.0))


def test_nothing_there_is_nothing_restored(tmp_path):
    checkpoints = Checkpoints(tmp_path / "none")
    assert checkpoints.restore(make_tree(), silent) is None
    assert checkpoints.steps() == []
    with pytest.raises(ValueError, match="keep: expected at least 1"):
        Checkpoints(tmp_path, keep=0)


def test_only_the_newest_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    for step in (5, 10, 15, 20):
        checkpoints.save(step, {"x": jnp.asarray(step)}, {"step": step})
    assert checkpoints.steps() == [15, 20]
    assert checkpoints.restore({"x": jnp.asarray(0)}, silent)[1] == {"step": 20}
    assert sorted(os.listdir(tmp_path)) == ["000000000015", "000000000020"]


def test_relative_paths_work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    checkpoints = Checkpoints("run/checkpoints")
    checkpoints.save(1, {"x": jnp.ones(2)}, {})
    monkeypatch.chdir("/")
    assert checkpoints.restore({"x": jnp.ones(2)}, silent) is not None
    assert (tmp_path / "run/checkpoints/000000000001").is_dir()


def test_saving_a_step_again_replaces_it(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, make_tree(1), {"try": 1})
    checkpoints.save(1, make_tree(2), {"try": 2})
    restored, metadata = checkpoints.restore(make_tree(0), silent)
    assert metadata == {"try": 2}
    assert_same(restored, make_tree(2))
    assert os.listdir(tmp_path) == ["000000000001"]


def test_a_kill_while_replacing_loses_nothing(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path, keep=1)
    checkpoints.save(1, make_tree(1), {"try": 1})
    rename = os.rename

    def killed(source, target):
        if ".tmp-" in str(source):
            raise KeyboardInterrupt
        rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", killed)
        with pytest.raises(KeyboardInterrupt):
            checkpoints.save(1, make_tree(2), {"try": 2})
    assert checkpoints.steps() == [1]
    restored, _ = Checkpoints(tmp_path).restore(make_tree(0), silent)
    assert_same(restored, make_tree(1))
    checkpoints.save(1, make_tree(2), {"try": 2})
    assert checkpoints.restore(make_tree(0), silent)[1] == {"try": 2}
    assert os.listdir(tmp_path) == ["000000000001"]


def damage(folder, how: str) -> None:
    victim = largest_file(folder)
    size = os.path.getsize(victim)
    if how == "truncated":
        os.truncate(victim, size // 2)
    elif how == "emptied":
        os.truncate(victim, 0)
    elif how == "garbled":
        with open(victim, "r+b") as file:
            file.seek(size // 2)
            file.write(b"\xa5" * 16)
    elif how == "missing file":
        os.unlink(victim)
    elif how == "missing arrays":
        shutil.rmtree(folder / "arrays")
    elif how == "record truncated":
        os.truncate(folder / "record.json", 40)
    elif how == "record garbled":
        record = folder / "record.json"
        record.write_text(record.read_text().replace('\\"step\\": 2', '\\"step\\": 9'))
    elif how == "record missing":
        (folder / "record.json").unlink()


@pytest.mark.parametrize(
    "how",
    ["truncated", "emptied", "garbled", "missing file", "missing arrays"]
    + ["record truncated", "record garbled", "record missing"],
)
def test_a_damaged_checkpoint_is_reported_and_the_one_before_is_used(tmp_path, how):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, make_tree(1), {"step": 1})
    newest = checkpoints.save(2, make_tree(2), {"step": 2})
    damage(newest, how)
    messages = []
    restored, metadata = checkpoints.restore(make_tree(0), messages.append)
    assert metadata == {"step": 1}
    assert_same(restored, make_tree(1))
    assert len(messages) == 1
    assert str(newest) in messages[0]
    assert "000000000001" in messages[0]


def test_every_flipped_byte_is_noticed(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    tree = {"x": jnp.arange(64.0), "y": jnp.ones((3,), jnp.int32)}
    folder = checkpoints.save(1, tree, {"a": 1})
    victim = largest_file(folder)
    data = Path(victim).read_bytes()
    for position in range(0, len(data), max(1, len(data) // 40)):
        Path(victim).write_bytes(data[:position] + bytes([data[position] ^ 0xFF]) + data[position + 1 :])
        messages = []
        assert checkpoints.restore(tree, messages.append) is None
        assert "does not match its digest" in messages[0]
    Path(victim).write_bytes(data)
    assert_same(checkpoints.restore(tree, silent)[0], tree)


def test_valid_arrays_that_are_not_the_saved_ones_do_not_pass(tmp_path):
    """Whole files that orbax reads without complaint: only the arrays' own digest can tell."""
    checkpoints = Checkpoints(tmp_path / "run")
    other = Checkpoints(tmp_path / "other").save(1, {"x": jnp.arange(5.0) + 1}, {})
    folder = checkpoints.save(1, {"x": jnp.arange(5.0)}, {})
    shutil.rmtree(folder / "arrays")
    shutil.copytree(other / "arrays", folder / "arrays")
    record = checkpoint_module._unseal(folder / "record.json")
    record["files"] = checkpoint_module._file_digests(folder / "arrays")
    (folder / "record.json").write_text(checkpoint_module._seal(record))
    messages = []
    assert checkpoints.restore({"x": jnp.zeros(5)}, messages.append) is None
    assert "do not match their digest" in messages[0]
    assert "none is left" in messages[0]


def test_arrays_that_claim_another_size_are_not_read(tmp_path, monkeypatch):
    """A few compressed bytes may claim more zeros than fit into memory."""
    checkpoints = Checkpoints(tmp_path / "run")
    other = Checkpoints(tmp_path / "other").save(1, {"x": jnp.zeros((3000, 4000)), "key": jax.random.key(0)}, {})
    tree = {"x": jnp.arange(5.0), "key": jax.random.key(1)}
    folder = checkpoints.save(1, tree, {})
    assert_same(checkpoints.restore(tree, silent)[0], tree)
    shutil.rmtree(folder / "arrays")
    shutil.copytree(other / "arrays", folder / "arrays")
    record = checkpoint_module._unseal(folder / "record.json")
    record["files"] = checkpoint_module._file_digests(folder / "arrays")
    (folder / "record.json").write_text(checkpoint_module._seal(record))
    monkeypatch.setattr("orbax.checkpoint.PyTreeCheckpointer.restore", lambda *rest, **more: pytest.fail("it is read"))
    messages = []
    assert checkpoints.restore(tree, messages.append) is None
    assert "tree['x']: expected float32[5], got [3000, 4000]" in messages[0]


@pytest.mark.parametrize(
    "change",
    [{"leaves": ["['x']"]}, {"leaves": {"['x']": 5}}, {"files": None}, {"metadata": 3}, {"digest": None}]
    + [{"files": {"../../../etc/passwd": "0"}}, {"leaves": {"['x']": "float32[5]", "['y']": "no[dtype"}}],
)
def test_a_record_that_is_none_is_reported(tmp_path, change):
    """With a digest of its own, as anybody can make one."""
    checkpoints = Checkpoints(tmp_path)
    folder = checkpoints.save(1, {"x": jnp.arange(5.0)}, {})
    record = checkpoint_module._unseal(folder / "record.json") | change
    (folder / "record.json").write_text(checkpoint_module._seal(record))
    messages = []
    try:
        assert checkpoints.restore({"x": jnp.zeros(5)}, messages.append) is None
        assert "corrupt or incomplete" in messages[0] and "\n" not in messages[0]
    except ValueError as error:  # another tree
        assert "no[dtype" in str(error)


def test_another_tree_is_an_error_that_names_the_difference(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, {"x": jnp.zeros((3, 2)), "y": jnp.zeros(1)}, {})
    for template, message in [
        ({"x": jnp.zeros((2, 2)), "y": jnp.zeros(1)}, r"tree\['x'\]: expected float32\[2, 2\], got float32\[3, 2\]"),
        ({"x": jnp.zeros((3, 2), jnp.int32), "y": jnp.zeros(1)}, "expected int32"),
        ({"x": jnp.zeros((3, 2))}, r"tree\['y'\]: expected nothing"),
        ({"x": jnp.zeros((3, 2)), "y": jnp.zeros(1), "z": jnp.zeros(1)}, r"tree\['z'\].*got nothing"),
    ]:
        with pytest.raises(ValueError, match=message):
            checkpoints.restore(template, silent)


def test_what_cannot_be_stored_is_refused(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    with pytest.raises(ValueError, match=r"tree\['n'\]: expected a JAX or NumPy array, got int"):
        checkpoints.save(1, {"n": 3}, {})
    with pytest.raises(ValueError, match="metadata: expected JSON-serialisable data"):
        checkpoints.save(1, {"n": jnp.asarray(3)}, {"array": np.zeros(2)})
    assert checkpoints.steps() == []


def test_going_back_removes_what_lies_ahead(tmp_path):
    """After a damaged newest one the run repeats from before; good new ones must not be pushed out by the bad."""
    checkpoints = Checkpoints(tmp_path, keep=2)
    for step in (1, 2):
        checkpoints.save(step * 10, {"x": jnp.asarray(step)}, {})
    damage(tmp_path / "000000000020", "truncated")
    checkpoints.save(15, {"x": jnp.asarray(5)}, {"step": 15})
    assert checkpoints.steps() == [10, 15]
    assert checkpoints.restore({"x": jnp.asarray(0)}, silent)[1] == {"step": 15}


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), ValueError("RESOURCE: No space left on device")]
)
def test_a_full_disk_keeps_the_earlier_checkpoints(tmp_path, monkeypatch, error):
    checkpoints = Checkpoints(tmp_path, keep=1)
    checkpoints.save(1, make_tree(1), {})

    def full(path, arrays):
        path.mkdir()
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint_module, "_write_arrays", full)
        with pytest.raises(DiskFull, match="resumes from the last checkpoint"):
            checkpoints.save(2, make_tree(2), {})
    assert os.listdir(tmp_path) == ["000000000001"]
    assert checkpoints.restore(make_tree(0), silent) is not None


def test_writes_that_are_given_up_when_one_fails_print_nothing(tmp_path, monkeypatch):
    shown = []
    show = lambda unraisable: shown.append(str(unraisable.exc_value))  # noqa: E731
    monkeypatch.setattr(sys, "unraisablehook", show)
    monkeypatch.setattr((logger := logging.getLogger("asyncio")), "level", logging.WARNING)
    checkpoint_module._write_arrays(tmp_path / "arrays", {"x": np.ones(1)})
    assert sys.unraisablehook is show and logger.level == logging.WARNING
    with pytest.raises(Exception, match="arrays"):
        checkpoint_module._write_arrays(tmp_path / "arrays", {"x": np.ones(1)})  # they are there already
    for message in ("Event loop is closed", "another"):
        sys.unraisablehook(SimpleNamespace(exc_value=RuntimeError(message)))
    assert shown == ["another"] and not logger.isEnabledFor(logging.ERROR)
    logger.setLevel(logging.WARNING)


def test_leftovers_of_a_kill_are_ignored_and_removed(tmp_path):
    (tmp_path / ".tmp-000000000009" / "arrays").mkdir(parents=True)
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.steps() == []
    checkpoints.save(1, {"x": jnp.ones(1)}, {})
    assert os.listdir(tmp_path) == ["000000000001"]


def test_nothing_is_printed(tmp_path, capfd):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, make_tree(1), {})
    damage(checkpoints.save(2, make_tree(2), {}), "truncated")
    assert checkpoints.restore(make_tree(0), lambda message: None) is not None
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""
