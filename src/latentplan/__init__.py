"""World models, planners over them, and the agents made of both, as pure functions in JAX.

    import latentplan as lp

The public names are listed in `__init__.pyi`, which type checkers read, too, and are imported when they are first used:
worker processes import this package, and must not load JAX.
"""

import ast
import importlib
import importlib.metadata
from pathlib import Path
from typing import Any


def _homes() -> dict[str, str]:
    """Public name -> the module that defines it, read from the stub's imports."""
    stub = ast.parse(Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8"))
    imports = [node for node in stub.body if isinstance(node, ast.ImportFrom)]
    return {alias.name: str(node.module) for node in imports for alias in node.names}


_HOMES = _homes()
__all__ = sorted([*_HOMES, "__version__"])


def __getattr__(name: str) -> Any:
    if name == "__version__":
        try:
            value: Any = importlib.metadata.version("latentplan")
        except importlib.metadata.PackageNotFoundError:  # sources on the path, not installed
            value = "unknown"
    elif name in _HOMES and _HOMES[name] == __name__:
        value = importlib.import_module(f"{__name__}.{name}")
    elif name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}{_hint(name)}")
    globals()[name] = value  # found at once the next time
    return value


def _hint(name: str) -> str:
    """What may have been meant by an unknown name: how a planner or an agent is built, or the nearest name."""
    import difflib

    kind, config = name.removeprefix("make_").replace("_", ""), "config"
    found = next((known for known in _HOMES if known.lower() == kind + config), "")
    if name.startswith("make_") and "planners" in _HOMES.get(found, ""):
        return f"; use lp.make_planner(lp.{found}(), action_size, evaluate)"
    if name.startswith("make_") and "agents" in _HOMES.get(found, ""):
        return f"; use lp.make_agent(lp.{found}(), spec)"
    near = difflib.get_close_matches(name, __all__, n=1)
    return f"; did you mean {near[0]}?" if near else ""


def __dir__() -> list[str]:
    return __all__
