"""Where a run comes from: its resolved config, versions, commit and device, kept in config.json."""

import dataclasses
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

import jax

from latentplan.config import ConfigOf, field_hints, split_hint

PACKAGES = (
    "latentplan", "jax", "jaxlib", "flax", "optax", "distrax", "chex", "flashbax", "orbax-checkpoint",
    "gymnasium", "dm_control", "mujoco", "numpy",
)  # fmt: skip


def describe(config: Any, command: list[str]) -> dict[str, Any]:
    """What config.json holds.

    Args:
        config: a dataclass of plain values, possibly nested.
        command: the command line, as typed.

    Returns:
        A JSON-ready dictionary: config, command, and what `hardware` says.
    """
    return {"config": dataclasses.asdict(config), "command": command, **hardware()}


def hardware() -> dict[str, Any]:
    """Where numbers come from: commit, device, processor, cores, Python, platform and versions, JSON-ready."""
    return {
        "commit": commit(),
        "device": ", ".join(f"{d.platform}:{d.device_kind}" for d in jax.devices()),
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
    }


def package_version() -> str:
    """The version of this package, such as "0.2.0"."""
    return importlib.metadata.version("latentplan")


def check_version(written_by: str, logdir: Path) -> None:
    """Refuses to go on with a run of another version, which would not be the same run.

    Args:
        written_by: the version that wrote the folder last.
        logdir: of the run.

    Raises:
        ValueError: it is not this one.
    """
    if written_by != package_version():
        raise other_version(written_by, logdir)


def other_version(written_by: str, logdir: Path) -> ValueError:
    """The error of going on with a run that another version wrote."""
    return ValueError(
        f"logdir: expected a run of latentplan {package_version()}, got one of {written_by} in {logdir}; it can be "
        f"evaluated and reported, but to go on with it install latentplan {written_by}, or choose another folder"
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def commit() -> str:
    """The checkout's commit, with "+changes" if files differ from it; "unknown" outside a checkout."""
    here = Path(__file__).parent

    def git(*args: str) -> str:
        return subprocess.run(("git", *args), cwd=here, capture_output=True, text=True, check=True).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", Path(__file__).name)  # not merely installed inside another checkout
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def differences(old: dict[str, Any], new: dict[str, Any], *, ignore: tuple[str, ...] = ()) -> list[str]:
    """The fields in which two configs differ, as "planner.horizon: 12 -> 15".

    Args:
        old: as from `dataclasses.asdict`, possibly read back from JSON.
        new: the same.
        ignore: top-level fields that may differ.

    Returns:
        One line per differing field, sorted; empty where there is none.
    """
    a, b = flatten(old), flatten(new)
    missing = object()
    lines = []
    for name in sorted(a.keys() | b.keys()):
        before, after = a.get(name, missing), b.get(name, missing)
        if before != after and name.split(".")[0] not in ignore:
            show = ["(absent)" if x is missing else repr(x) for x in (before, after)]
            lines.append(f"{name}: {show[0]} -> {show[1]}")
    return lines


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested config's values by names such as "planner.horizon"; tuples as lists, as JSON has them."""
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = list(value) if isinstance(value, tuple) else value
    return flat


def from_dict(cls: type, values: dict[str, Any]) -> Any:
    """Rebuilds a (nested) config dataclass from what JSON gave back.

    Args:
        cls: the dataclass.
        values: from `dataclasses.asdict`, through JSON.

    Returns:
        An instance of `cls`.

    Raises:
        ValueError: a field is unknown or missing: the file is of another version.
    """
    hints = field_hints(cls)
    unknown, missing = sorted(values.keys() - hints.keys()), sorted(hints.keys() - values.keys())
    if unknown or missing:
        raise ValueError(
            f"config: expected the fields of {cls.__name__}, got unknown {unknown} and missing {missing}; "
            "use the version that wrote it"
        )
    try:
        return cls(**{name: _restore(hints[name], value) for name, value in values.items()})
    except TypeError as error:
        raise ValueError(
            f"config: expected the fields of {cls.__name__}, got {error}; use the version that wrote it"
        ) from error


def _restore(hint: Any, value: Any) -> Any:
    kind, extras = split_hint(hint)
    options = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    records = [option for option in options if dataclasses.is_dataclass(option)]
    records = next((list(extra.classes) for extra in extras if isinstance(extra, ConfigOf)), records)
    if records and isinstance(value, dict):
        # Of several kinds, the one that knows most of these fields, and has fewest others.
        fields = {record: field_hints(record).keys() for record in records}
        nearest = min(records, key=lambda kind: (len(value.keys() - fields[kind]), len(fields[kind] - value.keys())))
        return from_dict(nearest, value)  # type: ignore[arg-type]
    for option in options:
        if get_origin(option) is tuple and isinstance(value, list):
            return tuple(_restore(get_args(option)[0], item) for item in value)
    return value
