"""Experiments as data: what one run is made of, and the presets it starts from."""

from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

import jax
import tyro

from latentplan.agents.planet import LossConfig, PlaNetConfig
from latentplan.driver.env import EnvConfig
from latentplan.driver.replay import ReplayConfig
from latentplan.driver.schedule import RunConfig
from latentplan.models.world_model import WorldModelConfig
from latentplan.planners import PLANNERS
from latentplan.planners.cem import CEMConfig

Preset = Literal["auto", "paper", "cpu", "debug"]


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """Train an agent. Any field can be changed; the defaults shown are those of the chosen preset."""

    env: str = "walker_walk"
    """dm_control task as domain_task (walker_walk, cup_catch), or gymnasium id (Pendulum-v1, module:Id)."""
    agent: Literal["planet"] = "planet"
    """What learns."""
    preset: Preset = "auto"
    """paper: PlaNet v5 to the letter; cpu: smaller, for 2 cores; debug: everything once; auto: paper or cpu."""
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
    agent_config: Annotated[PlaNetConfig, tyro.conf.arg(name="")] = field(default_factory=PlaNetConfig)
    """The agent's parts."""

    def folder(self) -> str:
        """The run's folder: `logdir`, or a name made of what was chosen."""
        name = f"{self.env}-{self.agent}-{self.preset}-{self.environment.obs}-seed{self.run.seed}"
        return self.logdir or f"runs/{name.replace(':', '.').replace('/', '.')}"


def resolve_preset(preset: str) -> tuple[str, str]:
    """What `auto` stands for here.

    Returns:
        (preset, why): the preset to use and a sentence that says so.
    """
    devices = ", ".join(sorted({f"{d.platform} ({d.device_kind})" for d in jax.devices()}))
    if preset != "auto":
        return preset, f"preset {preset}, as asked for; JAX runs on {devices}"
    chosen = "cpu" if jax.default_backend() == "cpu" else "paper"
    seen = "sees no accelerator" if chosen == "cpu" else "sees an accelerator"
    return chosen, f"preset auto -> {chosen}: JAX {seen}, it runs on {devices}"


def make_preset(preset: str, env: str, obs: str, planner: str = "cem") -> Experiment:
    """The experiment a preset stands for.

    Args:
        preset: paper, cpu or debug.
        env: the environment's name.
        obs: pixels or state.
        planner: a name in `PLANNERS`.

    Returns:
        Experiment, to be changed by the command line.
    """
    presets = {"paper": lambda paper: paper, "cpu": _cpu, "debug": _debug}
    if preset not in presets:
        raise ValueError(f"preset: expected auto, paper, cpu or debug, got {preset!r}")
    if planner not in PLANNERS:
        raise ValueError(f"planner: expected one of {', '.join(PLANNERS)}, got {planner!r}")
    paper = Experiment(env=env, preset=preset, environment=EnvConfig(obs=obs))  # type: ignore[arg-type]
    experiment = presets[preset](paper)
    if planner == "cem":
        return experiment
    sizes = {"paper": {}, "cpu": _CPU_PLANNERS, "debug": _DEBUG_PLANNERS}[preset].get(planner, {})
    agent = replace(experiment.agent_config, planner=PLANNERS[planner].config(**sizes))
    return replace(experiment, planner=planner, agent_config=agent)


# The other planners at the cpu preset: as many evaluations as its CEM has (600), iCEM a fifth of them.
_CPU_PLANNERS: dict[str, dict[str, Any]] = {
    "icem": {"num_iterations": 3, "num_candidates": 40, "num_elites": 10},
    "mppi": {"num_iterations": 4, "num_candidates": 150, "num_elites": 15, "init_std": 0.5},
    "gradient": {"num_iterations": 12, "num_candidates": 16},
    "shooting": {"num_candidates": 600, "warm_start": True},
}
_DEBUG_PLANNERS: dict[str, dict[str, Any]] = {
    "icem": {"horizon": 4, "num_iterations": 2, "num_candidates": 20, "num_elites": 4},
    "mppi": {"horizon": 4, "num_iterations": 2, "num_candidates": 20, "num_elites": 4},
    "gradient": {"horizon": 4, "num_iterations": 2, "num_candidates": 4},
    "shooting": {"horizon": 4, "num_candidates": 40},
    "policy": {"horizon": 4},
}


def _cpu(paper: Experiment) -> Experiment:
    """For two cores: smaller networks and batches, less planning. Why: docs/learning_notes.md and docs/design.md."""
    # Plans of 12 decisions need precise observations and rewards, and a prior that learns at every step.
    pixels = paper.environment.obs == "pixels"
    return replace(
        paper,
        environment=replace(paper.environment, render_quality="fast", image_size=32),
        run=RunConfig(
            env_steps=200_000,
            updates_per_episode=100 if pixels else 200,
            eval_every=10,
            eval_episodes=3 if pixels else 5,
        ),
        replay=ReplayConfig(capacity=110_000, batch_size=16 if pixels else 32, batch_length=32),
        agent_config=PlaNetConfig(
            model=WorldModelConfig(conv_depth=16, conv_norm="layer", layers=1, pixel_std=0.05, vector_std=0.03),
            loss=LossConfig(free_nats=0.0, reward_scale=100.0),
            planner=CEMConfig(num_iterations=4, num_candidates=150, num_elites=15, init_std=0.5, warm_start=True),
        ),
    )


def _debug(paper: Experiment) -> Experiment:
    """Everything once, on tiny networks and short episodes: does the whole machinery work here?"""
    return replace(
        paper,
        environment=replace(paper.environment, action_repeat=20, render_quality="fast"),
        run=RunConfig(
            env_steps=4000,
            seed_episodes=2,
            updates_per_episode=4,
            eval_every=2,
            eval_episodes=1,
            checkpoint_every=1,
            open_loop_length=20,
        ),
        replay=ReplayConfig(capacity=1000, batch_size=4, batch_length=8),
        agent_config=PlaNetConfig(
            model=WorldModelConfig(
                deter=16, stoch=4, hidden=16, layers=1, conv_depth=4, reward_hidden=16, vector_hidden=16
            ),
            planner=CEMConfig(horizon=4, num_iterations=2, num_candidates=20, num_elites=4),
        ),
    )
