"""Provenance of a run for config.json: resolved config, versions, commit and hardware."""

import dataclasses
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

import jax

from latentplan.config import Annotation, ConfigError, ConfigOf, Fields, OneOf, field_hints, split_hint

PACKAGES = (
    "latentplan", "jax", "jaxlib", "flax", "optax", "distrax", "chex", "flashbax", "orbax-checkpoint",
    "gymnasium", "dm_control", "mujoco", "numpy",
)  # fmt: skip

Made = TypeVar("Made")
Names = tuple[tuple[Any, Any], ...]
"""(registry, name of an entry in it)."""


def describe(config: Any, command: list[str]) -> Fields:
    """The content of config.json.

    Args:
        config: a dataclass of plain values, possibly nested.
        command: the command line, as typed.

    Returns:
        A JSON-ready dictionary: config, command, and the output of `hardware`.
    """
    return {"config": dataclasses.asdict(config), "command": command, **hardware()}


def hardware() -> dict[str, object]:
    """Commit, device, processor, cores, Python, platform and package versions, JSON-ready."""
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
    """Raises if a run was written by another version, since resuming it would not be reproducible.

    Args:
        written_by: the version that last wrote the folder.
        logdir: of the run.

    Raises:
        ValueError: the versions differ.
    """
    if written_by != package_version():
        raise other_version(written_by, logdir)


def other_version(written_by: str, logdir: Path) -> ValueError:
    """The error of going on with a run that another version wrote."""
    return ValueError(
        f"logdir: expected a run of latentplan {package_version()}, got one of {written_by} in {logdir}; it can be "
        f"evaluated and reported, but to resume it install latentplan {written_by}, or choose another folder"
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def commit() -> str:
    """The checkout's commit, with "+changes" for uncommitted changes; "unknown" outside a checkout."""
    here = Path(__file__).parent

    def git(*args: str) -> str:
        return subprocess.run(("git", *args), cwd=here, capture_output=True, text=True, check=True).stdout.strip()

    try:
        # Fails if the package is merely installed inside another checkout.
        git("ls-files", "--error-unmatch", Path(__file__).name)
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def differences(old: Fields, new: Fields, *, ignore: tuple[str, ...] = ()) -> list[str]:
    """Lists the fields in which two configs differ, as "planner.horizon: 12 -> 15".

    Args:
        old: as from `dataclasses.asdict`, possibly read back from JSON.
        new: the same.
        ignore: top-level fields to skip.

    Returns:
        One line per differing field, sorted.
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


def flatten(tree: Fields, prefix: str = "") -> Fields:
    """Flattens a nested config to dotted names such as "planner.horizon"; tuples become lists, as in JSON."""
    flat: Fields = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = list(value) if isinstance(value, tuple) else value
    return flat


def from_dict(cls: type[Made], values: Fields, names: Names = ()) -> Made:
    """Rebuilds a (nested) config dataclass from parsed JSON.

    Args:
        cls: the dataclass.
        values: the output of `dataclasses.asdict`, after a JSON round trip.
        names: (registry, name) pairs, the chosen entries of registries: they determine the classes of fields
            `ConfigOf(registry)`. Fields `OneOf(registry)` of `cls` are added.

    Returns:
        An instance of `cls`.

    Raises:
        ValueError: a field is unknown or missing: the file was written by another version. A `ConfigError`: a value is
            none that the field may have, or a name is not registered here.
    """
    hints = field_hints(cls)
    unknown, missing = sorted(values.keys() - hints.keys()), sorted(hints.keys() - values.keys())
    if unknown or missing:
        raise ValueError(
            f"config: expected the fields of {cls.__name__}, got unknown {unknown} and missing {missing}; "
            "use the version that wrote it"
        )
    for name, hint in hints.items():
        names = (*names, *_chosen(cls, name, hint, values[name]))
    try:
        return cls(**{name: _restore(hints[name], value, names) for name, value in values.items()})
    except TypeError as error:
        raise ValueError(
            f"config: expected the fields of {cls.__name__}, got {error}; use the version that wrote it"
        ) from error


def _chosen(cls: type, field: str, hint: Annotation, value: Any) -> Names:
    """(registry, name) of a field that is the name of an entry; empty for other fields."""
    choices = [extra for extra in split_hint(hint)[1] if isinstance(extra, OneOf)]
    for extra in choices:
        if expected := extra.problem(value):
            raise ConfigError(
                cls, field, f"expected {expected}, got {value!r}" + f"; {extra.advice}" * bool(extra.advice)
            )
    return tuple((extra.registry, value) for extra in choices)


def _restore(hint: Annotation, value: object, names: Names) -> object:
    kind, extras = split_hint(hint)
    for extra in extras:
        if isinstance(extra, ConfigOf):
            kind = next(registry[name].config for registry, name in names if registry is extra.registry)
    for option in get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,):
        if dataclasses.is_dataclass(option) and isinstance(value, dict):
            return from_dict(option, value, names)  # type: ignore[arg-type]
        if get_origin(option) is tuple and isinstance(value, list):
            return tuple(_restore(get_args(option)[0], item, names) for item in value)
    return value
