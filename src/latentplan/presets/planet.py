"""PlaNet's presets."""

from dataclasses import replace

from latentplan.agents.planet import LossConfig, PlaNetConfig
from latentplan.config import Fields
from latentplan.driver.schedule import RunConfig
from latentplan.envs import suite_of
from latentplan.models.world_model import WorldModelConfig
from latentplan.planners.cem import CEMConfig
from latentplan.presets.entry import AgentPresets, Preset
from latentplan.presets.experiment import Experiment, eval_every
from latentplan.replay.ring import ReplayConfig


def planet_paper(bare: Experiment) -> Experiment:
    """PlaNet v5 exactly, plus termination prediction for suites whose episodes may terminate."""
    return replace(
        bare, agent_config=PlaNetConfig(model=WorldModelConfig(predict_terminal=suite_of(bare.env).may_terminate))
    )


PIXEL_LOSS: Fields = {"dynamics_scale": 5.0, "observation_start": 0.25, "observation_ramp": 3000}


def planet_cpu(bare: Experiment) -> Experiment:
    """For two cores: smaller networks and batches, less planning. Why: docs/notes/planet.md and docs/design.md."""
    # Plans of 12 decisions need precise observations and rewards, and a prior that learns at every step.
    pixels = bare.environment.pixels
    # Longer plans, wider from the start: where decisions last 0.02 to 0.05 s, and for models learned from pixels, whose
    # plans of 12 let the cart drift out of the picture.
    long = pixels or suite_of(bare.env).short_decisions
    plans: Fields = {"horizon": 20, "init_std": 1.0} if long else {"horizon": 12, "init_std": 0.5}
    return replace(
        bare,
        environment=replace(bare.environment, render_quality="fast", image_size=32, supersample=2 if pixels else 1),
        run=RunConfig(
            env_steps=200_000,
            updates_per_episode=100 if pixels else 200,
            eval_every=eval_every(bare.env),
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
                predict_terminal=suite_of(bare.env).may_terminate,
            ),
            loss=LossConfig(free_nats=0.0, reward_scale=100.0, terminal_scale=100.0, **(PIXEL_LOSS if pixels else {})),
            planner=CEMConfig(
                num_iterations=3 if pixels else 4, num_candidates=150, num_elites=15, warm_start=True, **plans
            ),
        ),
    )


def planet_debug(bare: Experiment) -> Experiment:
    """A smoke test: every phase once, with tiny networks and short episodes."""
    suite = suite_of(bare.env)
    env_steps = suite.debug.env_steps
    return replace(
        bare,
        environment=replace(bare.environment, action_repeat=suite.debug.action_repeat, render_quality="fast"),
        run=RunConfig(
            env_steps=env_steps,
            seed_episodes=2,
            updates_per_episode=4,
            eval_every=env_steps // 2,
            eval_episodes=1,
            checkpoint_every=env_steps // 4,
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
                predict_terminal=suite.may_terminate,
            ),
            planner=CEMConfig(horizon=4, num_iterations=2, num_candidates=20, num_elites=4),
        ),
    )


PLANET = AgentPresets(
    {
        "paper": Preset(planet_paper),
        "cpu": Preset(planet_cpu, kept=("horizon", "init_std")),  # chosen for the environment
        "debug": Preset(planet_debug),
    }
)
