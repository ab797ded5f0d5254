"""Available memory, and a process's usage."""

from pathlib import Path
from typing import Literal

import jax

from latentplan.replay.ring import ReplayConfig, record_bytes, replay_bytes
from latentplan.types import EnvSpec

_USABLE = 0.8  # of the free memory; the rest is for the model, the optimiser and the batch
_GIB = 2**30


def free_bytes(device: jax.Device) -> int | None:
    """Free memory of a device in bytes, None if unknown.

    Accelerators report it. For the CPU it is the kernel's MemAvailable, or less under a container's limit.
    """
    if device.platform != "cpu":
        stats = device.memory_stats() or {}
        if "bytes_limit" not in stats:
            return None
        return stats["bytes_limit"] - stats.get("bytes_in_use", 0)
    known = [x for x in (_available(Path("/proc/meminfo")), _container_free(Path("/sys/fs/cgroup"))) if x is not None]
    return min(known, default=None)


def _available(meminfo: Path) -> int | None:
    try:
        lines = meminfo.read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError, IndexError):
        return None


def _container_free(cgroup: Path) -> int | None:
    try:
        limit = int((cgroup / "memory.max").read_text())  # "max" without a limit
        used = int((cgroup / "memory.current").read_text())
        stat = dict(line.split() for line in (cgroup / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return None
    return max(0, limit - used + int(stat.get("inactive_file", 0)))  # the page cache is reclaimable


def resident_bytes(process: int | Literal["self"] = "self") -> int | None:
    """A process's resident memory in bytes, this one's by default; None if the system does not report it."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))
    except (OSError, StopIteration):
        return None


def check_memory(config: ReplayConfig, spec: EnvSpec, device: jax.Device | None = None) -> None:
    """Raises if the replay memory would not fit, before anything is allocated.

    Up to 80 % of the free memory may be used. Nothing is checked if the device does not report free memory.

    Args:
        config: sizes.
        spec: the environment.
        device: of the replay memory; None for JAX's default device.

    Raises:
        ValueError: it does not fit; the message includes the sizes and the largest capacity that does.
    """
    device = jax.devices()[0] if device is None else device
    free = free_bytes(device)
    needed = replay_bytes(config, spec)
    if free is None or needed <= _USABLE * free:
        return
    fitting = int(_USABLE * free) // record_bytes(spec)
    fitting = fitting // 1000 * 1000 if fitting >= 1000 else fitting
    advice = f"set it to {fitting}" if fitting >= config.batch_length else "free some memory"
    usable = f"{_USABLE * free / _GIB:.2f} GiB, {_USABLE:.0%} of the {free / _GIB:.2f} GiB free on {device}"
    here = f"at most {fitting} records of {record_bytes(spec)} bytes ({usable})"
    config.require(False, "capacity", here, advice)
