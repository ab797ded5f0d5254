"""The boundary between environments and this library, where both directions are checked against the declared spaces.

Actions leave as values of the environment's own action space. Observations, rewards and rendered frames are compared
with what the environment declares when they arrive, and copied, since an environment may reuse its arrays.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Tuple
from numpy.typing import ArrayLike

from latentplan.envs.actions import make_codec
from latentplan.envs.images import WHAT_IS_AN_IMAGE
from latentplan.envs.wrappers import Reset, Stepped

Path = tuple[Any, ...]
"""The keys that lead to an entry inside nested dictionaries and tuples; () is the whole observation."""

EVERYTHING: Collection[Path] = ((),)
"""Where the whole observation is used."""

_SHOWN = 4  # values of an array in a message, at most


class SpaceMismatch(ValueError):
    """An environment returned something other than it declares. The message is one line: declared, got, what to do."""


class Boundary(gymnasium.Wrapper):
    """Takes float32 actions [A] in [-1, 1]; returns checked copies of what the environment returns.

    Args:
        env: the environment as its authors wrote it, one control step per `step`.
        name: its name, for error messages.
        used: the entries of its observations that are used; the others are neither checked nor passed on.
        notes: what a user might not expect of how it is used, in sentences; kept for `env.env_notes`.

    Attributes:
        num_choices: A if an action is one choice, the argmax of A values; 0 if it is continuous.
        notes: as given.

    Raises:
        ValueError: the action space is not supported.
    """

    def __init__(
        self, env: gymnasium.Env, name: str, *, used: Collection[Path] = EVERYTHING, notes: Sequence[str] = ()
    ):
        super().__init__(env)
        codec = make_codec(env.action_space, name)
        self.action_space = Box(-1.0, 1.0, (codec.size,), np.float32)
        self.num_choices, self._decode = codec.num_choices, codec.decode
        self.notes = tuple(notes)
        self._name, self._used = name, used
        self._frame_shape: tuple[int, ...] | None = None

    def reset(self, *, seed: int | None = None, options: dict[str, object] | None = None) -> Reset:
        """Starts an episode.

        Raises:
            SpaceMismatch: the observation is not what the environment declares.
        """
        result: Any = self.env.reset(seed=seed, options=options)
        observation, info = self._unpacked("reset", result, "an observation and an info")
        return self._received(observation), info

    def step(self, action: ArrayLike) -> Stepped:
        """One control step.

        Raises:
            SpaceMismatch: the observation is not what the environment declares, or the reward is not one number.
        """
        result: Any = self.env.step(self._decode(action))
        values = self._unpacked("step", result, "observation, reward, terminated, truncated and info")
        observation, reward, terminated, truncated, info = values
        ends = [bool(self._single(*flag)) for flag in (("terminated", terminated), ("truncated", truncated))]
        return self._received(observation), float(self._single("reward", reward)), *ends, info

    def render(self) -> Any:
        """A frame, an image of any layout.

        Raises:
            SpaceMismatch: it is no image, or of another shape than the first one.
        """
        frame: Any = self.env.render()
        is_image = isinstance(frame, np.ndarray) and frame.dtype == np.uint8 and frame.ndim in (2, 3)
        if not is_image or frame.shape != (self._frame_shape or frame.shape):
            expected = f"uint8 {list(self._frame_shape)}, as the first" if self._frame_shape else WHAT_IS_AN_IMAGE
            raise SpaceMismatch(
                f"obs: {self._name} renders {described(frame)}; expected {expected}. "
                "Use obs=state, or convert what its render returns."
            )
        self._frame_shape = frame.shape
        return frame.copy()

    def _received(self, observation: object) -> object:
        if not self._used:
            return observation
        return received(self.env.observation_space, observation, self._refuse, used=self._used)

    def _refuse(self, where: str, declared: object, got: object) -> SpaceMismatch:
        return SpaceMismatch(
            f"env: {self._name} returned the observation{where} {described(got)}; expected {declared}, as its "
            "observation_space says. Return that, or declare what is returned."
        )

    def _unpacked(self, method: str, result: object, expected: str) -> tuple:
        count = 2 if method == "reset" else 5
        if isinstance(result, tuple) and len(result) == count:
            return result
        got = f"{len(result)} values" if isinstance(result, tuple) else f"one value, {type(result).__name__}"
        raise SpaceMismatch(
            f"env: {self._name}'s {method} returned {got}; expected {count}: {expected}. "
            "Return these, as gymnasium's interface asks for; gym's older one had fewer."
        )

    def _single(self, what: str, value: object) -> Any:
        """A number or flag as a Python value; an array of one element counts as one."""
        array = _as_array(value)
        if array is not None and array.size == 1 and array.dtype.kind in "biuf":
            return array.item()
        raise SpaceMismatch(
            f"env: {self._name} returned the {what} {described(value)}; expected one number. "
            "Return one, for example the sum, if there are several."
        )


def received(
    space: Any,
    value: object,
    refuse: Callable[[str, object, object], Exception],
    where: str = "",
    used: Collection[Path] = EVERYTHING,
) -> Any:
    """A copy of an observation, with the types of its space.

    Numbers may come in another precision (float64 for float32) or as Python numbers, integers if nothing is lost, and
    integers for floats. Bounds are not checked, except for discrete values, whose one-hot vectors depend on them.

    Args:
        space: as declared.
        value: as returned.
        refuse: (where, declared, got) -> the exception to raise.
        where: the place within the observation, "['camera']".
        used: the entries that are used, by their keys from this place on.

    Returns:
        New arrays, in dictionaries and tuples as in the space; what is not used is left out, or None in a tuple.

    Raises:
        Exception: `refuse`'s, where the observation does not have the structure, a shape or a dtype of its space.
    """
    if isinstance(space, Dict):
        inner = _inside(space.spaces, used)
        if not isinstance(value, Mapping) or not set(inner) <= set(value) or (() in used and len(value) > len(inner)):
            raise refuse(where, space, value)
        return {key: received(space[key], value[key], refuse, f"{where}[{key!r}]", x) for key, x in inner.items()}
    if isinstance(space, Tuple):
        if not isinstance(value, tuple | list) or len(value) != len(space.spaces):
            raise refuse(where, space, value)
        inner = _inside(range(len(value)), used)
        copies = {i: received(space[i], value[i], refuse, f"{where}[{i}]", x) for i, x in inner.items()}
        return tuple(copies.get(i) for i in range(len(value)))
    array = _as_array(value)
    if array is None or array.shape != space.shape or not np.can_cast(array.dtype, space.dtype, "same_kind"):
        raise refuse(where, space, value)
    copy = array.astype(space.dtype)
    unchanged = copy.dtype == array.dtype or copy.dtype.kind not in "iu" or np.array_equal(copy, array)
    if not unchanged or not (isinstance(space, Box) or space.contains(copy[()] if space.shape == () else copy)):
        raise refuse(where, space, value)
    return copy


def _inside(keys: Iterable[Any], used: Collection[Path]) -> dict[Any, Collection[Path]]:
    """The keys that lead to what is used -> where it is from there on."""
    if () in used:
        return dict.fromkeys(keys, EVERYTHING)
    inner = {key: [path[1:] for path in used if path[0] == key] for key in keys}
    return {key: paths for key, paths in inner.items() if paths}


def _as_array(value: object) -> np.ndarray | None:
    """As an array; None for what is none, such as rows of different lengths."""
    try:
        return np.asarray(value)
    except (ValueError, TypeError):
        return None


def described(value: object) -> str:
    """A short description for an error message."""
    if isinstance(value, Mapping):
        return f"a dictionary with {', '.join(map(repr, value)) or 'nothing'}"
    if isinstance(value, tuple):
        return f"a tuple of {len(value)}"
    array = _as_array(value)
    if array is None or array.dtype.kind not in "biufc":
        return f"{type(value).__name__} {value!r}"[:80]
    shown = f" = {array.tolist()}" if array.size <= _SHOWN else ""
    return f"{array.dtype} {list(array.shape)}{shown}"
