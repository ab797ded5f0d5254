"""Compiler options and the persistent cache of compiled programs."""

import functools
import os
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

# At this project's sizes XLA's own matrix products and convolutions are faster than YNNPACK: docs/performance.md.
_CPU_OPTIONS = {"xla_cpu_experimental_ynn_fusion_type": ""}


def compiled(function: Callable, **options: Any) -> jax.stages.Wrapped:
    """`jax.jit` with compiler options for the default device.

    Args:
        function: a pure function.
        **options: further arguments of `jax.jit`, such as `donate_argnums`.

    Returns:
        The jitted function.
    """
    return jax.jit(function, compiler_options=_compiler_options(), **options)


@functools.cache
def _compiler_options() -> dict[str, str] | None:
    if jax.default_backend() != "cpu":
        return None
    try:
        jax.jit(lambda: 0, compiler_options=_CPU_OPTIONS)()
    except jax.errors.JaxRuntimeError:  # a jaxlib without this option
        return None
    return _CPU_OPTIONS


def configure() -> Path | None:
    """Configures JAX for the process: the persistent compilation cache and a cheaper PRNG.

    The cache lies in $JAX_COMPILATION_CACHE_DIR or the user's cache folder. The PRNG is the non-partitionable threefry,
    which costs half as much as the partitionable one.

    Returns:
        The cache folder; None if it cannot be created or $JAX_ENABLE_COMPILATION_CACHE disables the cache.
    """
    jax.config.update("jax_threefry_partitionable", False)
    settings = jax.config.values
    if not settings["jax_enable_compilation_cache"]:
        return None
    try:
        folder = Path(settings["jax_compilation_cache_dir"] or _user_cache() / "latentplan" / "compiled")
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # RuntimeError: no home directory
        return None
    jax.config.update("jax_compilation_cache_dir", str(folder))
    _remove_unreadable(folder)
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    return folder


def _remove_unreadable(folder: Path) -> None:
    """Removes entries of the cache that JAX warns it cannot read, so that it writes them again.

    A kill or a full disk may leave one incomplete. JAX would compile the program, and warn, at every start.

    Args:
        folder: of the cache.
    """
    show = warnings.showwarning

    def remove(message: Warning | str, *place: Any, **options: Any) -> None:
        found = re.match(r"Error reading persistent compilation cache entry for '(\w+)'", str(message))
        try:
            entries = list(folder.glob(f"{found[1]}-*-cache")) if found else []
            for entry in entries:
                entry.unlink(missing_ok=True)
        except OSError:
            entries = []
        if not entries:
            show(message, *place, **options)

    warnings.showwarning = remove


def _user_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
