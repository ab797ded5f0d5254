"""Registries: dictionaries of entries by name, each checked when it is added, so that a mistake is told there."""

import dataclasses
from collections.abc import Mapping, MutableMapping
from typing import Any, TypeVar

from latentplan.checks import described
from latentplan.config import Config

Entry = TypeVar("Entry")


class Registry(dict[str, Entry]):
    """Entries by name, such as `PLANNERS`; one more is added by assignment: `PLANNERS["mine"] = PlannerEntry(...)`.

    Args:
        name: of the registry, for messages.
        kind: the class of its entries. Its method `problem()`, if it has one, says what is wrong with an entry.
        entries: the first ones, in their order.
    """

    advice = "import the module that registers it"  # for names that are not here

    def __init__(self, name: str, kind: type[Entry], entries: Mapping[str, Entry]) -> None:
        """See the class."""
        self.name, self.kind = name, kind
        self.update(entries)

    def __setitem__(self, name: str, entry: Entry) -> None:
        """Adds an entry, or replaces it.

        Raises:
            ValueError: it is of another class than the registry's entries, or cannot be used.
        """
        where, kind = f"{self.name}[{name!r}]", self.kind.__name__
        if not isinstance(entry, self.kind):
            raise ValueError(f"{where}: expected {kind}, got {described(entry)}; write {where} = {kind}(...)")
        problem = getattr(entry, "problem", lambda: "")()
        if problem:
            raise ValueError(f"{where}.{problem}")
        super().__setitem__(name, entry)

    update = MutableMapping.update  # by __setitem__, which dict's own leave out
    setdefault = MutableMapping.setdefault  # type: ignore[assignment]


def config_problem(config: Any, base: type[Config]) -> str:
    """What is wrong with the config class of an entry; "" if nothing.

    Args:
        config: the class.
        base: of which it must be a subclass.

    Returns:
        What was expected, got, and how to fix it.
    """
    if not (isinstance(config, type) and issubclass(config, base)):
        return (
            f"config: expected a subclass of {base.__name__}, got {described(config)}; derive it from {base.__name__}"
        )
    if "__dataclass_fields__" not in vars(config):
        decorator = "@dataclass(frozen=True, kw_only=True)"
        return f"config: expected a dataclass, got {described(config)} without its decorator; add {decorator}"
    none, fields = dataclasses.MISSING, dataclasses.fields(config)  # type: ignore[arg-type]
    required = [field.name for field in fields if field.default is field.default_factory is none]
    if required:
        return f"config: expected a default for every field, got none for {config.__name__}.{required[0]}; give it one"
    return ""
