"""Dependencies point one way. Imports are read from the source, so that nothing has to run."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
LIBRARY = ROOT / "src" / "latentplan"

BASE = {"types", "transforms", "distributions", "checks", "registry"}
MAY_IMPORT = {
    "checks": set(),
    "documentation": set(),
    "config": {"checks", "documentation"},
    "registry": {"checks", "config"},
    "types": {"checks"},
    "transforms": {"types"},
    "distributions": {"types", "transforms"},
    "losses": BASE,
    "nets": BASE | {"config", "losses"},
    "models": BASE | {"config", "losses", "nets"},
    "planners": {"types", "config", "checks", "registry"},  # planners receive functions and know no model
    "diagnostics": BASE | {"config", "losses", "models"},
    "agents": BASE | {"config", "losses", "nets", "models", "planners", "diagnostics"},
    "files": set(),
    "extensions": set(),
    "replay": {"types", "config", "files"},
    "data": {"types", "replay"},
    "envs": {"types", "config", "extensions", "registry"},
    "driver": {
        "types",
        "checks",
        "config",
        "files",
        "replay",
        "data",
        "envs",
    },  # the driver sees an agent only through the Agent record
    "presets": BASE
    | {"config", "extensions", "losses", "nets", "models", "planners", "agents", "replay", "envs", "driver"},
    "runs": BASE
    | {"config", "extensions", "losses", "nets", "models", "planners", "agents", "replay", "data", "envs", "driver"}
    | {"presets"},
    "cli": BASE
    | {
        "config",
        "losses",
        "nets",
        "models",
        "planners",
        "agents",
        "replay",
        "data",
        "envs",
        "driver",
        "presets",
        "runs",
        "files",
        "extensions",
    },
}
"""Package, or module beside the packages -> the others that it may import from."""

ONLY_IN = {
    "flax": {"nets"},
    "distrax": {"distributions"},
    "tyro": {"cli"},
    "rich": {"cli"},
    **dict.fromkeys(
        ("gymnasium", "dm_control", "mujoco", "shimmy", "imageio_ffmpeg"),
        {"envs", "data", "driver", "runs", "cli", "experiments"},
    ),
    **dict.fromkeys(("minari", "h5py"), {"data"}),
    **dict.fromkeys(
        ("flashbax", "orbax", "tensorboardX"),
        {"replay", "driver", "cli"},
    ),
}
"""Third-party package -> the packages of ours that may import it."""


class Import(NamedTuple):
    """One import statement's target, dotted, and its line."""

    target: str
    line: int


def imports(source: str, module: str) -> Iterator[Import]:
    """Every import anywhere in a source, relative ones resolved.

    `from latentplan import losses` gives both `latentplan` and `latentplan.losses`.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = module.split(".")[: -node.level]
                base = ".".join([*package, *([node.module] if node.module else [])])
            yield Import(base, node.lineno)
            for alias in node.names:
                yield Import(f"{base}.{alias.name}", node.lineno)


def direction_violations(source: str, module: str) -> list[str]:
    """Imports of packages that the module's package must not know."""
    package = module.split(".")[1]
    found = []
    for target, line in imports(source, module):
        parts = target.split(".")
        if parts[0] == "experiments":
            found.append(f"{module}:{line} imports {target}")
        other = parts[1] if parts[0] == "latentplan" and len(parts) > 1 else package
        if other in MAY_IMPORT and other != package and other not in MAY_IMPORT[package]:
            found.append(f"{module}:{line} imports {target}")
    return found


def third_party_violations(source: str, module: str) -> list[str]:
    """Third-party packages imported outside the packages they are kept in."""
    package = module.split(".")[1] if module.startswith("latentplan.") else module.split(".")[0]
    found = []
    for target, line in imports(source, module):
        allowed = ONLY_IN.get(target.split(".")[0])
        if allowed is not None and package not in allowed:
            found.append(f"{module}:{line} imports {target}")
    return sorted(set(found))


def jit_uses(source: str, module: str) -> list[str]:
    """Uses of jit: `jax.jit`, `jax.pmap`, or the same imported by name."""
    found = [f"{module}:{line} imports {target}" for target, line in imports(source, module) if target in JITS]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and ast.unparse(node) in JITS:
            found.append(f"{module}:{node.lineno} uses {ast.unparse(node)}")
    return found


JITS = {"jax.jit", "jax.pmap", "flax.linen.jit", "nn.jit", "nn.scan"}


def module_name(path: Path) -> str:
    relative = path.relative_to(LIBRARY.parent if path.is_relative_to(LIBRARY) else ROOT).with_suffix("")
    return ".".join(relative.parts)


LIBRARY_FILES = sorted(path for path in LIBRARY.rglob("*.py") if path != LIBRARY / "__init__.py")
ALL_FILES = LIBRARY_FILES + sorted((ROOT / "experiments").glob("*.py"))
IMPURE = {"driver", "envs", "runs", "cli", "presets", "files.py", "extensions.py"}
PURE_FILES = [path for path in LIBRARY_FILES if path.relative_to(LIBRARY).parts[0] not in IMPURE]


def test_every_package_has_an_import_rule():
    packages = {path.relative_to(LIBRARY).parts[0].removesuffix(".py") for path in LIBRARY_FILES}
    assert packages == MAY_IMPORT.keys()
    assert len(PURE_FILES) >= 20 and len(ALL_FILES) > len(LIBRARY_FILES)


@pytest.mark.parametrize("path", LIBRARY_FILES, ids=module_name)
def test_packages_import_only_what_the_rules_allow(path):
    assert direction_violations(path.read_text(), module_name(path)) == []


@pytest.mark.parametrize("path", ALL_FILES, ids=module_name)
def test_third_party_packages_stay_where_they_are_kept(path):
    assert third_party_violations(path.read_text(), module_name(path)) == []


@pytest.mark.parametrize("path", PURE_FILES, ids=module_name)
def test_the_pure_core_never_calls_jit(path):
    assert jit_uses(path.read_text(), module_name(path)) == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("latentplan.planners.bad", "from latentplan.models.rssm import make_rssm"),
        ("latentplan.planners.bad", "from latentplan import nets"),
        ("latentplan.planners.bad", "def f():\n    import latentplan.models.rollout"),
        ("latentplan.planners.bad", "from ..models import rssm"),
        ("latentplan.losses.bad", "from latentplan.models.rollout import observe"),
        ("latentplan.types", "from . import losses"),
        ("latentplan.driver.bad", "from latentplan.agents.planet import make_planet"),
        ("latentplan.agents.bad", "from latentplan.driver.loop import train"),
        ("latentplan.driver.bad", "from latentplan.presets import Experiment"),
    ],
)
def test_a_wrong_direction_is_found(module, source):
    assert direction_violations(source, module)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("latentplan.planners.good", "from latentplan.types import Belief\nfrom . import objectives"),
        ("latentplan.agents.good", "from latentplan import distributions\nfrom ..models import rssm"),
        ("latentplan.losses.good", "from latentplan.losses import kl\nimport jax"),
    ],
)
def test_a_right_direction_passes(module, source):
    assert direction_violations(source, module) == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("latentplan.models.bad", "from flax import linen as nn"),
        ("latentplan.models.bad", "import flax.linen"),
        ("latentplan.losses.bad", "import distrax"),
        ("latentplan.driver.bad", "def f():\n    from rich.progress import Progress"),
        ("latentplan.agents.bad", "import gymnasium"),
        ("experiments.bad", "import flax"),
    ],
)
def test_a_stray_third_party_package_is_found(module, source):
    assert third_party_violations(source, module)


@pytest.mark.parametrize(
    "source",
    ["import jax\nf = jax.jit(g)", "import jax\n@jax.jit\ndef f(): ...", "from jax import jit", "x = nn.scan(cell)"],
)
def test_a_stray_jit_is_found(source):
    assert jit_uses(source, "latentplan.models.bad")
