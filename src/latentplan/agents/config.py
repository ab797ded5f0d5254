"""Settings that agents share."""

from dataclasses import dataclass, field

from jaxtyping import Float, Int

from latentplan.config import Config, NonNegativeFloat, PositiveInt
from latentplan.losses.kl import Schedule, annealed
from latentplan.planners import AnyPlanner
from latentplan.planners.cem import CEMConfig
from latentplan.types import Array


@dataclass(frozen=True, kw_only=True)
class AgentConfig(Config):
    """Base class of agent configs: every agent acts through a planner, which may be its learned policy."""

    planner: AnyPlanner = field(default_factory=CEMConfig)
    """The planner that selects actions."""


@dataclass(frozen=True, kw_only=True)
class KLWeightConfig(Config):
    """Weight of every KL term, over the updates. Defaults: 1, as in the bound."""

    weight: NonNegativeFloat = 1.0
    """Final weight. 1 is the variational bound, 0 trains by reconstruction alone; above 1: beta-VAE (Higgins et al.
    2017)."""
    schedule: Schedule = "constant"
    """linear: grows from 0 over `length`. cyclical: every `length`, it grows from 0 in the first half and stays in the
    second."""
    length: PositiveInt = 10_000
    """Length of the warm-up or of a cycle, in updates."""

    def after(self, updates: Int[Array, ""] | int) -> Float[Array, ""] | float:
        """The weight after a number of updates; as `losses.kl.annealed`."""
        return annealed(self.weight, self.schedule, self.length, updates)
