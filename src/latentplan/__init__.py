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
    stub = ast.parse(Path(__file__).with_suffix(".pyi").read_text())
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
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value  # found at once the next time
    return value


def __dir__() -> list[str]:
    return __all__
