"""The spaces of observations and actions."""

import math
from collections.abc import Mapping
from numbers import Integral
from typing import Any, NamedTuple


class ArraySpec(NamedTuple):
    """The space of one observation or one action.

    Attributes:
        shape: (height, width, channels) for an image, (n,) for a vector.
        dtype: "uint8" for images, "float32" for vectors and actions.
        num_choices: for actions only: the number of choices of a discrete action (a one-hot vector); 0 if continuous.
    """

    shape: tuple[int, ...]
    dtype: str = "float32"
    num_choices: int = 0

    @property
    def is_image(self) -> bool:
        """Whether the shape is that of an image, [height, width, channels]."""
        return len(self.shape) == 3


class EnvSpec(NamedTuple):
    """An environment's observation and action spaces and timing: all an agent needs to know of it.

    Attributes:
        observations: name -> space of an observation, an image or a vector, in the order in which models encode them.
        actions: name -> space of an action. They are concatenated into the flat action [A], in [-1, 1].
        action_repeat: simulator control steps per decision.
        max_decisions: an episode's time limit in decisions; None if there is no limit.
    """

    observations: Mapping[str, ArraySpec]
    actions: Mapping[str, ArraySpec]
    action_repeat: int = 1
    max_decisions: int | None = None

    @classmethod
    def single(
        cls,
        shape: tuple[int, ...],
        dtype: str = "float32",
        *,
        action_size: int,
        action_repeat: int = 1,
        max_decisions: int | None = None,
        discrete: bool = False,
    ) -> "EnvSpec":
        """An environment with one observation, named "image" or "state", and one action, named "action".

        Args:
            shape: of the observation.
            dtype: of the observation.
            action_size: A, dimensions or choices.
            action_repeat: control steps per decision.
            max_decisions: the time limit of an episode.
            discrete: whether an action is one of A choices.

        Returns:
            EnvSpec.

        Raises:
            ValueError: the shape is no tuple of whole numbers, or there is no action.

        Examples:
            >>> EnvSpec.single((24,), action_size=6).observations
            {'state': ArraySpec(shape=(24,), dtype='float32', num_choices=0)}
        """
        if not (isinstance(shape, tuple | list) and all(isinstance(n, Integral) for n in shape)):
            raise ValueError(f"shape: expected a tuple such as (5,) or (64, 64, 3), got {shape!r}")
        if not isinstance(action_size, Integral) or action_size < 1:
            raise ValueError(f"action_size: expected a whole number, at least 1, got {action_size!r}")
        shape, action_size = tuple(map(int, shape)), int(action_size)
        observation = ArraySpec(shape, dtype)
        action = ArraySpec((action_size,), "float32", action_size if discrete else 0)
        name = "image" if observation.is_image else "state"
        return cls({name: observation}, {"action": action}, action_repeat, max_decisions)

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> "EnvSpec":
        """Rebuilds a spec from the output of `to_fields`.

        Raises:
            ValueError: it is something else.
        """
        try:
            spaces = {kind: _read_spaces(fields[kind]) for kind in ("observations", "actions")}
            spec = cls(**{**fields, **spaces})
            whole = (spec.action_repeat, 1 if spec.max_decisions is None else spec.max_decisions)
            if not all(type(n) is int and n >= 1 for n in whole):
                raise TypeError(f"action_repeat or max_decisions of {whole}")
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"spec: expected the fields of an EnvSpec, got others ({error!r})") from error
        return spec

    def to_fields(self) -> dict[str, object]:
        """The fields as plain values that survive a round trip through JSON."""

        def plain(spaces: Mapping[str, ArraySpec]) -> dict[str, object]:
            return {name: space._asdict() | {"shape": list(space.shape)} for name, space in spaces.items()}

        return self._asdict() | {"observations": plain(self.observations), "actions": plain(self.actions)}

    def __hash__(self) -> int:
        """So that a spec can be a static argument of jit, and a key; dictionaries alone cannot."""
        spaces = (frozenset(self.observations.items()), frozenset(self.actions.items()))
        return hash((*spaces, self.action_repeat, self.max_decisions))

    @property
    def action_size(self) -> int:
        """A, the size of the flat action."""
        return sum(math.prod(action.shape) for action in self.actions.values())

    @property
    def discrete(self) -> bool:
        """Whether the action is one choice, as a one-hot vector.

        Raises:
            ValueError: there are several actions and at least one is discrete; no planner or policy here samples those.
        """
        choices = [name for name, action in self.actions.items() if action.num_choices]
        if choices and len(self.actions) > 1:
            raise ValueError(
                "actions: expected one discrete action, or continuous ones only, got discrete "
                f"{', '.join(choices)} among {len(self.actions)} actions; merge them into one discrete action over "
                "their combinations"
            )
        return bool(choices)

    def check_names(self, observation: Mapping[str, Any]) -> None:
        """Refuses observations that do not have the names of `observations`.

        Raises:
            ValueError: it is no dictionary, or entries are missing or unknown.
        """
        expected = ", ".join(self.observations)
        if not isinstance(observation, Mapping):
            raise ValueError(
                f"observation: expected a dictionary with {expected}, got {type(observation).__name__}; "
                "give each observation under its name in EnvSpec.observations"
            )
        if set(observation) != set(self.observations):
            raise ValueError(f"observation: expected {expected}, got {', '.join(observation)}; rename its entries")

    @property
    def images(self) -> tuple[str, ...]:
        """The names of the observations that are images."""
        return tuple(name for name, space in self.observations.items() if space.is_image)


def _read_spaces(fields: Mapping[str, Any]) -> dict[str, ArraySpec]:
    """Spaces by name from their fields; raises TypeError or KeyError if they are none."""
    spaces = {name: ArraySpec(tuple(x["shape"]), x["dtype"], x["num_choices"]) for name, x in fields.items()}
    for space in spaces.values():
        whole = (*space.shape, space.num_choices)
        if space.dtype not in ("uint8", "float32") or not all(type(n) is int and n >= 0 for n in whole):
            raise TypeError(f"{space}")
    return spaces
