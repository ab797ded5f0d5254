"""Atomic file writes, and one clear error for a full disk."""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

TEMPORARY = ".tmp-"
"""Name prefix of unfinished files and folders, which readers ignore."""


class DiskFull(OSError):
    """The disk, or the user's quota on it, is full. Files written earlier are intact."""


def is_disk_full(error: BaseException) -> bool:
    """Whether an exception means that no space is left, including one that a library wrapped in its own type."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    return "no space left on device" in str(error).lower() or "disk quota exceeded" in str(error).lower()


@contextlib.contextmanager
def clear_disk_errors(path: str | os.PathLike) -> Iterator[None]:
    """Converts any "no space left" error raised inside into `DiskFull`, which names the path and the remedy.

    Args:
        path: what is being written.

    Raises:
        DiskFull: the disk is full.
    """
    try:
        yield
    except Exception as error:
        if not is_disk_full(error):
            raise
        message = (
            "logdir: expected free space on its disk, got a full disk; earlier files are intact. "
            "Free some space and give the same command again: it resumes from the last checkpoint"
        )
        raise DiskFull(errno.ENOSPC, message, str(path)) from error


def sync(path: str | os.PathLike) -> None:
    """Flushes a file, or the entries of a directory, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """Yields a temporary path in the same directory and renames it to `path` once the block has written it.

    Readers see either the old file or the complete new one. If the block raises, the temporary file is removed and any
    older file at `path` is left unchanged. The temporary name keeps the suffix, which some writers depend on.

    Args:
        path: the file to write; its directory must exist.

    Yields:
        The temporary path, which the block must create.

    Raises:
        DiskFull: the disk is full.

    Examples:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "note.txt"
        >>> with atomic_path(path) as temporary:
        ...     _ = temporary.write_text("whole")
        >>> path.read_text()
        'whole'
    """
    path = Path(path)
    temporary = path.with_name(TEMPORARY + path.name)
    try:
        with clear_disk_errors(path):
            yield temporary
            sync(temporary)
            os.replace(temporary, path)
            sync(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
