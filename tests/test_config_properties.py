"""Any value of any field of any config: kept, written and read back equal, or refused under the field's name."""

import copy
import dataclasses
import functools
import json
import operator
from typing import Any, Literal, get_args, get_origin

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_config import CONFIGS, leaves

from latentplan.config import Bound, ConfigError, ConfigOf, OneOf, entry_name, field_hints, split_hint
from latentplan.driver.provenance import from_dict
from latentplan.presets import Experiment, make_preset

few = settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
CHOSEN_TOGETHER = {"agent", "agent_config", "planner"}
WORDS = st.text(max_size=8)
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS | st.sampled_from([10**400, -1, 0.5, "3", "nan"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=4,
)
"""What JSON can hold."""


def numbers(kind: type, bounds: list[Bound]) -> st.SearchStrategy:
    """Numbers that the bounds allow, their ends among them where they belong to them."""
    (bound,) = bounds or [Bound()]
    low, high = (bound.ge if bound.ge is not None else bound.gt), (bound.le if bound.le is not None else bound.lt)
    if kind is int:
        return st.integers(low, high)
    return st.floats(
        low, high, exclude_min=bound.gt is not None, exclude_max=bound.lt is not None, allow_nan=False,
        allow_infinity=bound.infinity if low is None or high is None else None,
    )  # fmt: skip


def values(hint: Any) -> st.SearchStrategy:
    """What a field of this annotation may be."""
    kind, extras = split_hint(hint)
    for extra in extras:
        if isinstance(extra, OneOf):
            return st.sampled_from(extra.names)
        if isinstance(extra, ConfigOf):
            return st.sampled_from([config() for config in extra.classes])
    if get_origin(kind) is Literal:
        return st.sampled_from(get_args(kind))
    if get_origin(kind) is tuple:
        return st.lists(values(get_args(kind)[0]), max_size=3).map(tuple)
    if get_args(kind):
        return st.one_of([values(option) for option in get_args(kind)])
    if kind in (int, float):
        return numbers(kind, [extra for extra in extras if isinstance(extra, Bound)])
    plain = {bool: st.booleans(), str: WORDS, type(None): st.none()}
    return plain[kind] if kind in plain else st.just(CONFIGS[kind])


def through_json(config: Any) -> Any:
    """A config as config.json holds it, read back."""
    names = ()
    for name, hint in field_hints(type(config)).items():
        registries = [extra.registry for extra in split_hint(hint)[1] if isinstance(extra, ConfigOf)]
        names += tuple((registry, entry_name(name, registry, getattr(config, name))) for registry in registries)
    return from_dict(type(config), json.loads(json.dumps(dataclasses.asdict(config))), names)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=lambda config: type(config).__name__)
@few
@given(data=st.data())
def test_what_a_field_may_be_comes_back_from_json_or_is_refused_by_a_rule_between_fields(config, data):
    hints = field_hints(type(config))
    if not hints:
        return
    apart = CHOSEN_TOGETHER if isinstance(config, Experiment) else set()
    names = data.draw(st.lists(st.sampled_from(sorted(hints.keys() - apart)), min_size=1, max_size=3, unique=True))
    changed = {name: data.draw(values(hints[name]), label=name) for name in names}
    try:
        made = dataclasses.replace(config, **changed)
    except ConfigError as refused:
        assert refused.field in field_hints(refused.config)
        return
    assert {name: getattr(made, name) for name in names} == changed
    again = through_json(made)
    assert again == made and hash(again) == hash(made)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=lambda config: type(config).__name__)
@few
@given(data=st.data())
def test_whatever_json_holds_in_a_field_is_kept_or_refused_under_its_name(config, data):
    for name, hint in field_hints(type(config)).items():
        value = data.draw(JUNK, label=name)
        changed = copy.copy(config)  # and not a new one, whose types beartype would check in tests
        object.__setattr__(changed, name, value)
        kinds = {kind for kind, _ in leaves(hint)}
        try:
            changed.__post_init__()
        except ConfigError as refused:
            assert str(refused).startswith(f"{type(config).__name__}.{refused.field}: expected ")
            continue
        assert not isinstance(value, bool) or bool in kinds
        if isinstance(value, int | float) and not isinstance(value, bool):
            assert abs(value) < 1e309 and kinds & ({int, float} if isinstance(value, int) else {float})


def places(tree: dict[str, Any], path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The path to every value in nested dictionaries, the whole first."""
    inner = [place for name, value in tree.items() if isinstance(value, dict) for place in places(value, (*path, name))]
    return [path, *inner, *((*path, name) for name, value in tree.items() if not isinstance(value, dict))]


@pytest.mark.parametrize("agent", ["dreamer_v3", "tdmpc2"])
@settings(few, max_examples=6)
@given(value=JUNK, left_out=st.booleans())
def test_whatever_stands_in_a_config_file_is_an_experiment_or_refused_in_a_line(agent, value, left_out, unchecked):
    text = json.dumps(dataclasses.asdict(make_preset("debug", "cartpole_swingup", "state", agent=agent)))
    for *path, name in places(json.loads(text))[1:]:
        tree = json.loads(text)
        part = functools.reduce(operator.getitem, path, tree)
        part[name] = value
        if left_out:
            del part[name]
        try:
            made = from_dict(Experiment, tree)
        except ValueError as refused:
            assert "expected" in str(refused) and "\n" not in str(refused)
        else:
            assert through_json(made) == made
