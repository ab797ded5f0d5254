"""Diagnostics, their input and their results."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax

from latentplan.types.arrays import Array, Key, Params
from latentplan.types.records import Batch


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Evidence:
    """The input of diagnostics: a batch of padded episodes. Context and length are static under tracing.

    Attributes:
        batch: [T, B, ...]. Episodes differ in length: records between an `is_last` and the next `is_first` are padding.
        infos: name -> [T, B, ...], the agent's info at each record; zeros where it made no decision.
        context: number of observed steps before an open-loop prediction.
        length: total number of steps of an open-loop prediction, context included.
    """

    batch: Batch
    infos: dict[str, Any] = field(default_factory=dict)
    context: int = field(default=5, metadata={"static": True})
    length: int = field(default=50, metadata={"static": True})

    @property
    def valid(self) -> Any:
        """[T, B] bool, whether a record belongs to an episode rather than to padding."""
        first, last = (flag.astype("int32") for flag in (self.batch.is_first, self.batch.is_last))
        ended, begun = last.cumsum(0) - last, first.cumsum(0) - first[:1]
        return ended <= begun


class Measurement(NamedTuple):
    """The result of a diagnostic.

    Attributes:
        numbers: name -> a scalar or a vector.
        picture: a pytree of arrays to draw; None if there is nothing to draw.
    """

    numbers: dict[str, Array]
    picture: Any = None


class Diagnostic(NamedTuple):
    """A measurement of an agent. Its results are logged under its name in `Agent.diagnostics`.

    Attributes:
        measure: (params, Evidence, key) -> Measurement; pure, and jitted by the driver.
        select: (Evidence) -> the part that `measure` needs; None if there is nothing to measure. It runs on the host,
            to limit transfers to the device and the number of compiled shapes.
        drawing: the name in the driver's DRAWINGS of the function that draws the picture; None without a picture.
    """

    measure: Callable[[Params, Evidence, Key], Measurement]
    select: Callable[[Evidence], Evidence | None] = lambda evidence: evidence
    drawing: str | None = None


class OpenLoop(NamedTuple):
    """An open-loop prediction beside the truth, in the environment's units.

    Attributes:
        true_observation, predicted_observation: by name [T, B, *shape]; pixels as float32 in [0, 1]. The prediction is
            None if the model has no decoder.
        true_reward, predicted_reward: [T, B].
    """

    true_observation: dict[str, Array]
    predicted_observation: dict[str, Array] | None
    true_reward: Array
    predicted_reward: Array


class ImaginedTrajectory(NamedTuple):
    """The model's predictions along a policy's imagined trajectory, in the environment's units.

    Attributes:
        observation: by name [T, B, *shape]; pixels as float32 in [0, 1]. None if the model has no decoder.
        reward: [T, B].
    """

    observation: dict[str, Array] | None
    reward: Array
