"""Planners: pure functions that are given a model's functions and never import one."""

from collections.abc import Callable
from typing import Any, NamedTuple

from latentplan.planners.cem import CEMConfig, make_cem
from latentplan.types import Planner


class PlannerEntry(NamedTuple):
    """How a planner is configured and built.

    Attributes:
        config: its config dataclass.
        make: (config, action_size, evaluate) -> Planner; see `objectives.Evaluate`.
    """

    config: type
    make: Callable[[Any, int, Any], Planner]


PLANNERS: dict[str, PlannerEntry] = {"cem": PlannerEntry(CEMConfig, make_cem)}
