"""The presets of Dreamer V1, V2 and V3."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from latentplan.agents.dreamer.v1 import DreamerV1Config
from latentplan.agents.dreamer.v2 import DreamerV2Config
from latentplan.agents.dreamer.v3 import DreamerV3Config, LaPropConfig
from latentplan.config import Fields
from latentplan.driver.schedule import RunConfig
from latentplan.envs import suite_name, suite_of
from latentplan.planners.policy import PolicyConfig
from latentplan.presets.entry import AgentPresets, Preset
from latentplan.presets.experiment import Experiment, eval_every, published_repeat
from latentplan.presets.planet import planet_cpu, planet_debug
from latentplan.replay.ring import ReplayConfig

DREAMER_V3_SIZES: dict[str, Fields] = {  # Dreamer V3's configs.yaml: hidden units, GRU, classes, channels
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
}


def dreamer_v1_paper(bare: Experiment) -> Experiment:
    """Dreamer V1 (arXiv 1912.01603, appendix A; danijar/dreamer); 100 updates follow the first 2,500 decisions."""
    return replace(
        bare,
        environment=replace(bare.environment, action_repeat=published_repeat(bare.env, 2)),
        run=RunConfig(env_steps=5_000_000, seed_episodes=1, seed_decisions=2500, updates_per_decision=0.2),
        replay=ReplayConfig(capacity=2_500_000, batch_size=50, batch_length=50),
        agent_config=_with_terminal(DreamerV1Config(), bare),
    )


def dreamer_v1_cpu(bare: Experiment) -> Experiment:
    """For two cores: PlaNet's cpu world model, a smaller actor and critic, imagined from 4 steps of a window."""
    # A decision lasts up to four times as long as with the papers' action repeat, so 8 look as far ahead as 15.
    planet, config = planet_cpu(bare), DreamerV1Config()
    learned: Any = planet.agent_config
    model = learned.model
    return replace(
        planet,
        run=replace(planet.run, seed_decisions=500, updates_per_decision=0.8, eval_episodes=5),
        replay=replace(planet.replay, batch_size=16),
        agent_config=replace(
            config,
            model=replace(model, activation="elu", pixel_std=0.1),
            loss=replace(config.loss, free_nats=0.0, reward_scale=100.0, terminal_scale=100.0),
            actor=replace(config.actor, hidden=200, layers=2),
            critic=replace(config.critic, hidden=200, layers=2),
            behaviour=replace(config.behaviour, horizon=8, starts=4),
            optimizer=replace(config.optimizer, model_rate=1e-3, actor_rate=1e-4, critic_rate=3e-4),
        ),
    )


def dreamer_v2_dmc(bare: Experiment) -> Experiment:
    """Dreamer V2 on the control suite (arXiv 2010.02193; danijar/dreamerv2, `configs.yaml`, dmc_vision)."""
    return replace(
        bare,
        environment=replace(bare.environment, action_repeat=published_repeat(bare.env, 2)),
        run=RunConfig(env_steps=1_000_000, seed_episodes=1, seed_decisions=1000, updates_per_decision=0.2),
        replay=ReplayConfig(capacity=1_000_000, batch_size=16, batch_length=50),
        agent_config=_with_terminal(DreamerV2Config(), bare),
    )


def dreamer_v2_atari(bare: Experiment) -> Experiment:
    """Dreamer V2 on Atari (danijar/dreamerv2, `configs.yaml`, atari)."""
    config = DreamerV2Config()
    return replace(
        bare,
        environment=replace(bare.environment, grayscale=bare.environment.pixels),
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


V2_ATARI = Preset(dreamer_v2_atari, suites=("atari",))


def dreamer_v2_cpu(bare: Experiment) -> Experiment:
    """For two cores: like Dreamer V1's cpu preset, with 16 x 16 classes; on Atari with what was published for it."""
    v1, config = dreamer_v1_cpu(bare), DreamerV2Config()
    first: Any = v1.agent_config
    if V2_ATARI.fits(bare.env):
        published = dreamer_v2_atari(bare)
        own: Any = published.agent_config
        v1 = replace(v1, environment=replace(v1.environment, grayscale=published.environment.grayscale))
        config = replace(config, loss=replace(config.loss, rewards=own.loss.rewards), behaviour=own.behaviour)
    return replace(
        v1,
        agent_config=replace(
            config,
            model=replace(first.model, stoch=16, classes=16, cell="normed"),
            loss=replace(config.loss, free_nats=0.0, reward_scale=100.0, terminal_scale=100.0),
            actor=replace(config.actor, hidden=200, layers=2),
            critic=first.critic,
            behaviour=replace(config.behaviour, horizon=8, starts=4),
            optimizer=replace(first.optimizer, eps=1e-5, weight_decay=1e-6),
        ),
    )


def dreamer_v3_nature(bare: Experiment) -> Experiment:
    """Dreamer V3, Nature 2025 (extended tables 2, 4, 5; `configs.yaml`): 1M from state, 200M from pixels."""
    pixels = bare.environment.pixels
    environment = replace(bare.environment, action_repeat=published_repeat(bare.env, 1))
    run = RunConfig(env_steps=1_100_000, seed_episodes=1, updates_per_decision=(256 if pixels else 1024) / 1024)
    if suite_name(bare.env) == "atari":
        own = replace(environment.atari, all_actions=True)
        environment = replace(environment, atari=own, image_size=96 if pixels else 64, grayscale=pixels)
        run = replace(run, env_steps=4 * 51_000_000, updates_per_decision=32 / 1024)
    return replace(
        bare,
        environment=environment,
        run=run,
        replay=ReplayConfig(capacity=500_000 if pixels else 5_000_000, batch_size=16, batch_length=64),
        agent_config=sized(DreamerV3Config(), "200M" if pixels else "1M"),
    )


def dreamer_v3_arxiv2(bare: Experiment) -> Experiment:
    """Dreamer V3, arXiv 2301.04104v2 (tables 2 to 4): 12M, action repeat 2, every step replayed 512 times."""
    nature = dreamer_v3_nature(bare)
    pixels = bare.environment.pixels
    return replace(
        nature,
        environment=replace(bare.environment, action_repeat=published_repeat(bare.env, 2)),
        run=replace(nature.run, env_steps=1_000_000 if pixels else 500_000, updates_per_decision=512 / 1024),
        agent_config=sized(DreamerV3Config(), "12M"),
    )


def dreamer_v3_cpu(bare: Experiment) -> Experiment:
    """For two cores: 1M parameters, shorter windows, imagined from 8 steps of each, PlaNet's action repeats.

    Fewer updates than published call for larger steps, most of all of the model, so that the actor does not run ahead
    of it; for half of each batch from the newest records, so that the model knows where the actor goes; and for values
    that settle sooner.
    """
    config = sized(DreamerV3Config(), "1M")
    return replace(
        bare,
        environment=replace(bare.environment, render_quality="fast", image_size=32),
        run=RunConfig(
            env_steps=200_000,
            seed_decisions=500,
            updates_per_decision=0.5,
            eval_every=eval_every(bare.env),
            eval_episodes=5,
        ),
        replay=ReplayConfig(capacity=110_000, batch_size=16, batch_length=32, newest_share=0.5),
        agent_config=replace(
            config,
            model=replace(config.model, conv="world_models", conv_depth=16),
            behaviour=replace(config.behaviour, starts=8, discount=0.99),
            optimizer=LaPropConfig(learning_rate=1e-3, actor_scale=0.3, critic_scale=0.3),
        ),
    )


def dreamer_debug(cpu: Callable[[Experiment], Experiment]) -> Callable[[Experiment], Experiment]:
    """A smoke test: every phase once, with tiny networks and short episodes."""

    def build(bare: Experiment) -> Experiment:
        planet = planet_debug(bare)
        config: Any = cpu(bare).agent_config
        sizes: Fields = {
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
    """Predicts terminations if the suite's episodes may terminate."""
    return replace(config, model=replace(config.model, predict_terminal=suite_of(bare.env).may_terminate))


def sized(config: DreamerV3Config, size: str) -> DreamerV3Config:
    """Dreamer V3's networks at a named size; other convolutions keep their own size."""
    model = DREAMER_V3_SIZES[size]
    channels = model["conv_depth"] if config.model.conv == "dreamer_v3" else config.model.conv_depth
    return replace(
        config,
        model=replace(config.model, **(model | {"conv_depth": channels})),
        actor=replace(config.actor, hidden=model["hidden"]),
        critic=replace(config.critic, hidden=model["hidden"]),
    )


CONTROL = ("dm_control",)
DREAMER_V1 = AgentPresets(
    {
        "paper": Preset(dreamer_v1_paper),
        "cpu": Preset(dreamer_v1_cpu),
        "debug": Preset(dreamer_debug(dreamer_v1_cpu)),
    },
    protocols={"dreamer-v1": Preset(dreamer_v1_paper, suites=CONTROL)},
)
DREAMER_V2 = AgentPresets(
    {"paper": Preset(dreamer_v2_dmc), "cpu": Preset(dreamer_v2_cpu), "debug": Preset(dreamer_debug(dreamer_v2_cpu))},
    protocols={"dreamer-v2-dmc": Preset(dreamer_v2_dmc, suites=CONTROL), "dreamer-v2-atari": V2_ATARI},
)
DREAMER_V3 = AgentPresets(
    {
        "paper": Preset(dreamer_v3_nature),
        "cpu": Preset(dreamer_v3_cpu),
        "debug": Preset(dreamer_debug(dreamer_v3_cpu)),
    },
    protocols={
        "dreamerv3-nature": Preset(dreamer_v3_nature, suites=(*CONTROL, "atari")),
        "dreamerv3-arxiv2": Preset(dreamer_v3_arxiv2, suites=CONTROL),
    },
    sizes={size: partial(sized, size=size) for size in DREAMER_V3_SIZES},
)
