"""The base class of planner configs."""

from dataclasses import dataclass

from latentplan.config import Config, PositiveInt


@dataclass(frozen=True, kw_only=True)
class PlannerConfig(Config):
    """Base class of planner configs."""

    horizon: PositiveInt = 12
    """H, planning horizon in decisions."""

    @property
    def evaluations(self) -> int:
        """Number of action sequences evaluated per plan."""
        raise NotImplementedError(f"{type(self).__name__}.evaluations")
