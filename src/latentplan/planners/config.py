"""What the configs of all planners have in common."""

from dataclasses import dataclass

from latentplan.config import Config, PositiveInt


@dataclass(frozen=True, kw_only=True)
class PlannerConfig(Config):
    """Base of all planners' configs."""

    horizon: PositiveInt = 12
    """H, planning horizon in decisions."""

    @property
    def evaluations(self) -> int:
        """Sequences that the model rolls per plan."""
        raise NotImplementedError(f"{type(self).__name__}.evaluations")
