"""Checkpoints: written atomically, verified by digests, restored from the newest intact one."""

import contextlib
import hashlib
import json
import logging
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from latentplan.files import TEMPORARY, clear_disk_errors, sync

Tree = Any  # a pytree of JAX or NumPy arrays
Leaf = jax.Array | np.ndarray
Metadata = dict[str, Any]
"""What a checkpoint holds beside its arrays, by name: anything that JSON can hold."""

_REPLACED = ".old-"  # prefix of a checkpoint that is being replaced
_ARRAYS = "arrays"
_RECORD = "record.json"


class CorruptCheckpoint(ValueError):
    """A checkpoint that is incomplete or corrupt."""


class Checkpoints:
    """A directory of checkpoints, one folder `{step:012d}` each: arrays (orbax) and `record.json`.

    The arrays are stored flat, keyed by their path in the tree, so they can be read without the tree's classes. Leaves
    are JAX or NumPy arrays, including typed PRNG keys.

    Args:
        directory: of the checkpoints; created by the first `save`.
        keep: number of checkpoints to keep, or "all".

    Raises:
        ValueError: `keep` is less than 1.
    """

    def __init__(self, directory: str | os.PathLike, keep: int | Literal["all"] = 2) -> None:
        """See the class."""
        if keep != "all" and keep < 1:
            raise ValueError(f"keep: expected at least 1 checkpoint, or all, got {keep}; set it to 1 or more")
        self._directory = Path(directory).absolute()  # orbax refuses relative paths
        self._keep = keep

    def steps(self) -> list[int]:
        """The steps of the finished checkpoints, oldest first. They may still turn out to be corrupt."""
        return sorted(self._paths())

    def save(self, step: int, tree: Tree, metadata: Metadata) -> Path:
        """Writes a checkpoint, waits until it is on disk, then removes old ones beyond `keep`.

        A checkpoint of the same step is replaced. Checkpoints of later steps are removed: a run that saves an earlier
        step was rewound.

        Args:
            step: the number by which checkpoints are ordered.
            tree: any pytree of arrays.
            metadata: JSON-serialisable data.

        Returns:
            The checkpoint's folder.

        Raises:
            ValueError: a leaf is not an array, or the metadata cannot be serialised as JSON.
            DiskFull: the disk is full; the earlier checkpoints are intact.
        """
        leaves = _named(tree)
        arrays = {name: _to_numpy(name, leaf) for name, leaf in leaves.items()}
        record = {
            "step": int(step),
            "leaves": describe_leaves(tree),
            "digest": _digest(arrays),
            "metadata": metadata,
        }
        _seal(record)  # rejects invalid metadata before anything is written
        final = self._directory / f"{step:012d}"
        temporary = final.with_name(TEMPORARY + final.name)
        with clear_disk_errors(final):
            self._directory.mkdir(parents=True, exist_ok=True)
            for leftover in self._directory.glob(TEMPORARY + "*"):
                shutil.rmtree(leftover)
            try:
                temporary.mkdir()
                _write_arrays(temporary / _ARRAYS, arrays)
                record["files"] = _file_digests(temporary / _ARRAYS)
                (temporary / _RECORD).write_text(_seal(record), encoding="utf-8")
                _sync_tree(temporary)
                _replace(temporary, final)
            except BaseException:
                shutil.rmtree(temporary, ignore_errors=True)
                raise
        self._prune(step)
        return final

    def metadata(self) -> dict[int, Metadata]:
        """The metadata of the finished checkpoints by step, oldest first, without reading arrays."""
        return self._recorded("metadata")

    def digests(self) -> dict[int, str]:
        """The digests of the finished checkpoints' arrays by step, oldest first: equal where all arrays are equal."""
        return self._recorded("digest")

    def restore(
        self, template: Tree, report: Callable[[str], None], *, part: str = "", step: int | None = None
    ) -> tuple[Tree, Metadata] | None:
        """Reads the newest intact checkpoint: complete, with matching digests.

        Args:
            template: a tree of the same structure, shapes and dtypes; its values are not used.
            report: called with a message for each skipped checkpoint, which names its path.
            part: path of the template within the stored tree, as from `jax.tree_util.keystr`; only this subtree is
                read. "" reads the whole tree.
            step: restore this checkpoint only.

        Returns:
            The tree, bit for bit as it was saved, on the default device (NumPy leaves stay NumPy), and the
            metadata. None if no checkpoint can be read; if `steps()` is not empty, all are corrupt.

        Raises:
            ValueError: the checkpoint is intact, but its tree differs from the template.
        """
        paths = sorted((item for item in self._paths().items() if step in (None, item[0])), reverse=True)
        for position, (_, path) in enumerate(paths):
            try:
                return _read(path, template, part)
            except CorruptCheckpoint as error:
                rest = f"trying the one before, {paths[position + 1][1]}" if paths[position + 1 :] else "none is left"
                report(f"checkpoint {path}: corrupt or incomplete ({error}); {rest}")
        return None

    def _paths(self) -> dict[int, Path]:
        """Finished checkpoints by step, including one whose replacement was interrupted."""
        found: dict[int, Path] = {}
        for prefix in (_REPLACED, ""):
            for path in self._directory.glob(prefix + "[0-9]*"):
                if re.fullmatch(r"\d{12,}", path.name.removeprefix(prefix)):
                    found[int(path.name.removeprefix(prefix))] = path
        return found

    def _recorded(self, field: str) -> dict[int, Any]:
        found = {}
        for step, path in sorted(self._paths().items()):
            with contextlib.suppress(CorruptCheckpoint):
                found[step] = _unseal(path / _RECORD)[field]
        return found

    def _prune(self, newest: int) -> None:
        paths = self._paths()
        kept = [paths[step] for step in sorted(paths) if step <= newest]
        kept = kept if self._keep == "all" else kept[-self._keep :]
        for path in [*paths.values(), *self._directory.glob(_REPLACED + "*")]:
            if path not in kept:
                shutil.rmtree(path, ignore_errors=True)


def describe_leaves(tree: Tree) -> dict[str, str]:
    """The path of every leaf in a tree -> its dtype and shape, such as "float32[3, 2]"."""
    return {name: _describe(leaf) for name, leaf in _named(tree).items()}


def _named(tree: Tree) -> dict[str, Leaf]:
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def _is_key(leaf: Leaf) -> bool:
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _to_numpy(name: str, leaf: Leaf) -> np.ndarray:
    if not hasattr(leaf, "dtype"):
        raise ValueError(f"tree{name}: expected a JAX or NumPy array, got {type(leaf).__name__}; use metadata for it")
    return np.asarray(jax.device_get(jax.random.key_data(leaf) if _is_key(leaf) else leaf))


def _from_numpy(array: np.ndarray, like: Leaf) -> Leaf:
    if _is_key(like):
        return jax.random.wrap_key_data(jnp.array(array), impl=jax.random.key_impl(like))
    return array if isinstance(like, np.ndarray | np.generic) else jnp.array(array)


def _describe(leaf: Leaf) -> str:
    return f"{leaf.dtype}{list(leaf.shape)}" if hasattr(leaf, "dtype") else type(leaf).__name__


def _shape(described: str) -> tuple[int, ...]:
    return tuple(json.loads(described[described.index("[") :]))


def _empty(described: str) -> np.ndarray:
    """Recreates an array without elements, which is not stored, from its description by `_describe`."""
    return np.zeros(_shape(described), jnp.dtype(described[: described.index("[")]))


def _digest(arrays: dict[str, np.ndarray]) -> str:
    """SHA-256 over every array's name, dtype, shape and bytes, in the order of the names."""
    total = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        total.update(f"{name}:{_describe(array)};".encode())
        total.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return total.hexdigest()


def _seal(record: Metadata) -> str:
    """The record as JSON, with its own digest."""
    try:
        text = json.dumps(record, sort_keys=True)
    except TypeError as error:
        raise ValueError(f"metadata: expected JSON-serialisable data, got {error}; convert it first") from error
    return json.dumps({"sha256": hashlib.sha256(text.encode()).hexdigest(), "record": text})


def _unseal(path: Path) -> Metadata:
    try:
        sealed = json.loads(path.read_text(encoding="utf-8"))
        if hashlib.sha256(sealed["record"].encode()).hexdigest() != sealed["sha256"]:
            raise ValueError("it does not match its digest")
        record = json.loads(sealed["record"])
        texts = [record["digest"], *record["leaves"].values(), *record["files"].values()]
        if not all(isinstance(x, str) for x in texts) or not isinstance(record["metadata"], dict):
            raise ValueError("it is no record of a checkpoint")
        return record
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CorruptCheckpoint(f"{path.name}: {error}") from error


def _write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    # orbax refuses arrays without elements; their shapes are in the record.
    stored = {"tree" + name: array for name, array in arrays.items() if array.size}
    with _quiet(), _abandoned_writes_are_silent(), ocp.PyTreeCheckpointer() as checkpointer:
        checkpointer.save(path, stored)


@contextlib.contextmanager
def _abandoned_writes_are_silent() -> Iterator[None]:
    """Suppresses a hundred tracebacks, one for each write that orbax gave up when another one had failed.

    After a failure this stays so, since the last of them come when the process ends.
    """
    logger, show = logging.getLogger("asyncio"), sys.unraisablehook
    level = logger.level

    def show_others(unraisable: Any) -> None:
        if str(unraisable.exc_value) != "Event loop is closed":
            show(unraisable)

    logger.setLevel(logging.CRITICAL)
    sys.unraisablehook = show_others
    yield
    logger.setLevel(level)
    sys.unraisablehook = show


def _read(path: Path, template: Tree, part: str) -> tuple[Tree, Metadata]:
    record = _unseal(path / _RECORD)
    like = {part + name: leaf for name, leaf in _named(template).items()}
    expected = {part + name: text for name, text in describe_leaves(template).items()}
    _check_structure(path, expected, {name: x for name, x in record["leaves"].items() if name.startswith(part)})
    _check_files(path / _ARRAYS, record["files"])
    try:
        with _quiet(), ocp.PyTreeCheckpointer() as checkpointer:
            stored = _read_arrays(checkpointer, path / _ARRAYS, record["leaves"])
        arrays = {name: stored[name] if name in stored else _empty(text) for name, text in record["leaves"].items()}
    except Exception as error:  # orbax and tensorstore have many of their own
        reason = str(error).strip().split("\n")[0][:200]
        raise CorruptCheckpoint(f"{_ARRAYS}: {type(error).__name__}: {reason}") from error
    if _digest(arrays) != record["digest"]:
        raise CorruptCheckpoint(f"{_ARRAYS}: the arrays do not match their digest")
    leaves = [_from_numpy(arrays[name], leaf) for name, leaf in like.items()]
    return jax.tree.unflatten(jax.tree.structure(template), leaves), record["metadata"]


def _read_arrays(checkpointer: ocp.PyTreeCheckpointer, path: Path, leaves: dict[str, str]) -> dict[str, np.ndarray]:
    """The stored arrays by name; those without elements are not stored."""
    names = ["tree" + name for name, text in leaves.items() if 0 not in _shape(text)]
    held = checkpointer.metadata(path).item_metadata.tree
    for name in names:  # before anything is read: a few bytes can claim more zeros than fit into memory
        claimed, text = tuple(held[name].shape), leaves[name.removeprefix("tree")]
        shape = claimed[:-1] if text.startswith("key") and claimed[-1:] < (9,) else claimed  # a key's words come last
        if shape != _shape(text):
            raise ValueError(f"{name}: expected {text}, got {list(claimed)}")
    as_numpy = {name: ocp.RestoreArgs(restore_type=np.ndarray) for name in names}
    stored = checkpointer.restore(path, restore_args=as_numpy)
    return {name.removeprefix("tree"): np.asarray(stored[name]) for name in names}


def _check_structure(path: Path, expected: dict[str, str], got: dict[str, str]) -> None:
    names = sorted(set(expected) | set(got))
    different = [name for name in names if expected.get(name) != got.get(name)]
    if different:
        lines = [f"tree{n}: expected {expected.get(n, 'nothing')}, got {got.get(n, 'nothing')}" for n in different[:5]]
        more = f" and {len(different) - 5} more" if len(different) > 5 else ""
        raise ValueError(
            f"checkpoint {path}: its tree differs from the template. {'; '.join(lines)}{more}. "
            "Use the configuration that wrote it, or another folder"
        )


def _file_digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file in a folder, by relative path."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _check_files(folder: Path, expected: dict[str, str]) -> None:
    """Compares files with their digests, so that orbax, which logs long tracebacks, never reads corrupt ones."""
    try:
        got = _file_digests(folder)
    except OSError as error:
        raise CorruptCheckpoint(f"{_ARRAYS}: {error}") from error
    for name, digest in expected.items():
        if got.get(name) != digest:
            raise CorruptCheckpoint(f"{_ARRAYS}/{name}: {'does not match its digest' if name in got else 'missing'}")


def _replace(temporary: Path, final: Path) -> None:
    """Moves a finished checkpoint into place; an intact one exists at every moment."""
    replaced = final.with_name(_REPLACED + final.name)
    if final.exists():
        shutil.rmtree(replaced, ignore_errors=True)
        os.rename(final, replaced)
    os.rename(temporary, final)
    sync(final.parent)
    shutil.rmtree(replaced, ignore_errors=True)


def _sync_tree(path: Path) -> None:
    for folder, _, files in os.walk(path):
        for name in files:
            sync(Path(folder) / name)
        sync(folder)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppresses orbax's log output."""
    loggers = [logging.getLogger(name) for name in ("absl", "orbax")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
