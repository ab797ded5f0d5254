"""Agents: compositions of a model, losses, a planner and an optimiser."""

from collections.abc import Callable
from typing import Any, NamedTuple

from latentplan.agents.dreamer.v1 import DreamerV1Config, make_dreamer_v1
from latentplan.agents.dreamer.v2 import DreamerV2Config, make_dreamer_v2
from latentplan.agents.dreamer.v3 import DreamerV3Config, make_dreamer_v3
from latentplan.agents.planet import PlaNetConfig, make_planet
from latentplan.agents.tdmpc.v1 import TDMPCConfig, make_tdmpc
from latentplan.agents.tdmpc.v2 import TDMPC2Config, make_tdmpc2
from latentplan.types import Agent


class AgentEntry(NamedTuple):
    """How an agent is configured and built.

    Attributes:
        config: its config dataclass.
        make: (config, spec) -> Agent.
    """

    config: type
    make: Callable[[Any, Any], Agent]


AGENTS: dict[str, AgentEntry] = {
    "dreamer_v1": AgentEntry(DreamerV1Config, make_dreamer_v1),
    "dreamer_v2": AgentEntry(DreamerV2Config, make_dreamer_v2),
    "dreamer_v3": AgentEntry(DreamerV3Config, make_dreamer_v3),
    "planet": AgentEntry(PlaNetConfig, make_planet),
    "tdmpc": AgentEntry(TDMPCConfig, make_tdmpc),
    "tdmpc2": AgentEntry(TDMPC2Config, make_tdmpc2),
}
AgentConfig = DreamerV1Config | DreamerV2Config | DreamerV3Config | PlaNetConfig | TDMPCConfig | TDMPC2Config
