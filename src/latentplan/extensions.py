"""Extensions: modules outside this package that add to its registries when they are imported."""

import importlib
import os
import sys
from collections.abc import Iterable
from pathlib import Path

IMPORTS = "imports"
"""Annotates the names of modules to import first; on the command line the option `import` gives one of them."""

IMPORTED: list[str] = []
"""The modules that `import_extensions` has imported in this process."""


class NotImported(ValueError):
    """A run needs modules that this process has not imported. No module is imported because a file names it.

    Attributes:
        modules: their names.
    """

    def __init__(self, modules: Iterable[str]) -> None:
        self.modules = tuple(modules)
        names = ", ".join(self.modules)
        super().__init__(
            f"imports: expected this run's modules to be imported, got none of {names}; a run's folder is data and "
            "imports nothing by itself: import them first, if you trust them"
        )


def check_imported(modules: Iterable[str]) -> None:
    """Refuses modules that this process has not imported.

    Args:
        modules: dotted names, from a file.

    Raises:
        NotImported: some are missing.
    """
    if missing := [module for module in modules if module not in sys.modules]:
        raise NotImported(missing)


def import_module(module: str) -> None:
    """Imports a module, also one of the current directory, in worker processes, too.

    The directory stays on the search path, at its end, so that it hides no installed package.

    Args:
        module: dotted name.

    Raises:
        ImportError: it cannot be imported.
    """
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    importlib.import_module(module)


def import_extensions(modules: Iterable[str]) -> None:
    """Imports modules, which register planners, agents, dynamics, environments or measurements.

    Worker processes import them, too, where an environment needs it.

    Args:
        modules: dotted names.

    Raises:
        ValueError: one is the path of a file, or cannot be imported.
    """
    for module in modules:
        if module.endswith(".py") or not all(part.isidentifier() for part in module.split(".")):
            path = Path(module).with_suffix("")
            name = path.name if path.is_absolute() else ".".join(part for part in path.parts if part.isidentifier())
            raise ValueError(f"import: expected the name of a module, got {module!r}; give the module's name, {name}")
        try:
            import_module(module)
        except ImportError as error:
            raise ValueError(
                f"import: expected a module that can be imported, got {module!r} ({error}); start in the folder that "
                "holds it, or add that folder to PYTHONPATH"
            ) from error
        if module not in IMPORTED:
            IMPORTED.append(module)
