"""Arguments of environments' constructors, given as strings "key=value"."""

import ast
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

_WORDS = {"true": True, "false": False, "null": None, "none": None}


def parse_pairs(pairs: Iterable[str]) -> dict[str, Any]:
    """Parses valid pairs (see `problem_of`) into keyword arguments.

    Args:
        pairs: "key=value". Values are Python literals (3, 0.5, True, None, [1, 2], "8x8"), true, false or null in any
            case, or else strings.

    Examples:
        >>> parse_pairs(["goal=[0.5, 1]", "slippery=false", "map_name=8x8"])
        {'goal': [0.5, 1], 'slippery': False, 'map_name': '8x8'}
    """
    return {key: _value(text) for key, _, text in (pair.partition("=") for pair in pairs)}


def problem_of(pairs: Iterable[str]) -> str:
    """A description of what was expected if a pair is not "key=value", else the empty string."""
    keys = set()
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key.isidentifier():
            return f"key=value, not {pair!r}"
        if key in keys:
            return f"each key once, not {key} again"
        keys.add(key)
        if text[:1] in tuple("[({") and isinstance(_value(text), str):
            return f"a Python literal such as [1, 'a'], not {text!r}"
    return ""


def check_arguments(name: str, kwargs: Mapping[str, Any], known: Iterable[str], reserved: Mapping[str, str]) -> None:
    """Raises if an environment does not take an argument, or this package sets it.

    Args:
        name: of the environment.
        kwargs: arguments.
        known: the names that the environment takes.
        reserved: argument's name -> what decides it instead.

    Raises:
        ValueError: naming the first such argument.
    """
    known = [x for x in known if x not in reserved]
    for key, value in kwargs.items():
        if key in reserved:
            raise ValueError(
                f"env_kwargs: expected no {key}, since {reserved[key]} decides it, got {value!r}; leave it out"
            )
        if key not in known:
            names = ", ".join(known) or "none"
            raise ValueError(f"env_kwargs: expected arguments of {name} ({names}), got {key}; correct or leave it out")


def keywords(function: Callable[..., Any]) -> list[str]:
    """The names of a function's parameters that can be passed by keyword; none for builtins."""
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return []
    return [parameter.name for parameter in parameters if parameter.kind in kinds]


def _value(text: str) -> Any:
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text
