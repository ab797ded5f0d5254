"""An experiment as data: what one run is made of."""

import math
import re
from dataclasses import asdict, dataclass, field
from typing import Annotated, Literal

import tyro

from latentplan.agents import AgentConfig
from latentplan.agents.planet import PlaNetConfig
from latentplan.driver.provenance import flatten
from latentplan.driver.schedule import RunConfig
from latentplan.envs import suite_name, suite_of
from latentplan.envs.env import EnvConfig
from latentplan.planners import planner_name
from latentplan.replay.ring import ReplayConfig

Preset = Literal[
    "auto", "paper", "cpu", "debug", "dreamer-v1", "dreamer-v2-dmc", "dreamer-v2-atari", "dreamerv3-nature",
    "dreamerv3-arxiv2",
]  # fmt: skip


def eval_every(env: str) -> int:
    """Env_steps between evaluations on two cores: fewer where tasks are learned in fewer."""
    return 2_000 if suite_of(env).short_tasks else 10_000


def published_repeat(env: str, action_repeat: int) -> int | None:
    """A protocol's action repeat, on suites where protocols choose it; elsewhere None, the task's own."""
    return action_repeat if suite_of(env).protocols_choose_repeat else None


PROTOCOL_SUITES = {"dreamer-v2-atari": ("atari",), "dreamerv3-nature": ("dm_control", "atari")}
"""A protocol's name -> the suites it was published for; dm_control alone where nothing is said."""


def published_for(protocol: str, env: str) -> bool:
    """Whether a protocol was published for the suite that an environment belongs to."""
    return suite_name(env) in PROTOCOL_SUITES.get(protocol, ("dm_control",))


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """Train an agent. Any field can be changed; the defaults shown are those of the chosen preset."""

    env: str = "walker_walk"
    """dm_control task as domain_task (walker_walk), gymnasium id (Pendulum-v1, module:Id), Atari game (ALE/Pong-v5) or
    MinAtar game (MinAtarPixels/Breakout-v0)."""
    agent: Literal["planet", "tdmpc", "tdmpc2", "dreamer_v1", "dreamer_v2", "dreamer_v3"] = "planet"
    """What learns. Which settings there are depends on it."""
    preset: Preset = "auto"
    """paper: as published (docs/design.md lists the differences); cpu: smaller, for 2 cores; debug: everything once;
    auto: paper or cpu. A protocol's name chooses the agent, too."""
    size: str = ""
    """Named size of the model, over the preset's: tdmpc2 has 1M, 5M, 19M, 48M and 317M, dreamer_v3 1M, 12M, 25M,
    50M, 100M, 200M and 400M, the others none."""
    logdir: str = ""
    """Folder of this run; the same folder resumes it. Empty: runs/ENV-AGENT-PRESET-OBS-seedN."""
    environment: Annotated[EnvConfig, tyro.conf.arg(name="")] = field(default_factory=EnvConfig)
    """How the environment is presented."""
    run: Annotated[RunConfig, tyro.conf.arg(name="")] = field(default_factory=RunConfig)
    """Schedule."""
    replay: ReplayConfig = field(default_factory=ReplayConfig)
    """Replay memory."""
    planner: Literal["cem", "icem", "mppi", "gradient", "shooting", "policy"] = "cem"
    """What plans. Its own settings are --planner.NAME; which there are depends on it."""
    agent_config: Annotated[AgentConfig, tyro.conf.arg(name="")] = field(default_factory=PlaNetConfig)
    """The agent's parts."""

    def __post_init__(self) -> None:
        """Refuses what no comparison with a bound would: nan."""
        for name, value in flatten(asdict(self)).items():
            if isinstance(value, float) and math.isnan(value):
                option = re.sub("^(agent_config|environment|run)[.]", "", name)
                raise ValueError(f"{option}: expected a number, got nan")

    def folder(self) -> str:
        """The run's folder: `logdir`, or a name made of what was chosen."""
        own = planner_name(self.agent_config.planner) == planner_name(type(self.agent_config)().planner)
        agent = "-".join(x for x in (self.agent, self.size, "" if own else self.planner) if x)
        name = f"{self.env}-{agent}-{self.preset}-{self.environment.obs}-seed{self.run.seed}"
        return self.logdir or f"runs/{name.replace(':', '.').replace('/', '.')}"
