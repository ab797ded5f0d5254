"""The presets of TD-MPC and TD-MPC2."""

from dataclasses import replace
from functools import partial

from latentplan.agents.tdmpc.v1 import ScheduleConfig, TDMPCConfig
from latentplan.agents.tdmpc.v2 import TDMPC2Config
from latentplan.config import Fields
from latentplan.driver.schedule import RunConfig
from latentplan.envs import suite_of
from latentplan.envs.env import EnvConfig
from latentplan.models.decoder_free import DecoderFreeConfig
from latentplan.planners.mppi import MPPIConfig
from latentplan.presets.entry import AgentPresets, Preset
from latentplan.presets.experiment import Experiment, eval_every, published_repeat
from latentplan.presets.planet import planet_debug
from latentplan.replay.ring import ReplayConfig

TDMPC2_SIZES: dict[str, Fields] = {  # TD-MPC2's common/__init__.py
    "1M": {"latent": 128, "hidden": 384, "encoder_hidden": 256, "encoder_layers": 1, "num_q": 2},
    "5M": {"latent": 512, "hidden": 512, "encoder_hidden": 256, "encoder_layers": 1, "num_q": 5},
    "19M": {"latent": 768, "hidden": 1024, "encoder_hidden": 1024, "encoder_layers": 2, "num_q": 5},
    "48M": {"latent": 768, "hidden": 1792, "encoder_hidden": 1792, "encoder_layers": 3, "num_q": 5},
    "317M": {"latent": 1376, "hidden": 4096, "encoder_hidden": 4096, "encoder_layers": 4, "num_q": 8},
}


def _stacked(bare: Experiment) -> EnvConfig:
    """Stacks three frames in pixel observations, for agents without memory."""
    return replace(bare.environment, frame_stack=3 if bare.environment.pixels else 1)


_TDMPC: Fields = {
    "action_repeat": 4,
    "env_steps": 500_000,
    "num_iterations": 6,
    "latent": 50,
    "learning_rate": 1e-3,
    "batch_size": 512,
}
_TDMPC_PIXELS = {"env_steps": 100_000, "num_iterations": 8, "learning_rate": 3e-4, "batch_size": 256}
_TDMPC_DOMAINS: dict[str, Fields] = {
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


def tdmpc_paper(bare: Experiment) -> Experiment:
    """TD-MPC (arXiv 2203.04955, table 5): cfgs/default.yaml, over it pixels.yaml, over that tasks/DOMAIN.yaml.

    From pixels, iterations and env_steps are those of the code's first release (commit 060b366), for the 100k
    benchmark; step size and batches those since commit 752db36, which plans with 6 iterations and goes on to 3M
    env_steps. Replay holds what such a run collects, and 1M records at most.
    """
    pixels, agent = bare.environment.pixels, TDMPCConfig()
    chosen = _TDMPC | (_TDMPC_PIXELS if pixels else {}) | _TDMPC_DOMAINS.get(bare.env.partition("_")[0], {})
    repeat = published_repeat(bare.env, chosen["action_repeat"])
    return replace(
        bare,
        environment=replace(_stacked(bare), image_size=84, action_repeat=repeat),
        run=RunConfig(env_steps=chosen["env_steps"], seed_decisions=5000, updates_per_decision=1.0, eval_every=20_000),
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


def tdmpc_cpu(bare: Experiment) -> Experiment:
    """For two cores: smaller batches, a fifth of the planning, schedules that suit fewer decisions."""
    paper, agent = tdmpc_paper(bare), TDMPCConfig()
    return replace(
        paper,
        environment=replace(_stacked(bare), render_quality="fast"),
        run=replace(
            paper.run, env_steps=100_000, seed_decisions=1000, eval_every=eval_every(bare.env), eval_episodes=5
        ),
        replay=ReplayConfig(capacity=110_000, batch_size=128, batch_length=6, priority_exponent=0.6),
        agent_config=replace(
            agent,
            schedule=ScheduleConfig(updates=5000),
            planner=MPPIConfig(
                horizon=5, num_iterations=4, num_candidates=128, num_elites=16, policy_candidates=16, momentum=0.1
            ),
        ),
    )


def tdmpc_debug(bare: Experiment) -> Experiment:
    """A smoke test: every phase once, with tiny networks and short episodes."""
    other, agent = tdmpc2_debug(bare), TDMPCConfig()
    return replace(
        other,
        replay=replace(other.replay, priority_exponent=0.6),
        agent_config=replace(
            agent,
            model=replace(agent.model, latent=16, hidden=16, encoder_hidden=16, conv_depth=4),
            planner=other.agent_config.planner,
        ),
    )


def tdmpc2_paper(bare: Experiment) -> Experiment:
    """TD-MPC2, single task, 5M parameters (arXiv 2310.16828, table 8; config.yaml and online_trainer.py).

    Its code goes on to 10M decisions (20M env_steps); it evaluates as often as here, every 50,000.
    """
    return replace(
        bare,
        environment=replace(_stacked(bare), action_repeat=published_repeat(bare.env, 2)),
        run=RunConfig(seed_episodes=5, seed_decisions=1000, updates_per_decision=1.0, eval_every=100_000),
        replay=ReplayConfig(capacity=1_000_000, batch_size=256, batch_length=4),
        agent_config=TDMPC2Config(model=DecoderFreeConfig(predict_terminal=suite_of(bare.env).may_terminate)),
    )


def tdmpc2_cpu(bare: Experiment) -> Experiment:
    """For two cores: the 1M model, smaller batches, a fifth of the planning, PlaNet's action repeats.

    From pixels, PlaNet's cpu preset's images and convolutions, at their step size: with the published ones the encoder
    cannot distinguish images for thousands of updates (docs/notes/tdmpc.md).
    """
    paper = tdmpc2_paper(bare)
    environment = replace(_stacked(bare), render_quality="fast")
    config = TDMPC2Config(
        model=DecoderFreeConfig(predict_terminal=suite_of(bare.env).may_terminate, **TDMPC2_SIZES["1M"]),
        planner=MPPIConfig(horizon=3, num_iterations=4, num_candidates=128, num_elites=16, policy_candidates=16),
    )
    if bare.environment.pixels:
        environment = replace(environment, image_size=32, supersample=2)
        config = replace(
            config,
            model=replace(config.model, conv="world_models", conv_depth=16),
            loss=replace(config.loss, shift=2, consistency_scale=5.0),  # 2 of 32 pixels; published: 3 of 64
            optimizer=replace(config.optimizer, learning_rate=1e-3, encoder_scale=1.0, policy_scale=0.3),
        )
    return replace(
        paper,
        environment=environment,
        run=replace(paper.run, env_steps=100_000, eval_every=eval_every(bare.env), eval_episodes=5),
        replay=ReplayConfig(capacity=110_000, batch_size=128, batch_length=4),
        agent_config=config,
    )


def tdmpc2_debug(bare: Experiment) -> Experiment:
    """A smoke test: every phase once, with tiny networks and short episodes."""
    planet = planet_debug(bare)
    model = DecoderFreeConfig(latent=16, hidden=16, encoder_hidden=16, conv_depth=4, num_q=2, num_bins=11)
    return replace(
        planet,
        environment=_stacked(planet),
        run=replace(planet.run, updates_per_decision=0.1),
        replay=replace(planet.replay, batch_length=4),
        agent_config=TDMPC2Config(
            model=replace(model, predict_terminal=suite_of(bare.env).may_terminate),
            planner=MPPIConfig(horizon=3, num_iterations=2, num_candidates=20, num_elites=4, policy_candidates=4),
        ),
    )


def _sized(config: TDMPC2Config, size: str) -> TDMPC2Config:
    return replace(config, model=replace(config.model, **TDMPC2_SIZES[size]))


TDMPC = AgentPresets({"paper": Preset(tdmpc_paper), "cpu": Preset(tdmpc_cpu), "debug": Preset(tdmpc_debug)})
TDMPC2 = AgentPresets(
    {"paper": Preset(tdmpc2_paper), "cpu": Preset(tdmpc2_cpu), "debug": Preset(tdmpc2_debug)},
    sizes={size: partial(_sized, size=size) for size in TDMPC2_SIZES},
)
