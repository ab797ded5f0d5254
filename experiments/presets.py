"""Experiments as data: what one run is made of, and the presets it starts from."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

import jax
import tyro

from latentplan.agents import AgentConfig
from latentplan.agents.dreamer_v1 import DreamerV1Config
from latentplan.agents.dreamer_v2 import DreamerV2Config
from latentplan.agents.dreamer_v3 import DreamerV3Config, LaPropConfig
from latentplan.agents.planet import LossConfig, PlaNetConfig
from latentplan.agents.tdmpc import ScheduleConfig, TDMPCConfig
from latentplan.agents.tdmpc2 import TDMPC2Config
from latentplan.driver.env import EnvConfig
from latentplan.driver.replay import ReplayConfig
from latentplan.driver.schedule import RunConfig
from latentplan.driver.suites import is_atari, is_gymnasium
from latentplan.models.told import TOLDConfig
from latentplan.models.world_model import WorldModelConfig
from latentplan.planners import PLANNERS, planner_name
from latentplan.planners.cem import CEMConfig
from latentplan.planners.mppi import MPPIConfig
from latentplan.planners.policy import PolicyConfig

Preset = Literal["auto", "paper", "cpu", "debug"]


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """Train an agent. Any field can be changed; the defaults shown are those of the chosen preset."""

    env: str = "walker_walk"
    """dm_control task as domain_task (walker_walk), or gymnasium id (Pendulum-v1, ALE/Pong-v5, module:Id)."""
    agent: Literal["planet", "tdmpc", "tdmpc2", "dreamer_v1", "dreamer_v2", "dreamer_v3"] = "planet"
    """What learns. Which settings there are depends on it."""
    preset: Preset = "auto"
    """paper: the agent's paper to the letter; cpu: smaller, for 2 cores; debug: everything once; auto: paper or cpu."""
    size: str = ""
    """Named size of the model, over the preset's: tdmpc2 has 1M, 5M, 19M, 48M and 317M, the others none."""
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

    def folder(self) -> str:
        """The run's folder: `logdir`, or a name made of what was chosen."""
        own = planner_name(self.agent_config.planner) == planner_name(type(self.agent_config)().planner)
        agent = "-".join(x for x in (self.agent, self.size, "" if own else self.planner) if x)
        name = f"{self.env}-{agent}-{self.preset}-{self.environment.obs}-seed{self.run.seed}"
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


def make_preset(
    preset: str, env: str, obs: str, planner: str = "", agent: str = "planet", size: str = ""
) -> Experiment:
    """The experiment a preset stands for.

    Args:
        preset: paper, cpu or debug.
        env: the environment's name.
        obs: pixels or state.
        planner: a name in `PLANNERS`; empty for the agent's own.
        agent: a name in `AGENTS`.
        size: a name in `SIZES[agent]`; empty for the preset's own.

    Returns:
        Experiment, to be changed by the command line.

    Raises:
        ValueError: a name is unknown.
    """
    checks: list[tuple[str, str, dict[str, Any]]] = [
        ("preset", preset, PRESETS["planet"]),
        ("planner", planner, {"": None, **PLANNERS}),
    ]
    checks += [("agent", agent, PRESETS)]
    checks += [("size", size, {"": None, **SIZES[agent]})] if agent in SIZES else []
    for name, value, known in checks:
        if value not in known:
            expected = ", ".join(x for x in known if x) or f"no --size, as {agent} has only one"
            raise ValueError(f"{name}: expected {expected}, got {value!r}")
    bare = Experiment(env=env, agent=agent, preset=preset, size=size, environment=EnvConfig(obs=obs))  # type: ignore[arg-type]
    experiment = PRESETS[agent][preset](bare)
    config: Any = experiment.agent_config
    if size and isinstance(config, DreamerV3Config):
        config = _sized(config, size)
    elif size:
        config = replace(config, model=replace(config.model, **SIZES[agent][size]))
    if planner and planner != planner_name(config.planner):
        sizes = {"paper": {}, "cpu": _CPU_PLANNERS, "debug": _DEBUG_PLANNERS}[preset].get(planner, {})
        if agent != "planet":  # short plans, some of them the policy's
            sizes = sizes | {"horizon": config.planner.horizon}
        chosen = PLANNERS[planner].config(**sizes)
        if agent != "planet" and hasattr(chosen, "policy_candidates"):
            chosen = replace(chosen, policy_candidates=min(24, chosen.num_candidates // 8))
        config = replace(config, planner=chosen)
    return replace(experiment, planner=planner_name(config.planner), agent_config=config)  # type: ignore[arg-type]


# The other planners at the cpu preset: as many evaluations as its CEM has (600), iCEM a fifth of them.
_CPU_PLANNERS: dict[str, dict[str, Any]] = {
    "cem": {"num_iterations": 4, "num_candidates": 150, "num_elites": 15, "init_std": 0.5, "warm_start": True},
    "icem": {"num_iterations": 3, "num_candidates": 40, "num_elites": 10},
    "mppi": {"num_iterations": 4, "num_candidates": 150, "num_elites": 15, "init_std": 0.5},
    "gradient": {"num_iterations": 12, "num_candidates": 16},
    "shooting": {"num_candidates": 600, "warm_start": True},
}
_DEBUG_PLANNERS: dict[str, dict[str, Any]] = {
    "cem": {"horizon": 4, "num_iterations": 2, "num_candidates": 20, "num_elites": 4},
    "icem": {"horizon": 4, "num_iterations": 2, "num_candidates": 20, "num_elites": 4},
    "mppi": {"horizon": 4, "num_iterations": 2, "num_candidates": 20, "num_elites": 4},
    "gradient": {"horizon": 4, "num_iterations": 2, "num_candidates": 8},
    "shooting": {"horizon": 4, "num_candidates": 40},
    "policy": {"horizon": 4},
}


def _planet_paper(bare: Experiment) -> Experiment:
    """PlaNet v5 to the letter; where an episode may terminate, that is learned, too."""
    return replace(bare, agent_config=PlaNetConfig(model=WorldModelConfig(predict_terminal=is_gymnasium(bare.env))))


def _planet_cpu(bare: Experiment) -> Experiment:
    """For two cores: smaller networks and batches, less planning. Why: docs/learning_notes.md and docs/design.md."""
    # Plans of 12 decisions need precise observations and rewards, and a prior that learns at every step.
    pixels = bare.environment.obs == "pixels"
    # A decision of gymnasium's classic tasks lasts 0.02 to 0.05 s: they take longer plans, wider from the start.
    plans: dict[str, Any] = (
        {"horizon": 20, "init_std": 1.0} if is_gymnasium(bare.env) else {"horizon": 12, "init_std": 0.5}
    )
    return replace(
        bare,
        environment=replace(bare.environment, render_quality="fast", image_size=32),
        run=RunConfig(
            env_steps=200_000,
            updates_per_episode=100 if pixels else 200,
            eval_every=10,
            eval_episodes=3 if pixels else 5,
        ),
        replay=ReplayConfig(capacity=110_000, batch_size=16 if pixels else 32, batch_length=32),
        agent_config=PlaNetConfig(
            model=WorldModelConfig(
                conv_depth=16,
                conv_norm="layer",
                layers=1,
                pixel_std=0.05,
                vector_std=0.03,
                predict_terminal=is_gymnasium(bare.env),
            ),
            loss=LossConfig(free_nats=0.0, reward_scale=100.0, terminal_scale=100.0),
            planner=CEMConfig(num_iterations=4, num_candidates=150, num_elites=15, warm_start=True, **plans),
        ),
    )


def _planet_debug(bare: Experiment) -> Experiment:
    """Everything once, on tiny networks and short episodes: does the whole machinery work here?"""
    gymnasium, atari = is_gymnasium(bare.env), is_atari(bare.env)
    action_repeat = None if atari else 2 if gymnasium else 20
    return replace(
        bare,
        environment=replace(bare.environment, action_repeat=action_repeat, render_quality="fast"),
        run=RunConfig(
            # 3 or 4 episodes of Pong, of Pendulum or of a dm_control task
            env_steps=12_000 if atari else 600 if gymnasium else 4000,
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
                deter=16,
                stoch=4,
                hidden=16,
                layers=1,
                conv_depth=4,
                reward_hidden=16,
                vector_hidden=16,
                predict_terminal=gymnasium,
            ),
            planner=CEMConfig(horizon=4, num_iterations=2, num_candidates=20, num_elites=4),
        ),
    )


def _stacked(bare: Experiment) -> EnvConfig:
    """For agents without memory: three frames at once, where they see frames; TD-MPC's camera where it has its own."""
    if bare.environment.obs != "pixels":
        return bare.environment
    return replace(bare.environment, frame_stack=3, camera=2 if bare.env.startswith("quadruped_") else 0)


_TDMPC: dict[str, Any] = {
    "action_repeat": 4,
    "env_steps": 500_000,
    "num_iterations": 6,
    "latent": 50,
    "learning_rate": 1e-3,
    "batch_size": 512,
}
_TDMPC_PIXELS = {"env_steps": 100_000, "num_iterations": 8, "learning_rate": 3e-4, "batch_size": 256}
_TDMPC_DOMAINS: dict[str, dict[str, Any]] = {
    "cartpole": {"action_repeat": 8},
    "finger": {"action_repeat": 2},
    "walker": {"action_repeat": 2},
    "humanoid": {"action_repeat": 2, "env_steps": 3_000_000, "num_iterations": 12, "latent": 100},
    "dog": {
        "action_repeat": 2,
        "env_steps": 5_000_000,
        "num_iterations": 8,
        "latent": 100,
        "learning_rate": 3e-4,
        "batch_size": 2048,
    },
}


def _tdmpc_paper(bare: Experiment) -> Experiment:
    """TD-MPC (arXiv 2203.04955, table 5): cfgs/default.yaml, over it pixels.yaml, over that tasks/DOMAIN.yaml.

    From pixels, iterations and env_steps are those of the code's first release (commit 060b366), for the 100k
    benchmark; step size and batches those since commit 752db36, which plans with 6 iterations and goes on to 3M
    env_steps. Replay holds what such a run collects, and 1M records at most.
    """
    pixels, agent = bare.environment.obs == "pixels", TDMPCConfig()
    chosen = _TDMPC | (_TDMPC_PIXELS if pixels else {}) | _TDMPC_DOMAINS.get(bare.env.partition("_")[0], {})
    repeat = None if is_gymnasium(bare.env) else chosen["action_repeat"]
    return replace(
        bare,
        environment=replace(_stacked(bare), image_size=84, action_repeat=repeat),
        run=RunConfig(env_steps=chosen["env_steps"], seed_decisions=5000, updates_per_decision=1.0, eval_every=20),
        replay=ReplayConfig(
            capacity=min(chosen["env_steps"], 1_000_000) if pixels else 1_000_000,
            batch_size=chosen["batch_size"],
            batch_length=6,
            priority_exponent=0.6,
        ),
        agent_config=replace(
            agent,
            model=replace(agent.model, latent=chosen["latent"]),
            planner=replace(agent.planner, num_iterations=chosen["num_iterations"]),  # type: ignore[call-arg]
            optimizer=replace(agent.optimizer, learning_rate=chosen["learning_rate"]),
        ),
    )


def _tdmpc_cpu(bare: Experiment) -> Experiment:
    """For two cores: smaller batches, a fifth of the planning, schedules that suit fewer decisions."""
    paper, agent = _tdmpc_paper(bare), TDMPCConfig()
    return replace(
        paper,
        environment=replace(_stacked(bare), render_quality="fast"),
        run=replace(paper.run, env_steps=100_000, seed_decisions=1000, eval_every=10, eval_episodes=5),
        replay=ReplayConfig(capacity=110_000, batch_size=128, batch_length=6, priority_exponent=0.6),
        agent_config=replace(
            agent,
            schedule=ScheduleConfig(updates=5000),
            planner=MPPIConfig(
                horizon=5, num_iterations=4, num_candidates=128, num_elites=16, policy_candidates=16, momentum=0.1
            ),
        ),
    )


def _tdmpc_debug(bare: Experiment) -> Experiment:
    """Everything once, on tiny networks and short episodes."""
    other, agent = _tdmpc2_debug(bare), TDMPCConfig()
    return replace(
        other,
        replay=replace(other.replay, priority_exponent=0.6),
        agent_config=replace(
            agent,
            model=replace(agent.model, latent=16, hidden=16, encoder_hidden=16, conv_depth=4),
            planner=other.agent_config.planner,
        ),
    )


def _tdmpc2_paper(bare: Experiment) -> Experiment:
    """TD-MPC2, single task, 5M parameters (arXiv 2310.16828, table 8; config.yaml and online_trainer.py).

    Its code goes on to 10M decisions (--env-steps 20000000); it evaluates as often as here, every 50,000.
    """
    return replace(
        bare,
        environment=replace(_stacked(bare), action_repeat=None if is_gymnasium(bare.env) else 2),
        run=RunConfig(seed_episodes=5, seed_decisions=1000, updates_per_decision=1.0, eval_every=100),
        replay=ReplayConfig(capacity=1_000_000, batch_size=256, batch_length=4),
        agent_config=TDMPC2Config(model=TOLDConfig(predict_terminal=is_gymnasium(bare.env))),
    )


def _tdmpc2_cpu(bare: Experiment) -> Experiment:
    """For two cores: the 1M model, smaller batches, a fifth of the planning, PlaNet's action repeats."""
    paper = _tdmpc2_paper(bare)
    model = TOLDConfig(predict_terminal=is_gymnasium(bare.env), **SIZES["tdmpc2"]["1M"])
    return replace(
        paper,
        environment=replace(_stacked(bare), render_quality="fast"),
        run=replace(paper.run, env_steps=100_000, eval_every=10, eval_episodes=5),
        replay=ReplayConfig(capacity=110_000, batch_size=128, batch_length=4),
        agent_config=TDMPC2Config(
            model=model,
            planner=MPPIConfig(horizon=3, num_iterations=4, num_candidates=128, num_elites=16, policy_candidates=16),
        ),
    )


def _tdmpc2_debug(bare: Experiment) -> Experiment:
    """Everything once, on tiny networks and short episodes."""
    planet = _planet_debug(bare)
    model = TOLDConfig(latent=16, hidden=16, encoder_hidden=16, conv_depth=4, num_q=2, num_bins=11)
    return replace(
        planet,
        environment=_stacked(planet),
        run=replace(planet.run, updates_per_decision=0.1),
        replay=replace(planet.replay, batch_length=4),
        agent_config=TDMPC2Config(
            model=replace(model, predict_terminal=is_gymnasium(bare.env)),
            planner=MPPIConfig(horizon=3, num_iterations=2, num_candidates=20, num_elites=4, policy_candidates=4),
        ),
    )


def _dreamer_v1_paper(bare: Experiment) -> Experiment:
    """Dreamer V1 (arXiv 1912.01603, appendix A; danijar/dreamer); its first 2,500 decisions gave 100 updates."""
    return replace(
        bare,
        environment=replace(bare.environment, action_repeat=None if is_gymnasium(bare.env) else 2),
        run=RunConfig(env_steps=5_000_000, seed_episodes=1, seed_decisions=2500, updates_per_decision=0.2),
        replay=ReplayConfig(capacity=2_500_000, batch_size=50, batch_length=50),
        agent_config=_with_terminal(DreamerV1Config(), bare),
    )


def _dreamer_v1_cpu(bare: Experiment) -> Experiment:
    """For two cores: PlaNet's cpu world model, a smaller actor and critic, imagined from 4 steps of a window."""
    planet, config = _planet_cpu(bare), DreamerV1Config()
    model: Any = planet.agent_config.model
    return replace(
        planet,
        run=replace(planet.run, seed_decisions=500, updates_per_decision=0.8, eval_episodes=5),
        replay=replace(planet.replay, batch_size=16),
        agent_config=replace(
            config,
            model=replace(model, activation="elu"),
            loss=replace(config.loss, free_nats=0.0, reward_scale=100.0, terminal_scale=100.0),
            actor=replace(config.actor, hidden=200, layers=2),
            critic=replace(config.critic, hidden=200, layers=2),
            behaviour=replace(config.behaviour, starts=4),
            optimizer=replace(config.optimizer, model_rate=1e-3, actor_rate=3e-4, critic_rate=3e-4),
        ),
    )


def _dreamer_v2_dmc(bare: Experiment) -> Experiment:
    """Dreamer V2 on the control suite (arXiv 2010.02193; danijar/dreamerv2, `configs.yaml`, dmc_vision)."""
    return replace(
        bare,
        environment=replace(bare.environment, action_repeat=None if is_gymnasium(bare.env) else 2),
        run=RunConfig(env_steps=1_000_000, seed_episodes=1, seed_decisions=500, updates_per_decision=0.2),
        replay=ReplayConfig(capacity=1_000_000, batch_size=16, batch_length=50),
        agent_config=_with_terminal(DreamerV2Config(), bare),
    )


def _dreamer_v2_atari(bare: Experiment) -> Experiment:
    """Dreamer V2 on Atari (danijar/dreamerv2, `configs.yaml`, atari)."""
    config = DreamerV2Config()
    return replace(
        bare,
        environment=replace(bare.environment, action_repeat=4),
        run=RunConfig(env_steps=200_000_000, seed_episodes=1, seed_decisions=50_000, updates_per_decision=1 / 16),
        replay=ReplayConfig(capacity=2_000_000, batch_size=16, batch_length=50),
        agent_config=replace(
            config,
            model=replace(config.model, deter=600, hidden=600, predict_terminal=True),
            loss=replace(
                config.loss,
                dynamics_scale=0.08, representation_scale=0.02, free_nats=0.0, terminal_scale=5.0, rewards="tanh",
            ),
            behaviour=replace(config.behaviour, discount=0.999, entropy_scale=1e-3),
            optimizer=replace(config.optimizer, model_rate=2e-4, actor_rate=4e-5, critic_rate=1e-4),
        ),
    )  # fmt: skip


def _dreamer_v2_cpu(bare: Experiment) -> Experiment:
    """For two cores: like Dreamer V1's cpu preset, with 16 x 16 classes."""
    v1, config = _dreamer_v1_cpu(bare), DreamerV2Config()
    first: Any = v1.agent_config
    return replace(
        v1,
        agent_config=replace(
            config,
            model=replace(first.model, stoch=16, classes=16, cell="normed"),
            loss=replace(config.loss, free_nats=0.0, reward_scale=100.0, terminal_scale=100.0),
            actor=replace(config.actor, hidden=200, layers=2),
            critic=first.critic,
            behaviour=replace(config.behaviour, starts=4),
            optimizer=replace(first.optimizer, eps=1e-5, weight_decay=1e-6),
        ),
    )


def _dreamer_v3_nature(bare: Experiment) -> Experiment:
    """Dreamer V3, Nature 2025 (extended tables 2, 4, 5; `configs.yaml`): 1M from state, 200M from pixels."""
    pixels = bare.environment.obs == "pixels"
    return replace(
        bare,
        environment=replace(bare.environment, action_repeat=None if is_gymnasium(bare.env) else 1),
        run=RunConfig(env_steps=1_100_000, seed_episodes=1, updates_per_decision=(256 if pixels else 1024) / 1024),
        replay=ReplayConfig(capacity=500_000 if pixels else 5_000_000, batch_size=16, batch_length=64),
        agent_config=_sized(DreamerV3Config(), "200M" if pixels else "1M"),
    )


def _dreamer_v3_arxiv2(bare: Experiment) -> Experiment:
    """Dreamer V3, arXiv 2301.04104v2 (tables 2 to 4): 12M, action repeat 2, every step replayed 512 times."""
    nature = _dreamer_v3_nature(bare)
    pixels = bare.environment.obs == "pixels"
    return replace(
        nature,
        environment=replace(bare.environment, action_repeat=None if is_gymnasium(bare.env) else 2),
        run=replace(nature.run, env_steps=1_000_000 if pixels else 500_000, updates_per_decision=512 / 1024),
        agent_config=_sized(DreamerV3Config(), "12M"),
    )


def _dreamer_v3_cpu(bare: Experiment) -> Experiment:
    """For two cores: 1M parameters, shorter windows, imagined from 8 steps of each, PlaNet's action repeats."""
    config = _sized(DreamerV3Config(), "1M")
    return replace(
        bare,
        environment=replace(bare.environment, render_quality="fast", image_size=32),
        run=RunConfig(env_steps=200_000, seed_decisions=500, updates_per_decision=0.5, eval_every=10, eval_episodes=5),
        replay=ReplayConfig(capacity=110_000, batch_size=16, batch_length=32),
        agent_config=replace(
            config,
            behaviour=replace(config.behaviour, starts=8),
            optimizer=LaPropConfig(learning_rate=3e-4),
        ),
    )


def _dreamer_debug(agent: str) -> Callable[[Experiment], Experiment]:
    """Everything once, on tiny networks and short episodes."""

    def build(bare: Experiment) -> Experiment:
        planet = _planet_debug(bare)
        config: Any = PRESETS[agent]["cpu"](bare).agent_config
        sizes: dict[str, Any] = {
            "deter": 16,
            "hidden": 16,
            "stoch": 4,
            "conv_depth": 4,
            "reward_hidden": 16,
            "vector_hidden": 16,
        }
        return replace(
            planet,
            agent_config=replace(
                config,
                model=replace(config.model, **sizes),
                actor=replace(config.actor, hidden=16),
                critic=replace(config.critic, hidden=16),
                behaviour=replace(config.behaviour, horizon=5),
                planner=PolicyConfig(horizon=4),
            ),
        )

    return build


def _with_terminal(config: Any, bare: Experiment) -> Any:
    """Learns terminations where there may be some."""
    return replace(config, model=replace(config.model, predict_terminal=is_gymnasium(bare.env)))


def _sized(config: DreamerV3Config, size: str) -> DreamerV3Config:
    """Dreamer V3's networks at a named size."""
    model = SIZES["dreamer_v3"][size]
    return replace(
        config,
        model=replace(config.model, **model),
        actor=replace(config.actor, hidden=model["hidden"]),
        critic=replace(config.critic, hidden=model["hidden"]),
    )


SIZES: dict[str, dict[str, dict[str, Any]]] = {
    "planet": {},
    "tdmpc": {},
    "dreamer_v1": {},
    "dreamer_v2": {},
    "dreamer_v3": {  # Dreamer V3's configs.yaml: hidden units, GRU, classes, channels
        name: {
            "hidden": hidden,
            "reward_hidden": hidden,
            "vector_hidden": hidden,
            "deter": deter,
            "classes": classes,
            "conv_depth": classes,
        }
        for name, hidden, deter, classes in (
            ("1M", 64, 512, 4),
            ("12M", 256, 2048, 16),
            ("25M", 384, 3072, 24),
            ("50M", 512, 4096, 32),
            ("100M", 768, 6144, 48),
            ("200M", 1024, 8192, 64),
            ("400M", 1536, 12288, 96),
        )
    },
    "tdmpc2": {  # TD-MPC2's common/__init__.py
        "1M": {"latent": 128, "hidden": 384, "encoder_hidden": 256, "encoder_layers": 1, "num_q": 2},
        "5M": {"latent": 512, "hidden": 512, "encoder_hidden": 256, "encoder_layers": 1, "num_q": 5},
        "19M": {"latent": 768, "hidden": 1024, "encoder_hidden": 1024, "encoder_layers": 2, "num_q": 5},
        "48M": {"latent": 768, "hidden": 1792, "encoder_hidden": 1792, "encoder_layers": 3, "num_q": 5},
        "317M": {"latent": 1376, "hidden": 4096, "encoder_hidden": 4096, "encoder_layers": 4, "num_q": 8},
    },
}
"""Agent -> named sizes of its model."""

PRESETS: dict[str, dict[str, Callable[[Experiment], Experiment]]] = {
    "planet": {"paper": _planet_paper, "cpu": _planet_cpu, "debug": _planet_debug},
    "dreamer_v1": {"paper": _dreamer_v1_paper, "cpu": _dreamer_v1_cpu, "debug": _dreamer_debug("dreamer_v1")},
    "dreamer_v2": {"paper": _dreamer_v2_dmc, "cpu": _dreamer_v2_cpu, "debug": _dreamer_debug("dreamer_v2")},
    "dreamer_v3": {"paper": _dreamer_v3_nature, "cpu": _dreamer_v3_cpu, "debug": _dreamer_debug("dreamer_v3")},
    "tdmpc": {"paper": _tdmpc_paper, "cpu": _tdmpc_cpu, "debug": _tdmpc_debug},
    "tdmpc2": {"paper": _tdmpc2_paper, "cpu": _tdmpc2_cpu, "debug": _tdmpc2_debug},
}
"""Agent -> preset -> from an experiment with its environment alone to a whole one."""
