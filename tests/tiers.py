"""Which members of a family `make test` runs: a rule, so that it stays as quick as the family grows."""

from collections.abc import Callable, Iterable

import pytest


def one_of_each(cases: Iterable, *traits: Callable) -> list:
    """Parameters, of which those that are the first with any of their traits run always, and the others are slow.

    Args:
        cases: names, or tuples of names.
        *traits: functions case -> what it is an example of; by default, each of the case's names.
    """
    cases, seen, chosen = list(cases), set(), []
    for case in cases:
        names = (case,) if isinstance(case, str) else case
        shown = {(i, trait(case)) for i, trait in enumerate(traits)} if traits else set(enumerate(names))
        marks = () if shown - seen else pytest.mark.slow
        seen |= shown
        chosen.append(pytest.param(case, marks=marks, id="-".join(names)))
    return chosen
