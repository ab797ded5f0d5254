"""Planners and their output."""

from typing import NamedTuple, Protocol, runtime_checkable

from latentplan.types.arrays import AnyBelief, Array, Key, Params, WarmStart


class PlanOutput(NamedTuple):
    """What a planner returns for one belief.

    Attributes:
        action: [A], the action to take now.
        plan: [H, A], the action sequence the planner settled on.
        warm_start: an optional input to the next call; a pytree of arrays in which zeros mean "no plan yet".
        info: scalars and small arrays that describe the search, for logging.
    """

    action: Array
    plan: Array
    warm_start: WarmStart
    info: dict[str, Array]


@runtime_checkable
class Planner(Protocol):
    """Plans for one belief; `jax.vmap` it, or `planners.for_each_belief`, over beliefs.

    Its objective and its action space are fixed when it is built, by `planners.make_planner`.
    """

    def __call__(self, params: Params, belief: AnyBelief, key: Key, warm_start: WarmStart = None, /) -> PlanOutput:
        """Plans the next H decisions.

        Args:
            params: of the model, and of any value function or policy that the planner uses.
            belief: the belief now, without batch axis; any pytree of arrays.
            key: for sampling candidates and model states.
            warm_start: from the last decision's `PlanOutput`, or zeros of its shapes; None plans from scratch.

        Returns:
            PlanOutput.
        """
