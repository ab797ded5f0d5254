"""Checks of what a caller or an extension gives: its type, its shape, how it can be called.

They cost a compiled program nothing, as shapes are known while JAX traces.
"""

import inspect
from collections.abc import Sequence
from typing import Any


def described(value: object) -> str:
    """A value in a few words, for messages: "the function make_mine", "the class Mine", "a tuple", "None"."""
    if value is None:
        return "None"
    name, kind = getattr(value, "__name__", ""), type(value).__name__
    if isinstance(value, type):
        return f"the class {name}"
    if inspect.isroutine(value):
        return f"the function {name}"
    return f"{'an' if kind[0] in 'AEIOUaeiou' else 'a'} {kind}"


def expect_type(where: str, value: object, kind: type, advice: str) -> None:
    """Refuses a value of another type.

    Args:
        where: what it is, for the message.
        value: to check.
        kind: its class.
        advice: how to fix it.

    Raises:
        ValueError: it is of another type.
    """
    if not isinstance(value, kind):
        raise ValueError(f"{where}: expected {kind.__name__}, got {described(value)}; {advice}")


def expect_shape(where: str, x: Any, shape: Sequence[int | str], advice: str = "") -> None:
    """Refuses an array of another shape.

    Args:
        where: what it is, for the message.
        x: an array, or a number.
        shape: of each axis the length, or a letter for any length; "..." stands for any number of axes.
        advice: how to fix it.

    Raises:
        ValueError: its shape is another.
    """
    got = tuple(getattr(x, "shape", ()))
    front = shape.index("...") if "..." in shape else len(shape)
    back = shape[front + 1 :]
    pairs = [*zip(shape[:front], got, strict=False), *zip(back, got[len(got) - len(back) :], strict=False)]
    enough = len(got) >= front + len(back) if front < len(shape) else len(got) == len(shape)
    if not enough or any(n != m for n, m in pairs if not isinstance(n, str)):
        raise ValueError(f"{where}: expected [{', '.join(map(str, shape))}], got {got}" + f"; {advice}" * bool(advice))


def call_problem(function: Any, arguments: Sequence[str], keywords: Sequence[str] = ()) -> str:
    """What keeps a function from being called so; "" if nothing does.

    Args:
        function: to check; it is not called.
        arguments: names of the arguments that it is given by position.
        keywords: names of those that it is given by keyword.

    Returns:
        What was expected, and got.
    """
    wanted = ", ".join([*arguments, *(f"{name}=..." for name in keywords)])
    if not callable(function):
        return f"expected a function of ({wanted}), got {described(function)}"
    try:
        signature = inspect.signature(function)
    except ValueError:  # of some functions written in C
        return ""
    try:
        signature.bind(*arguments, **dict.fromkeys(keywords))
    except TypeError as error:
        return f"expected a function of ({wanted}), got {described(function)}{signature} ({error})"
    return ""
