"""Planners: pure functions that are given a model's functions and never import one."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from latentplan.planners.cem import CEMConfig, make_cem
from latentplan.types import Array, Belief, Key, Params, Planner, PlanOutput


class PlannerEntry(NamedTuple):
    """How a planner is configured and built.

    Attributes:
        config: its config dataclass.
        make: (config, action_size, evaluate) -> Planner; see `objectives.Evaluate`.
    """

    config: type
    make: Callable[[Any, int, Any], Planner]


PLANNERS: dict[str, PlannerEntry] = {"cem": PlannerEntry(CEMConfig, make_cem)}


def for_each_belief(planner: Planner) -> Planner:
    """Plans for many beliefs in one call: all at once, or on CPU, where one plan fills the cores, one after another.

    Args:
        planner: for one belief.

    Returns:
        (params, beliefs [B, ...], keys [B], warm_starts [B, H, A] or None) -> PlanOutput, each field [B, ...].
    """

    def plan(params: Params, beliefs: Belief, keys: Key, warm_starts: Array | None = None) -> PlanOutput:
        rows = (beliefs, keys, warm_starts)
        return jax.lax.platform_dependent(
            params,
            rows,
            cpu=lambda params, rows: jax.lax.map(lambda row: planner(params, *row), rows),
            default=lambda params, rows: jax.vmap(lambda row: planner(params, *row))(rows),
        )

    return plan
