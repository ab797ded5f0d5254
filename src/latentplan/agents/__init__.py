"""Agents: compositions of a world model, losses, a planner and optimisers."""

from collections.abc import Callable
from typing import Any, NamedTuple

from latentplan.agents.config import AgentConfig
from latentplan.agents.dreamer.v1 import DreamerV1Config, make_dreamer_v1
from latentplan.agents.dreamer.v2 import DreamerV2Config, make_dreamer_v2
from latentplan.agents.dreamer.v3 import DreamerV3Config, make_dreamer_v3
from latentplan.agents.planet import PlaNetConfig, make_planet
from latentplan.agents.tdmpc.v1 import TDMPCConfig, make_tdmpc
from latentplan.agents.tdmpc.v2 import TDMPC2Config, make_tdmpc2
from latentplan.checks import call_problem, expect_type
from latentplan.config import entry_name
from latentplan.registry import Registry, config_problem
from latentplan.types import Agent, EnvSpec


class AgentEntry(NamedTuple):
    """Registry entry of an agent: its config and its builder.

    Attributes:
        config: its config dataclass.
        make: (config, spec) -> Agent.
        has_policy: whether it learns a policy, which can act on its own and supply candidates to planners.
    """

    config: type[AgentConfig]
    make: Callable[[Any, EnvSpec], Agent]
    has_policy: bool = False

    def problem(self) -> str:
        """What keeps the entry from being used; "" if nothing does."""
        call = call_problem(self.make, ("config", "spec"))
        return config_problem(self.config, AgentConfig) or (call and f"make: {call}; correct its arguments")


AGENTS = Registry(
    "AGENTS",
    AgentEntry,
    {
        "dreamer_v1": AgentEntry(DreamerV1Config, make_dreamer_v1, has_policy=True),
        "dreamer_v2": AgentEntry(DreamerV2Config, make_dreamer_v2, has_policy=True),
        "dreamer_v3": AgentEntry(DreamerV3Config, make_dreamer_v3, has_policy=True),
        "planet": AgentEntry(PlaNetConfig, make_planet),
        "tdmpc": AgentEntry(TDMPCConfig, make_tdmpc, has_policy=True),
        "tdmpc2": AgentEntry(TDMPC2Config, make_tdmpc2, has_policy=True),
    },
)
"""Name -> agent. Its presets are in `presets.PRESETS`, under the same name."""


def make_agent(config: AgentConfig, spec: EnvSpec) -> Agent:
    """Builds the agent that a config describes, as pure functions.

    Args:
        config: of any agent in `AGENTS`: `PlaNetConfig`, `DreamerV3Config`, `TDMPC2Config`, ...
        spec: of the environment's observations and actions.

    Returns:
        Agent. Jit `act` (with static `mode`) and the updates.

    Raises:
        ValueError: the config is of no agent, or does not support this environment.

    Examples:
        >>> import jax
        >>> from latentplan.models.world_model import WorldModelConfig
        >>> from latentplan.planners import CEMConfig
        >>> small = WorldModelConfig(deter=8, stoch=4, hidden=8)
        >>> planner = CEMConfig(horizon=3, num_candidates=20, num_elites=5)
        >>> spec = EnvSpec.single((5,), action_size=2, action_repeat=1, max_decisions=None)
        >>> agent = make_agent(PlaNetConfig(model=small, planner=planner), spec)
        >>> params, carry = agent.init(jax.random.key(0)).params, agent.initial(3)
        >>> observation, is_first = {"state": jax.numpy.ones((3, 5))}, jax.numpy.ones(3, bool)
        >>> action, carry, info = agent.act(params, carry, observation, is_first, jax.random.key(1), mode="eval")
        >>> action.shape
        (3, 2)
    """
    name = agent_name(config)
    expect_type("spec", spec, EnvSpec, "give that of the environment, as from EnvSpec.single")
    agent = AGENTS[name].make(config, spec)
    expect_type(f"AGENTS[{name!r}].make", agent, Agent, "return Agent(init=..., initial=..., act=..., ...)")
    return agent


def agent_name(config: AgentConfig) -> str:
    """The registry name of a config's agent.

    Raises:
        ValueError: it is the config of no agent in `AGENTS`.
    """
    return entry_name("agent", AGENTS, config)
