"""Agents: compositions of a model, losses, a planner and an optimiser."""

from collections.abc import Callable
from typing import Any, NamedTuple

from latentplan.agents.planet import PlaNetConfig, make_planet
from latentplan.types import Agent


class AgentEntry(NamedTuple):
    """How an agent is configured and built.

    Attributes:
        config: its config dataclass.
        make: (config, spec) -> Agent.
    """

    config: type
    make: Callable[[Any, Any], Agent]


AGENTS: dict[str, AgentEntry] = {"planet": AgentEntry(PlaNetConfig, make_planet)}
