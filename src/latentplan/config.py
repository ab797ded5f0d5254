"""Config validation: constraints are declared in field annotations and checked whenever a config is constructed.

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
import difflib
import functools
import numbers
import sys
from collections.abc import Callable, Iterable, Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from latentplan.documentation import with_fields

Annotation = Any  # a class or a typing form, which have no type in common
Fields = dict[str, Any]
"""A config's values by field, as `dataclasses.asdict` and JSON give them; checked once a config is made of them."""


class ConfigError(ValueError):
    """A config field has an invalid value.

    Attributes:
        config: the config's class.
        field: the field's name.
        problem: what was expected, what was given, and how to fix it.
    """

    def __init__(self, config: type, field: str, problem: str) -> None:
        super().__init__(f"{config.__name__}.{field}: {problem}")
        self.config, self.field, self.problem = config, field, problem

    def __reduce__(self) -> tuple[type, tuple]:
        """Makes it picklable, to pass from a worker process to its parent."""
        return ConfigError, (self.config, self.field, self.problem)


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class Bound:
    """Bounds of a number. NaN is never valid, infinity only if `infinity` is set.

    Attributes:
        ge: inclusive lower bound.
        gt: exclusive lower bound.
        le: inclusive upper bound.
        lt: exclusive upper bound.
        infinity: whether infinity is valid.
    """

    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None
    infinity: bool = False

    def problem(self, value: float) -> str:
        """A description of the valid range if the number lies outside it, else the empty string."""
        if abs(value) > sys.float_info.max and not (self.infinity and abs(value) == float("inf")):
            return "a finite number"  # JSON has whole numbers of any size
        inside = (
            value == value  # not NaN
            and (self.ge is None or value >= self.ge)
            and (self.gt is None or value > self.gt)
            and (self.le is None or value <= self.le)
            and (self.lt is None or value < self.lt)
        )
        return "" if inside else str(self)

    def __repr__(self) -> str:
        """As in signatures: ">= 1"."""
        signs = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
        parts = [f"{sign} {getattr(self, name)}" for name, sign in signs.items() if getattr(self, name) is not None]
        return " and ".join(parts) or "finite"

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
"""A fraction in [0, 1), for example a dropout rate."""
Rate = Annotated[float, Bound(gt=0, le=1)]
"""A step size in (0, 1], for example a Polyak rate."""
ClipNorm = Annotated[float, Bound(gt=0, infinity=True)]
"""Maximum gradient norm; infinity disables clipping."""


class OneOf:
    """A name from a registry: new entries become valid choices by themselves.

    Args:
        registry: whose keys are the choices, or a function that returns them, if the registry is defined later.
        others: further choices.
    """

    def __init__(self, registry: Iterable[str] | Callable[[], Iterable[str]], *others: str) -> None:
        self.registry, self._others = registry, others

    @property
    def advice(self) -> str:
        """What to do about a name that is not among the choices, if they are a `registry.Registry`'s."""
        return getattr(self.registry, "advice", "")

    @property
    def names(self) -> tuple[str, ...]:
        """The current choices."""
        names = self.registry() if callable(self.registry) else self.registry
        return (*self._others, *names)

    def problem(self, value: str) -> str:
        """A description of the choices if the name is not among them, else the empty string."""
        return "" if value in self.names else f"one of {', '.join(name or repr(name) for name in self.names)}"

    def __repr__(self) -> str:
        """As in signatures; a registry that is defined later may not exist yet."""
        return "a registered name" if callable(self.registry) else f"one of {', '.join(self.registry)}"


class ConfigOf:
    """A config of any entry of a registry.

    When a config is read from a file, a field `OneOf(registry)` of the same or of an outer record names the entry.

    Args:
        registry: name -> an entry whose `config` is a config class.
    """

    def __init__(self, registry: Mapping[str, Any]) -> None:
        self.registry = registry

    @property
    def classes(self) -> tuple[type, ...]:
        """The current config classes."""
        return tuple(entry.config for entry in self.registry.values())

    def __repr__(self) -> str:
        """As in signatures: "config of a or b"."""
        return f"config of {' or '.join(self.registry)}"

    def problem(self, value: object) -> str:
        """A description of the valid classes if the config is of none of them, else the empty string."""
        if type(value) in self.classes:
            return ""
        example = self.registry[value].config if isinstance(value, str) and value in self.registry else value
        example = example if example in self.classes else self.classes[0]
        return f"a config such as {example.__name__}() (one of {', '.join(x.__name__ for x in self.classes)})"


def entry_name(kind: str, registry: Mapping[str, Any], config: Any) -> str:
    """The name in a registry of the entry that a config belongs to.

    Args:
        kind: what the registry holds, for the message.
        registry: name -> an entry whose `config` is a config class.
        config: of one of these classes.

    Raises:
        ValueError: it is of none of them.
    """
    for name, entry in registry.items():
        if type(config) is entry.config:
            return name
    raise ValueError(f"{kind}: expected {ConfigOf(registry).problem(config)}, got {config!r}")


class Config:
    """Base class of configs: frozen, keyword-only dataclasses of plain values, validated on construction.

    Fields may be annotated as `int`, `float`, `bool`, `str`, another config, `Literal`, `tuple[X, ...]` or `X | None`,
    optionally `Annotated` with a `Bound`, `OneOf` or `ConfigOf`. Floats must be finite.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        """Lists the fields in the docstring, with their meanings."""
        super().__init_subclass__(**options)
        cls.__doc__ = with_fields(cls, Config)

    def __new__(cls, *args: object, **values: object) -> "Config":
        """Refuses unknown fields before `__init__` would, with the nearest names."""
        known = [field.name for field in dataclasses.fields(cls)]  # type: ignore[arg-type]
        for name in values.keys() - set(known):
            near = " or ".join(difflib.get_close_matches(name, known)) or f"one of {', '.join(known)}"
            raise ConfigError(cls, name, f"expected a field of {cls.__name__}, got an unknown one; try {near}")
        return super().__new__(cls)

    def __post_init__(self) -> None:
        for name, hint in field_hints(type(self)).items():
            value = getattr(self, name)
            if isinstance(value, numbers.Number) and hasattr(value, "item"):  # of NumPy, which JSON does not know
                object.__setattr__(self, name, value.item())
            expected = _problem(hint, getattr(self, name))
            if expected:
                raise self._error(name, expected, self._advice(name))
        self.check()

    def check(self) -> None:
        """Checks constraints between fields with `require`; overrides call `super().check()`."""

    def require(self, holds: object, field: str, expected: str, advice: str = "") -> None:
        """Raises if a constraint between fields, or between a field and its use, is violated.

        Args:
            holds: whether the constraint is satisfied.
            field: its name.
            expected: what it should have been.
            advice: how to fix it.

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
        default = "" if field.default is dataclasses.MISSING else default_words(field.default)
        extras = split_hint(field_hints(type(self))[name])[1]
        registered = [extra.advice for extra in extras if isinstance(extra, OneOf) and extra.advice]
        return "; or ".join([default, *registered] if default else registered)


def default_words(value: object) -> str:
    """How messages say a field's default."""
    return f"the default is {value!r}"


def field_hints(config: Annotation) -> Mapping[str, Annotation]:
    """A dataclass's fields and their resolved annotations, `Annotated` metadata included."""
    return _field_hints(config)


@functools.cache
def _field_hints(config: Annotation) -> Mapping[str, Annotation]:
    hints = get_type_hints(config, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(config)}


def split_hint(hint: Annotation) -> tuple[Annotation, tuple[object, ...]]:
    """Splits an annotation into its type and its `Annotated` metadata."""
    if get_origin(hint) is Annotated:
        base, *extras = get_args(hint)
        return base, tuple(extras)
    return hint, ()


def _problem(hint: Annotation, value: Any) -> str:
    """A description of what was expected if a value does not match its annotation, else the empty string."""
    base, extras = split_hint(hint)
    rules = [extra for extra in extras if isinstance(extra, Bound | OneOf | ConfigOf)]
    if base is float and not rules:
        rules = [Bound()]
    if not any(isinstance(rule, ConfigOf) for rule in rules) and (problem := _type_problem(base, value)):
        return problem
    return next(filter(None, (rule.problem(value) for rule in rules)), "")


_NAMES = {bool: "True or False", int: "a whole number", float: "a number", str: "a string", NoneType: "None"}


def _type_problem(kind: Annotation, value: object) -> str:
    """As `_problem`, for a type without metadata."""
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
