"""The meanings of a config's fields in its docstring, so that `help` shows them: the texts under the fields."""

import ast
import functools
import inspect
import sys
import textwrap
from pathlib import Path


def with_fields(cls: type, root: type) -> str:
    """A class's docstring with a list of its fields, those of its base classes included.

    Args:
        cls: with annotated fields, a text under each.
        root: the base class above which there are no fields.

    Returns:
        The docstring; unchanged where the source cannot be read, as in an interactive session.
    """
    bases = [base for base in reversed(cls.__mro__) if issubclass(base, root)]
    texts = {name: text for base in bases for name, text in _texts(base).items()}
    doc = inspect.cleandoc(vars(cls).get("__doc__") or f"{cls.__name__}.")
    wrap = functools.partial(textwrap.fill, width=110, initial_indent=" " * 4, subsequent_indent=" " * 8)
    lines = [wrap(f"{name}: {' '.join(text.split())}") for name, text in texts.items()]
    return "\n".join([doc, "", "Attributes:", *lines]) if lines else doc


def _texts(cls: type) -> dict[str, str]:
    file = getattr(sys.modules.get(cls.__module__), "__file__", None)
    return _of_file(file).get(cls.__qualname__, {}) if file else {}


@functools.cache
def _of_file(file: str) -> dict[str, dict[str, str]]:
    """Class -> field -> the text under it, of the classes at the top of a file."""
    try:
        module = ast.parse(Path(file).read_text(encoding="utf-8"))
    except (OSError, SyntaxError, UnicodeDecodeError):
        return {}
    return {node.name: _of_class(node) for node in module.body if isinstance(node, ast.ClassDef)}


def _of_class(node: ast.ClassDef) -> dict[str, str]:
    found = {}
    for field, below in zip(node.body, node.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(below, ast.Expr):
            text = ast.literal_eval(below.value) if isinstance(below.value, ast.Constant) else None
            if isinstance(text, str):
                found[field.target.id] = text
    return found
