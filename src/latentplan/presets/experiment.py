"""The config of an experiment: environment, agent, schedule and replay."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from latentplan.agents import AGENTS, AgentConfig
from latentplan.agents.planet import PlaNetConfig
from latentplan.config import Config, ConfigOf, OneOf, Share
from latentplan.driver.schedule import RunConfig
from latentplan.envs import suite_of
from latentplan.envs.env import EnvConfig
from latentplan.extensions import IMPORTS
from latentplan.planners import PLANNERS, planner_name
from latentplan.replay.ring import ReplayConfig

FLAT = "flat"
"""Annotates a config whose fields are settings of the experiment: on the command line its name is no part of theirs."""


class Alias(str):
    """Annotates a field with a further name of its option on the command line, for names that Python reserves."""


def _presets() -> list[str]:
    from latentplan.presets import PRESETS  # which is made of functions that build experiments

    return ["auto", *dict.fromkeys(name for each in PRESETS.values() for name in each.all)]


def _sizes() -> list[str]:
    from latentplan.presets import PRESETS

    return list(dict.fromkeys(name for each in PRESETS.values() for name in each.sizes))


def eval_every(env: str) -> int:
    """Evaluation interval in env_steps on two cores; shorter for suites of short tasks."""
    return 2_000 if suite_of(env).short_tasks else 10_000


def published_repeat(env: str, action_repeat: int) -> int | None:
    """A protocol's action repeat, for suites where protocols set it; otherwise None, the task's own."""
    return action_repeat if suite_of(env).protocols_choose_repeat else None


@dataclass(frozen=True, kw_only=True)
class Experiment(Config):
    """Train an agent. Any field can be changed; the defaults shown are those of the chosen preset."""

    env: str = "walker_walk"
    """dm_control task as domain_task (walker_walk), gymnasium id (Pendulum-v1, module:Id), Atari game (ALE/Pong-v5) or
    MinAtar game (MinAtarPixels/Breakout-v0)."""
    agent: Annotated[str, OneOf(AGENTS)] = "planet"
    """The agent to train. It determines which settings are available."""
    preset: Annotated[str, OneOf(_presets)] = "auto"
    """paper: the published sizes and schedule; cpu: smaller, for 2 cores; debug: a quick smoke test; auto: paper if JAX
    has an accelerator, else cpu. A protocol's name also selects the agent."""
    size: Annotated[str, OneOf(_sizes, "")] = ""
    """Named model size that overrides the preset's; each agent has its own names, or none. Empty: the preset's."""
    logdir: str = ""
    """Folder of this run; the same folder resumes it. Empty: runs/ENV-AGENT-PRESET-OBS-seedN, where a size and
    another planner than the agent's own join AGENT: planet-icem."""
    imports: Annotated[tuple[str, ...], IMPORTS] = ()
    """A module to import first, which registers planners, agents, dynamics, environments or measurements of your own;
    repeat the option for several. It is stored in config.json, and to be given again where the run is evaluated."""
    data: str = ""
    """Recorded episodes to learn from: a folder, file or pattern of .npz or HDF5 files, another run's folder, or the
    name of a Minari data set. Without an environment, only this data is learned from. Empty: none."""
    data_held_out: Share = 0.1
    """Share of these episodes that are not learned from, but predicted at every evaluation."""
    from_run: Annotated[str, Alias("from")] = ""
    """Folder of another run, whose newest parameters this run starts from. Empty: random parameters."""
    from_parts: Literal["all", "world_model"] = "all"
    """What to take from that run: all parts of the agent, or only its world model."""
    environment: Annotated[EnvConfig, FLAT] = field(default_factory=EnvConfig)
    """Environment settings."""
    run: Annotated[RunConfig, FLAT] = field(default_factory=RunConfig)
    """Schedule."""
    replay: ReplayConfig = field(default_factory=ReplayConfig)
    """Replay memory."""
    planner: Annotated[str, OneOf(PLANNERS)] = "cem"
    """The planner. It determines which planner settings are available."""
    agent_config: Annotated[AgentConfig, ConfigOf(AGENTS), FLAT] = field(default_factory=PlaNetConfig)
    """Agent settings."""

    def folder(self) -> str:
        """The run's folder: `logdir`, or a name composed of the main choices."""
        own = planner_name(self.agent_config.planner) == planner_name(type(self.agent_config)().planner)
        agent = "-".join(x for x in (self.agent, self.size, "" if own else self.planner) if x)
        obs = self.environment.obs.replace(",", "+").replace("*", "")
        name = f"{self.env}-{agent}-{self.preset}-{obs}-seed{self.run.seed}"
        return self.logdir or f"runs/{name.replace(':', '.').replace('/', '.')}"
