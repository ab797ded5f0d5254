"""Actions of agents, float32 [A] in [-1, 1], as values of an environment's own action space."""

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from gymnasium.spaces import Box, Discrete, MultiBinary, MultiDiscrete, Space
from numpy.typing import ArrayLike

ACTION_TOLERANCE = 1e-5
"""Tolerance of actions outside [-1, 1], which are clipped as rounding errors."""

UNBOUNDED = 1e9
"""Action bounds at or above this count as unbounded; MuJoCo uses 1e10 for actuators without a control range."""

MOST_COMBINATIONS = 64
"""Maximum number of combinations of several discrete actions; agents choose one of them."""


class ActionCodec(NamedTuple):
    """How an agent's actions become an environment's.

    Attributes:
        size: A, the size of an agent's action.
        num_choices: A if an action is one choice, the argmax of A values; 0 if it is continuous.
        decode: (action [A] in [-1, 1]) -> a new value inside the environment's action space.
    """

    size: int
    num_choices: int
    decode: Callable[[ArrayLike], Any]


def make_codec(space: Space, name: str) -> ActionCodec:
    """Builds the codec of an action space.

    Args:
        space: Box of one or more numbers with finite bounds, Discrete, or MultiDiscrete or MultiBinary with at most
            `MOST_COMBINATIONS` combinations, which become one choice.
        name: of the environment, for error messages.

    Returns:
        ActionCodec. Numbers are scaled to a Box's bounds and, for integers, rounded.

    Raises:
        ValueError: any other space.
    """
    if isinstance(space, Discrete):
        return _choice(int(space.n), lambda index: int(space.start) + index)
    if isinstance(space, MultiDiscrete | MultiBinary):
        return _combination(space, name)
    if not isinstance(space, Box) or space.dtype.kind not in "fiu":
        raise ValueError(
            f"env: {name} has the action space {space}; expected Box, Discrete, MultiDiscrete or MultiBinary. "
            "Wrap it into one of these with gymnasium.wrappers.TransformAction where it is registered."
        )
    if 0 in space.shape:
        raise ValueError(
            f"env: {name} has the action space {space} without any number; expected one or more. Declare what it "
            "takes; an action that changes nothing can be Discrete(1)."
        )
    if not np.all(np.abs([space.low.astype(np.float64), space.high.astype(np.float64)]) < UNBOUNDED):
        raise ValueError(
            f"env: {name} has the unbounded action space {space}, to which [-1, 1] cannot be scaled; expected "
            f"bounds between -{UNBOUNDED:g} and {UNBOUNDED:g}. Give its Box finite bounds such as these, or wrap it "
            "where it is registered: gymnasium.wrappers.TransformAction(env, lambda action: action, Box(low, high, "
            "shape, dtype)) with finite low and high."
        )
    return _scaled(space)


def action_notes(space: Space) -> Iterator[str]:
    """What a user might not expect of how a supported action space is used: one sentence each."""
    if isinstance(space, MultiDiscrete | MultiBinary):
        yield f"the actions {space} are one choice among their {math.prod(_counts(space))} combinations"
    elif isinstance(space, Box) and space.dtype.kind in "iu":
        yield f"the actions {space} are rounded to whole numbers"


def check_actions(actions: ArrayLike, shape: tuple[int, ...]) -> np.ndarray:
    """Validates actions and converts them to float32 in [-1, 1].

    Args:
        actions: [*shape].
        shape: (A,) for one environment, (num_envs, A) for several.

    Raises:
        ValueError: wrong shape, non-finite numbers, or numbers outside [-1, 1].
    """
    given = np.asarray(actions)
    if given.shape != shape or given.dtype.kind in "OSUMmc":  # V: bfloat16
        raise ValueError(
            f"actions: expected float32 {list(shape)}, got {given.dtype} {list(given.shape)}. An agent's act returns "
            "one action [A] for each environment."
        )
    array = given.astype(np.float32)
    if not np.all(np.isfinite(array)):
        raise ValueError("actions: expected finite numbers, got NaN or infinity. Has the policy diverged?")
    if np.any(np.abs(array) > 1.0 + ACTION_TOLERANCE):
        raise ValueError(f"actions: expected numbers in [-1, 1], got {array.min():g} to {array.max():g}. Clip them.")
    return np.clip(array, -1.0, 1.0)


def _choice(num_choices: int, value: Callable[[int], Any]) -> ActionCodec:
    def decode(action: ArrayLike) -> Any:
        return value(int(np.argmax(check_actions(action, (num_choices,)))))

    return ActionCodec(num_choices, num_choices, decode)


def _combination(space: MultiDiscrete | MultiBinary, name: str) -> ActionCodec:
    factors = _counts(space)
    combinations = math.prod(factors)
    start = space.start if isinstance(space, MultiDiscrete) else 0
    if combinations > MOST_COMBINATIONS:
        raise ValueError(
            f"env: {name} has the action space {space} with {combinations} combinations; expected at most "
            f"{MOST_COMBINATIONS}, since agents choose one of them. Wrap it where it is registered, so that fewer are "
            "left: gymnasium.wrappers.TransformAction(env, lambda choice: ACTIONS[choice], Discrete(len(ACTIONS)))."
        )

    def value(index: int) -> np.ndarray:
        return (np.reshape(np.unravel_index(index, factors), space.shape) + start).astype(space.dtype)

    return _choice(combinations, value)


def _counts(space: MultiDiscrete | MultiBinary) -> list[int]:
    return space.nvec.ravel().tolist() if isinstance(space, MultiDiscrete) else [2] * math.prod(space.shape)


def _scaled(space: Box) -> ActionCodec:
    low, high = space.low.astype(np.float64), space.high.astype(np.float64)
    middle, half = (low + high) / 2, (high - low) / 2
    size, whole = math.prod(space.shape), space.dtype.kind in "iu"

    def decode(action: ArrayLike) -> np.ndarray:
        value = middle + half * check_actions(action, (size,)).reshape(space.shape)
        value = np.asarray(np.rint(value) if whole else value, space.dtype)
        return np.asarray(np.clip(value, space.low, space.high))  # rounding may lead outside

    return ActionCodec(size, 0, decode)
