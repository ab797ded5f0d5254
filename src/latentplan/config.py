"""The one way a config says what its fields may be: in their annotations, which are read whenever a config is made.

```python
@dataclass(frozen=True, kw_only=True)
class AdamConfig(Config):
    learning_rate: Annotated[float, Bound(gt=0)] = 1e-3
    updates: Annotated[int, Bound(ge=1)] = 1000
    ramp: NonNegativeInt = 0

    def check(self) -> None:
        self.require(self.ramp < self.updates, "ramp", f"less than updates = {self.updates}", "lower it")
```
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints


class ConfigError(ValueError):
    """A config's field is not what it may be.

    Attributes:
        config: the config's class.
        field: the field's name.
        problem: what was expected, what came, and what to do.
    """

    def __init__(self, config: type, field: str, problem: str) -> None:
        super().__init__(f"{config.__name__}.{field}: {problem}")
        self.config, self.field, self.problem = config, field, problem

    def __reduce__(self) -> tuple[Any, ...]:
        """So that it passes from a worker process to its parent."""
        return ConfigError, (self.config, self.field, self.problem)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bound:
    """What a number may be. NaN never, infinity only where it says so.

    Attributes:
        ge: the least it may be.
        gt: what it has to be more than.
        le: the most it may be.
        lt: what it has to be less than.
        infinity: whether it may be infinite.
    """

    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None
    infinity: bool = False

    def problem(self, value: float) -> str:
        """What was expected, where a number lies outside; empty where it may be so."""
        if abs(value) == float("inf") and not self.infinity:
            return "a finite number"
        inside = (
            value == value  # not NaN
            and (self.ge is None or value >= self.ge)
            and (self.gt is None or value > self.gt)
            and (self.le is None or value <= self.le)
            and (self.lt is None or value < self.lt)
        )
        return "" if inside else str(self)

    def __str__(self) -> str:
        if self.ge is not None and self.le is not None:
            return f"{self.ge} to {self.le}"
        names = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
        parts = [f"{words} {getattr(self, name)}" for name, words in names.items() if getattr(self, name) is not None]
        return " and ".join(parts) or "a finite number"


PositiveInt = Annotated[int, Bound(ge=1)]
NonNegativeInt = Annotated[int, Bound(ge=0)]
PositiveFloat = Annotated[float, Bound(gt=0)]
NonNegativeFloat = Annotated[float, Bound(ge=0)]
UnitInterval = Annotated[float, Bound(ge=0, le=1)]
Share = Annotated[float, Bound(ge=0, lt=1)]
"""A part of something of which some has to be left."""
Rate = Annotated[float, Bound(gt=0, le=1)]
"""A part of the way to go at a time."""
ClipNorm = Annotated[float, Bound(gt=0, infinity=True)]
"""The largest norm of a gradient; infinity clips none."""


class OneOf:
    """A name in a registry, so that an entry more is a choice more.

    Args:
        registry: whose keys are the choices, or a function that gives them, where the registry comes later.
        others: further choices.
    """

    def __init__(self, registry: Iterable[str] | Callable[[], Iterable[str]], *others: str) -> None:
        self._registry, self._others = registry, others

    @property
    def names(self) -> tuple[str, ...]:
        """The choices as they are now."""
        names = self._registry() if callable(self._registry) else self._registry
        return (*self._others, *names)

    def problem(self, value: str) -> str:
        """What was expected, where a name is none of them; empty where it is one."""
        return "" if value in self.names else f"one of {', '.join(name or repr(name) for name in self.names)}"


class ConfigOf:
    """A config of one of a registry's entries.

    Args:
        registry: name -> an entry whose `config` is a class.
    """

    def __init__(self, registry: Mapping[str, Any]) -> None:
        self._registry = registry

    @property
    def classes(self) -> tuple[type, ...]:
        """The configs' classes as they are now."""
        return tuple(entry.config for entry in self._registry.values())

    def problem(self, value: Any) -> str:
        """What was expected, where a config is of no entry; empty where it is of one."""
        return "" if type(value) in self.classes else f"one of {', '.join(x.__name__ for x in self.classes)}"


class Config:
    """Base of all configs: frozen, keyword-only dataclasses of plain values, which check themselves when they are made.

    A field may be what its annotation says: `int`, `float`, `bool`, `str`, another config, `Literal`, `tuple[X, ...]`,
    `X | None`, each of them `Annotated` with `Bound`, `OneOf` or `ConfigOf` where that says more. Floats are finite.
    """

    def __post_init__(self) -> None:
        for name, hint in field_hints(type(self)).items():
            expected = _problem(hint, getattr(self, name))
            if expected:
                raise self._error(name, expected, self._advice(name))
        self.check()

    def check(self) -> None:
        """Rules between fields, by `require`; a subclass of a config that has some calls `super().check()`."""

    def require(self, holds: Any, field: str, expected: str, advice: str = "") -> None:
        """Refuses a field that does not fit the other ones, or what it is used for.

        Args:
            holds: whether it does.
            field: its name.
            expected: what it should have been.
            advice: what to do.

        Raises:
            ConfigError: it does not.
        """
        if not holds:
            raise self._error(field, expected, advice)

    def _error(self, field: str, expected: str, advice: str) -> ConfigError:
        problem = f"expected {expected}, got {getattr(self, field)!r}" + f"; {advice}" * bool(advice)
        return ConfigError(type(self), field, problem)

    def _advice(self, name: str) -> str:
        (field,) = (field for field in dataclasses.fields(self) if field.name == name)  # type: ignore[arg-type]
        return "" if field.default is dataclasses.MISSING else f"the default is {field.default!r}"


def field_hints(config: Any) -> dict[str, Any]:
    """A dataclass's fields and their annotations, resolved, with what `Annotated` adds."""
    hints = get_type_hints(config, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(config)}


def split_hint(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    """An annotation's type, and what `Annotated` adds to it."""
    if get_origin(hint) is Annotated:
        base, *extras = get_args(hint)
        return base, tuple(extras)
    return hint, ()


def _problem(hint: Any, value: Any) -> str:
    """What was expected, where a value is not what its annotation says; empty where it is."""
    base, extras = split_hint(hint)
    rules = [extra for extra in extras if isinstance(extra, Bound | OneOf | ConfigOf)]
    if base is float and not rules:
        rules = [Bound()]
    return _type_problem(base, value) or next(filter(None, (rule.problem(value) for rule in rules)), "")


_NAMES = {bool: "True or False", int: "a whole number", float: "a number", str: "a string", NoneType: "None"}


def _type_problem(kind: Any, value: Any) -> str:
    """The same of a type alone."""
    origin, options = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        problems = [_problem(option, value) for option in options]
        return " or ".join(problems) if all(problems) else ""
    if origin is Literal:
        return "" if value in options else f"one of {', '.join(map(str, options))}"
    if origin is tuple:
        problems = [_problem(options[0], item) for item in value] if isinstance(value, tuple) else [""]
        wrong = "" if isinstance(value, tuple) else "a tuple"
        return next((f"a tuple, each {problem}" for problem in problems if problem), wrong)
    accepted = (int, float) if kind is float else kind
    right = isinstance(value, accepted) and (kind is bool or not isinstance(value, bool))
    return "" if right else _NAMES.get(kind, kind.__name__)
