"""What the configs of all agents have in common."""

from dataclasses import dataclass, field

from latentplan.config import Config
from latentplan.planners import AnyPlanner
from latentplan.planners.cem import CEMConfig


@dataclass(frozen=True, kw_only=True)
class AgentConfig(Config):
    """Base of all agents' configs: an agent acts by a planner, which may be its learned policy."""

    planner: AnyPlanner = field(default_factory=CEMConfig)
    """The planner that acts."""
