"""How configs are checked, and that every field of every config of the registries is."""

import copy
import dataclasses
import math
import pickle
import pydoc
import re
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal, get_args, get_origin

import numpy as np
import pytest

from latentplan.agents import AGENTS
from latentplan.cli.evaluate import Evaluation
from latentplan.config import (
    Bound,
    ClipNorm,
    Config,
    ConfigError,
    ConfigOf,
    NonNegativeFloat,
    OneOf,
    PositiveFloat,
    PositiveInt,
    Rate,
    Share,
    UnitInterval,
    field_hints,
    split_hint,
)
from latentplan.driver.schedule import Stage
from latentplan.models.world_model import WorldModelConfig
from latentplan.planners import PLANNERS
from latentplan.planners.cem import CEMConfig
from latentplan.presets import Experiment


class Entry:
    def __init__(self, config):
        self.config = config


NAMES: dict[str, Any] = {"red": Entry(int), "blue": Entry(str)}


@dataclass(frozen=True, kw_only=True)
class Inner(Config):
    size: PositiveInt = 2


PARTS = {"inner": Entry(Inner)}


@dataclass(frozen=True, kw_only=True)
class Example(Config):
    count: PositiveInt = 3
    maybe: PositiveInt | None = None
    plain: float = 0.5
    rate: Rate = 0.5
    share: Share = 0.5
    part: UnitInterval = 0.5
    norm: ClipNorm = 10.0
    std: PositiveFloat = 1.0
    ring: Annotated[int, Bound(ge=-1)] = 0
    weights: tuple[NonNegativeFloat, ...] = (1.0,)
    colour: Annotated[str, OneOf(NAMES, "")] = "red"
    kind: Literal["a", "b"] = "a"
    switch: bool = False
    name: str = ""
    inner: Inner = field(default_factory=Inner)
    chosen: Annotated[Config, ConfigOf(PARTS)] = field(default_factory=Inner)

    def check(self) -> None:
        self.require(self.count < 100, "count", "less than 100", "lower it")


@dataclass(frozen=True, kw_only=True)
class Stranger(Config):
    pass


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("count", 0, "Example.count: expected at least 1, got 0; the default is 3"),
        ("count", 2.0, "expected a whole number, got 2.0"),
        ("count", True, "expected a whole number, got True"),
        ("count", 100, "Example.count: expected less than 100, got 100; lower it"),
        ("maybe", 0, "expected at least 1 or None, got 0"),
        ("plain", math.nan, "expected a finite number|a finite number, got nan"),
        ("plain", math.inf, "expected a finite number, got inf"),
        ("plain", "1", "expected a number, got '1'"),
        ("rate", 0.0, "expected more than 0 and at most 1, got 0.0"),
        ("share", 1.0, "expected at least 0 and less than 1, got 1.0"),
        ("part", 1.1, "expected 0 to 1, got 1.1"),
        ("norm", 0, "expected more than 0, got 0"),
        ("norm", math.nan, "expected more than 0, got nan"),
        ("std", math.inf, "expected a finite number, got inf"),
        ("ring", -2, "expected at least -1, got -2"),
        ("weights", (1.0, -1.0), r"expected a tuple, each at least 0, got \(1.0, -1.0\)"),
        ("weights", [1.0], r"expected a tuple, got \[1.0\]"),
        ("colour", "green", "expected one of '', red, blue, got 'green'"),
        ("kind", "c", "expected one of a, b, got 'c'"),
        ("switch", 1, "expected True or False, got 1"),
        ("name", 1, "expected a string, got 1"),
        ("inner", 1, "expected Inner, got 1"),
        ("chosen", Stranger(), r"expected a config such as Inner\(\) \(one of Inner\), got Stranger\(\)"),
        ("chosen", "inner", r"expected a config such as Inner\(\) \(one of Inner\), got 'inner'"),
        ("chosen", Inner, r"expected a config such as Inner\(\) \(one of Inner\), got <class"),
    ],
)
def test_a_field_that_may_not_be_so_is_refused_in_words(name, value, message):
    with pytest.raises(ConfigError, match=message) as error:
        Example(**{name: value})
    assert error.value.config is Example and error.value.field == name
    with pytest.raises(ConfigError):
        replace(Example(), **{name: value})


def test_what_may_be_is_kept_as_it_is():
    config = Example(norm=math.inf, maybe=4, plain=1, weights=(), colour="", chosen=Inner(size=3))
    assert (config.norm, config.maybe, config.plain, config.chosen.size) == (math.inf, 4, 1, 3)
    assert hash(config) == hash(replace(config))


def test_an_unknown_field_is_told_with_the_nearest_and_numbers_of_numpy_become_pythons():
    with pytest.raises(ConfigError, match="Example.coun: expected a field of Example, got an unknown one; try count"):
        Example(coun=3)
    with pytest.raises(ConfigError, match="one of count, "):
        replace(Example(), xyz=3)
    config = Example(count=np.int64(4), norm=np.float32(0.5))
    assert type(config.count) is int and type(config.norm) is float and config == Example(count=4, norm=0.5)
    assert repr(Bound(ge=1)) == ">= 1" and repr(Bound(gt=0, le=2)) == "> 0 and <= 2"


def test_an_entry_more_is_a_choice_more(monkeypatch):
    monkeypatch.setitem(NAMES, "green", Entry(float))
    monkeypatch.setitem(PARTS, "other", Entry(Stranger))
    assert Example(colour="green", chosen=Stranger()).colour == "green"


def test_an_error_passes_between_processes():
    with pytest.raises(ConfigError) as error:
        Example(count=0)
    again = pickle.loads(pickle.dumps(error.value))
    assert str(again) == str(error.value) and again.config is Example


def test_the_docstring_says_what_every_field_means():
    text = pydoc.plain(pydoc.render_doc(CEMConfig))
    for name in field_hints(CEMConfig):
        assert re.search(rf"^ \|      {name}: \w.{{15}}", text, re.MULTILINE), name
    assert "horizon: H, planning horizon" in text and ">= 1" in text
    assert "K, best sequences" in CEMConfig.__doc__ and "horizon: " in type(CEMConfig()).__doc__
    assert "deter: Size of the GRU" in WorldModelConfig.__doc__  # of its base class

    class Given(Config):
        """Made where no source can be read."""

    assert Given.__doc__ == "Made where no source can be read."


# All configs that there are


def parts(config):
    """A config and all that are in it."""
    yield config
    for part in vars(config).values():
        if dataclasses.is_dataclass(part):
            yield from parts(part)


def configs():
    """One config of every class there is, with the class's defaults."""
    roots = [
        Experiment(),
        Evaluation(logdir="x"),
        Stage(update="x"),
        *(entry.config() for entry in [*AGENTS.values(), *PLANNERS.values()]),
    ]
    return {type(part): part for root in roots for part in parts(root)}


CONFIGS = configs()


def leaves(hint, extras=()):
    """The annotation's types, each with what is added to it: of X | None and tuple[X, ...] those of X."""
    kind, more = split_hint(hint)
    if get_origin(kind) is None or get_origin(kind) is Literal:
        yield kind, (*extras, *more)
    else:
        for option in get_args(kind):
            if option is not Ellipsis:
                yield from leaves(option, extras)


def wrong_values(kind, extras):
    """What a field of this kind must not be."""
    bounds = [extra for extra in extras if isinstance(extra, Bound)]
    if kind is float:
        yield from (math.nan, -math.inf)
        yield from () if any(bound.infinity for bound in bounds) else (math.inf,)
    if kind in (int, float):
        step = 1 if kind is int else 1e-6
        for bound in bounds:
            yield from (limit for limit in (bound.gt, bound.lt) if limit is not None)
            yield from () if bound.ge is None else (bound.ge - step,)
            yield from () if bound.le is None else (bound.le + step,)
    if kind is int:
        yield from (0.5, math.nan, math.inf)
    if get_origin(kind) is Literal or any(isinstance(extra, OneOf) for extra in extras):
        yield "no such name"
    yield object()


def test_the_walk_sees_what_there_is():
    assert len(CONFIGS) > 30 and {entry.config for entry in AGENTS.values()} <= CONFIGS.keys()
    kinds = [kind for config in CONFIGS for hint in field_hints(config).values() for kind, _ in leaves(hint)]
    assert kinds.count(int) + kinds.count(float) > 150


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.__name__)
def test_every_field_refuses_what_it_cannot_be(config):
    for name, hint in field_hints(config).items():
        several = get_origin(split_hint(hint)[0]) is tuple
        options = [(kind, extras) for kind, extras in leaves(hint) if kind is not type(None)]
        for kind, extras in options:
            for value in wrong_values(kind, extras):
                changed = copy.copy(CONFIGS[config])  # and not a new one, whose types beartype would check in tests
                object.__setattr__(changed, name, (value,) if several else value)
                with pytest.raises(ConfigError, match=f"^{config.__name__}.{name}: expected .*, got"):
                    changed.__post_init__()


UNBOUNDED = {"low", "high", "min_log_std", "max_log_std"}
"""Numbers of any size: their rules are about one another."""


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.__name__)
def test_every_number_says_from_where_it_runs(config):
    for name, hint in field_hints(config).items():
        for kind, extras in leaves(hint):
            if kind in (int, float) and name not in UNBOUNDED:
                assert any(isinstance(extra, Bound) for extra in extras), name
