"""Fixtures that every test may use: tiny configurations, so that little is compiled, and a cache of what was."""

import ast
import atexit
import functools
import gc
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from hypothesis import settings
from jaxtyping import install_import_hook

# Shapes and dtypes in the signatures of the pure functions are checked at every call, in tests only.
PURE = ("transforms", "distributions", "losses", "nets", "models", "planners", "agents", "replay", "diagnostics")
install_import_hook([f"latentplan.{name}" for name in PURE], "beartype.beartype")

# The same examples in every run, as many as take seconds, and none kept on disk.
settings.register_profile("tests", derandomize=True, database=None, deadline=None, max_examples=200)
settings.load_profile("tests")

if "JAX_COMPILATION_CACHE_DIR" not in os.environ:  # the workers and the programs that tests start inherit it
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="latentplan-compiled-")
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)
if os.environ.pop("PYTHONDONTWRITEBYTECODE", None):  # a process needs seconds to compile what it imports: keep it here
    os.environ["PYTHONPYCACHEPREFIX"] = os.path.join(os.environ["JAX_COMPILATION_CACHE_DIR"], "python")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")  # most programs are small, and met again
# Most programs run once, so they are compiled in a third of the time: with XLA's older code for fusions, and with few
# optimisations or none. `make test-all` sets XLA_FLAGS to nothing: its programs are fused as a user's are.
FLAGS = (
    "xla_cpu_use_fusion_emitters=false",
    "xla_backend_optimization_level=1",
    "xla_llvm_disable_expensive_passes=true",
)
os.environ.setdefault("XLA_FLAGS", " ".join(f"--{flag}" for flag in FLAGS))
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

from latentplan.models.world_model import WorldModelConfig
from latentplan.types import EnvSpec

jax.config.update("jax_numpy_rank_promotion", "raise")  # no array meets one of another rank by accident

# A module that imports none of these compiles small programs, trains nothing and starts no process.
OUTER = ("agents", "presets", "driver", "envs", "cli", "runs")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks as `quick` what is neither slow nor in a module that imports an outer package or starts processes."""
    for item in items:
        if _imports_inner_packages_alone(item.path) and item.get_closest_marker("slow") is None:
            item.add_marker("quick")


@functools.cache
def _imports_inner_packages_alone(path: Path) -> bool:
    outer = {f"latentplan.{name}" for name in OUTER} | {"subprocess"}
    for node in ast.walk(ast.parse(path.read_text())):
        names = [x.name for x in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [node.module or "", *(f"{node.module}.{x.name}" for x in node.names)]
        if any(name == each or name.startswith(f"{each}.") for name in names for each in outer):
            return False
    return True


@pytest.fixture(scope="module", autouse=True)
def _compile_as_each_module_needs(request: pytest.FixtureRequest) -> Iterator[None]:
    """Nothing is optimised but in modules that train, or compare closely, which say `OPTIMIZED = True`.

    Every compiled program keeps pages mapped, and a process that runs all modules would reach the system's limit, so
    they are forgotten; what a module set in JAX's config, as the driver does when it compiles, is taken back, too.
    """
    before = dict(jax.config.values)
    jax.config.update("jax_disable_most_optimizations", not getattr(request.module, "OPTIMIZED", False))
    yield
    for name, value in before.items():
        if jax.config.values[name] != value:
            jax.config.update(name, value)
    jax.clear_caches()
    gc.collect()


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """For fakes that are no model and no belief, and for mistakes that the library itself explains."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.fixture(scope="session")
def tiny_model_config() -> Callable[..., WorldModelConfig]:
    """(**overrides) -> a world model's config with every size small."""

    def make(**overrides) -> WorldModelConfig:
        sizes = {"deter": 8, "stoch": 4, "hidden": 8, "conv_depth": 4, "reward_hidden": 8, "vector_hidden": 8}
        return WorldModelConfig(**(sizes | overrides))

    return make


@pytest.fixture(scope="session")
def tiny_specs() -> dict[str, EnvSpec]:
    """One environment of pixels and one of state vectors, both with two actions."""
    return {
        "pixels": EnvSpec.single((64, 64, 3), "uint8", action_size=2, action_repeat=2, max_decisions=10),
        "state": EnvSpec.single((5,), action_size=2, action_repeat=2, max_decisions=10),
    }


@pytest.fixture(scope="session")
def numpy_params() -> Callable:
    """(init, seed) -> parameters of init's shapes, biases included, filled by NumPy: nothing has to be compiled."""

    def make(init: Callable, seed: int = 0):
        rng = np.random.default_rng(seed)

        def fill(leaf):
            fan_in = max(1, int(np.prod(leaf.shape[:-1])))
            return jnp.asarray(rng.normal(size=leaf.shape) / np.sqrt(fan_in if leaf.ndim > 1 else 4), leaf.dtype)

        return jax.tree.map(fill, jax.eval_shape(init, jax.random.key(0)))

    return make
