"""Actions arrive in the environment's own space: inside it, in its dtype, choices as integers."""

import itertools
import re

import gymnasium
import jax.numpy as jnp
import numpy as np
import pytest
from envs.given import Given, made
from gymnasium.spaces import Box, Discrete, MultiBinary, MultiDiscrete
from hypothesis import given
from hypothesis import strategies as st

from latentplan.envs.actions import check_actions, make_codec
from latentplan.envs.env import env_notes, env_spec

ROUND = [round(0.1 * i, 1) for i in range(-20, 21)]  # 820 pairs of bounds, of which a third overshoot when scaled


def taken(space, *actions, **config):
    """What the environment was given for actions in [-1, 1]."""
    env = made(Given(actions=space), **config)
    env.reset(seed=0)
    for action in actions:
        env.step(np.asarray(action, np.float32))
    return env.unwrapped.taken


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_round_bounds_are_never_exceeded(dtype):
    low, high = np.array(list(itertools.combinations(ROUND, 2)), dtype).T
    space = Box(low, high, dtype=dtype)
    decode = make_codec(space, "").decode
    ones = np.ones(len(low), np.float32)
    for action, bound in ((ones, high), (-ones, low)):
        value = decode(action)
        assert space.contains(value) and value.dtype == dtype
        np.testing.assert_allclose(value, bound, rtol=0, atol=4 * np.finfo(dtype).eps)
    np.testing.assert_allclose(decode(0 * ones), (low + high) / 2, atol=1e-7)
    assert space.contains(decode(np.linspace(-1, 1, len(low), dtype=np.float32)))


def test_the_bounds_of_a_bug_report():
    space = Box(np.float32([0.1, -0.3]), np.float32([0.7, 0.9]))
    top, bottom = taken(space, [1, 1], [-1, -1])
    assert space.contains(top) and space.contains(bottom)
    np.testing.assert_allclose([bottom, top], [[0.1, -0.3], [0.7, 0.9]], rtol=1e-6)


@st.composite
def boxes_and_actions(draw):
    """A Box of any dtype and shape with finite bounds, and an action in [-1, 1] with its ends."""
    dtype = np.dtype(draw(st.sampled_from(["float16", "float32", "float64", "uint8", "int8", "int32", "int64"])))
    shape = tuple(draw(st.lists(st.integers(1, 3), max_size=2)))
    size = int(np.prod(shape))
    if dtype.kind == "f":
        number = st.floats(-1000, 1000, width=16).map(float)
    else:
        info = np.iinfo(dtype)
        number = st.integers(max(info.min, -(10**8)), min(info.max, 10**8))
    pairs = draw(st.lists(st.tuples(number, number).map(sorted), min_size=size, max_size=size))
    low, high = np.array(pairs, dtype).T.reshape(2, *shape)
    unit = st.one_of(st.sampled_from([-1.0, 0.0, 1.0]), st.floats(-1, 1, width=32))
    action = np.float32(draw(st.lists(unit, min_size=size, max_size=size)))
    return Box(low, high, shape, dtype), action


@given(boxes_and_actions())
def test_every_action_lies_in_its_box(drawn):
    space, action = drawn
    value = make_codec(space, "").decode(action)
    assert isinstance(value, np.ndarray) and value.dtype == space.dtype and value.shape == space.shape
    assert np.all(value >= space.low) and np.all(value <= space.high)
    low, high = space.low.astype(float), space.high.astype(float)
    exact = (low + high) / 2 + (high - low) / 2 * action.reshape(space.shape).astype(float)
    step = 0.5 if space.dtype.kind in "iu" else np.spacing(np.maximum(np.abs(space.low), np.abs(space.high)))
    assert np.all(np.abs(value.astype(float) - exact) <= step + 1e-12)


def test_a_dimension_without_a_range_is_constant():
    space = Box(np.float32([0.3, -1]), np.float32([0.3, 1]))
    for value, other in zip(taken(space, [-1, -1], [0, 0], [1, 1]), (-1, 0, 1), strict=True):
        np.testing.assert_array_equal(value, np.float32([0.3, other]))


def test_unit_actions_pass_unchanged_and_as_new_arrays():
    action = np.float32([0.1, -0.7, 1.0])
    first, again = taken(Box(-1, 1, (3,)), action, action)
    np.testing.assert_array_equal(first, action)
    assert first is not again and not np.shares_memory(first, action)
    held = taken(Box(-1, 1, (3,)), action, action_repeat=2)
    assert len(held) == 2 and not np.shares_memory(*held)


def test_whole_numbers_are_rounded_and_noted():
    space = Box(0, 10, (1,), np.uint8)
    assert [int(x[0]) for x in taken(space, [-1], [-0.1], [0.5], [1])] == [0, 4, 8, 10]  # 7.5 to the even one
    assert "are rounded to whole numbers" in env_notes(made(Given(actions=space)))[0]


@pytest.mark.parametrize("start", [0, 5, -2])
def test_a_choice_is_an_integer_from_the_start_on(start):
    choices = taken(Discrete(3, start=start), *np.eye(3), [0.1, 0.3, 0.2], action_repeat=2)
    assert choices == [start + i for i in (0, 0, 1, 1, 2, 2, 1, 1)]
    assert all(type(choice) is int for choice in choices)


@pytest.mark.parametrize(
    "space",
    [MultiDiscrete([2, 3]), MultiDiscrete([3, 2, 2], start=[1, -1, 0]), MultiDiscrete([[2, 2], [1, 3]]), MultiBinary(3),
     MultiBinary([2, 2])],
)  # fmt: skip
def test_several_choices_are_one_among_their_combinations(space):
    env = made(Given(actions=space))
    spec, counts = env_spec(env), space.nvec if isinstance(space, MultiDiscrete) else np.full(space.shape, 2)
    assert spec.discrete and spec.action_size == np.prod(counts)
    actions = taken(space, *np.eye(spec.action_size))
    assert all(space.contains(action) for action in actions)
    assert len({action.tobytes() for action in actions}) == spec.action_size
    assert f"are one choice among their {spec.action_size} combinations" in env_notes(env)[0]


# --- what a message advises works ---


def refused(space, message):
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        made(Given(actions=space), "mine:Arm-v0")
    assert str(caught.value).startswith("env: mine:Arm-v0 has the ")
    return str(caught.value)


def wrapped(space, function, inner, *actions):
    """What an environment is given behind the wrapper that the message names."""
    env = Given(actions=space)
    env = made(gymnasium.wrappers.TransformAction(env, function, inner))
    env.reset(seed=0)
    for action in actions:
        env.step(np.asarray(action, np.float32))
    return env.unwrapped.taken


@pytest.mark.parametrize(("low", "high"), [(-np.inf, np.inf), (0, np.inf), (-1e10, 1e10)])
def test_unbounded_actions_take_the_wrapper_that_is_advised(low, high):
    space = Box(low, high, (2,))
    message = refused(space, "has the unbounded action space")
    assert "expected bounds between -1e+09 and 1e+09." in message
    assert "gymnasium.wrappers.TransformAction(env, lambda action: action, Box(low, high, shape, dtype))" in message
    (value,) = wrapped(space, lambda action: action, Box(0.0, 4.0, (2,), np.float32), [0, 1])
    np.testing.assert_array_equal(value, [2, 4])
    np.testing.assert_array_equal(taken(Box(0.0, 4.0, (2,)), [0, 1])[0], [2, 4])  # or finite bounds


def test_an_action_without_numbers_is_refused_unless_it_is_one_choice():
    message = refused(Box(-1, 1, (0,)), "without any number; expected one or more")
    assert "can be Discrete(1)" in message
    assert taken(Discrete(1), [0.5]) == [0]


def test_too_many_combinations_take_the_wrapper_that_is_advised():
    space = MultiDiscrete([10, 10])
    message = refused(space, "with 100 combinations; expected at most 64")
    assert "TransformAction(env, lambda choice: ACTIONS[choice], Discrete(len(ACTIONS)))" in message
    ACTIONS = [np.array([0, 9]), np.array([5, 5])]
    (value,) = wrapped(space, lambda choice: ACTIONS[choice], Discrete(len(ACTIONS)), [0, 1])
    np.testing.assert_array_equal(value, [5, 5])


@pytest.mark.parametrize(
    "space",
    [
        gymnasium.spaces.Tuple((Box(-1, 1, (1,)), Box(0, 2, (1,)))),
        gymnasium.spaces.Dict({"a": Box(-1, 1, (1,)), "b": Box(0, 2, (1,))}),
        gymnasium.spaces.Text(3),
        Box(0, 1, (2,), bool),
    ],
)
def test_other_spaces_take_the_wrapper_that_is_advised(space):
    message = refused(
        space, "; expected Box, Discrete, MultiDiscrete or MultiBinary. Wrap it into one of these with gym"
    )
    assert "gymnasium.wrappers.TransformAction where it is registered" in message
    (value,) = wrapped(space, lambda action: [action[0] > 0, action[1]], Box(-1, 1, (2,)), [1, 0.5])
    assert value == [True, 0.5]


@pytest.mark.parametrize(
    ("actions", "got"),
    [
        (np.zeros((2, 2), np.float32), r"float32 \[2, 2\]"),
        (np.zeros(3, np.float32), r"float32 \[3\]"),
        (np.zeros((2, 3), complex), r"complex128 \[2, 3\]"),
        (np.full((2, 3), None), r"object \[2, 3\]"),
    ],
)
def test_what_an_agent_returns_as_actions_is_checked(actions, got):
    with pytest.raises(
        ValueError, match=rf"^actions: expected float32 \[2, 3\], got {got}\. An agent's act returns one"
    ):
        check_actions(actions, (2, 3))
    assert check_actions(jnp.full((2, 3), 0.5, jnp.bfloat16), (2, 3)).dtype == np.float32
