"""The base class of agent configs."""

from dataclasses import dataclass, field

from latentplan.config import Config
from latentplan.planners import AnyPlanner
from latentplan.planners.cem import CEMConfig


@dataclass(frozen=True, kw_only=True)
class AgentConfig(Config):
    """Base class of agent configs: every agent acts through a planner, which may be its learned policy."""

    planner: AnyPlanner = field(default_factory=CEMConfig)
    """The planner that selects actions."""
