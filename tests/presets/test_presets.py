"""What the presets promise."""

import re

import jax
import numpy as np
import pytest
from rich.console import Console

from latentplan import presets
from latentplan.agents import AGENTS
from latentplan.cli.train import parse
from latentplan.types import EnvSpec


@pytest.mark.parametrize(("preset", "quality"), [("paper", "full"), ("cpu", "fast"), ("debug", "fast")])
def test_only_the_paper_preset_draws_every_detail(preset, quality):
    assert presets.make_preset(preset, "walker_walk", "pixels").environment.render_quality == quality


@pytest.mark.parametrize("planner", ["cem", "icem", "mppi", "gradient", "shooting"])
@pytest.mark.parametrize("preset", ["paper", "cpu", "debug"])
@pytest.mark.parametrize("agent", ["planet", "tdmpc", "tdmpc2"])
def test_every_planner_fits_every_agent_and_small_presets_plan_little(agent, preset, planner):
    experiment = presets.make_preset(preset, "walker_walk", "state", planner, agent)
    own = presets.make_preset(preset, "walker_walk", "state", agent=agent).agent_config.planner
    config = experiment.agent_config.planner
    assert experiment.planner == planner and config.horizon <= max(own.horizon, 12)
    assert config.evaluations <= {"paper": 12_000, "cpu": 700, "debug": 100}[preset]
    if agent != "planet":
        assert config.horizon == own.horizon and 0 < config.policy_candidates < config.num_candidates / 4


@pytest.mark.parametrize("planner", ["icem", "mppi", "gradient", "shooting"])
def test_other_planners_keep_what_suits_the_environment(planner):
    make = lambda name: presets.make_preset("cpu", "Pendulum-v1", "state", name).agent_config.planner  # noqa: E731
    own, other = make(""), make(planner)
    assert other.horizon == own.horizon == 20
    assert planner == "shooting" or other.init_std == own.init_std == 1.0


@pytest.mark.parametrize(
    ("choices", "folder"),
    [
        ({}, "runs/walker_walk-planet-cpu-state-seed0"),
        ({"planner": "cem"}, "runs/walker_walk-planet-cpu-state-seed0"),
        ({"planner": "icem"}, "runs/walker_walk-planet-icem-cpu-state-seed0"),
        ({"agent": "tdmpc2", "size": "5M"}, "runs/walker_walk-tdmpc2-5M-cpu-state-seed0"),
    ],
)
def test_folders_tell_what_was_chosen(choices, folder):
    assert presets.make_preset("cpu", "walker_walk", "state", **choices).folder() == folder


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"planner": "random"}, "planner: expected cem, icem, mppi, gradient, shooting, policy, got 'random'"),
        (
            {"agent": "dreamer"},
            "agent: expected dreamer_v1, dreamer_v2, dreamer_v3, planet, tdmpc, tdmpc2, got 'dreamer'",
        ),
        ({"size": "1M"}, "Experiment.size: expected none, as the agent has only one, got '1M'"),
        ({"agent": "tdmpc2", "size": "2M"}, "size: expected 1M, 5M, 19M, 48M, 317M, got '2M'"),
    ],
)
def test_unknown_names_are_told(choices, message):
    with pytest.raises(ValueError, match=message):
        presets.make_preset("cpu", "walker_walk", "state", **choices)


def test_a_preset_of_another_agents_config_is_refused(monkeypatch):
    """It would train that agent under this one's name."""
    monkeypatch.setitem(presets.PRESETS, "tdmpc", presets.PRESETS["planet"])
    with pytest.raises(ValueError, match="tdmpc/debug: expected an agent_config of TDMPCConfig, got PlaNetConfig; "):
        presets.make_preset("debug", "walker_walk", "state", agent="tdmpc")


def test_a_debug_run_is_short_whatever_the_environment():
    assert presets.make_preset("debug", "CartPole-v1", "state").run.env_steps < 1000
    assert presets.make_preset("debug", "CartPole-v1", "state").environment.action_repeat == 2
    game = presets.make_preset("debug", "ALE/Pong-v5", "pixels")
    assert game.run.env_steps < 20_000 and game.environment.action_repeat is None  # the game's own, 4 frames


@pytest.mark.parametrize(("protocol", "agent"), presets.protocols().items())
def test_a_protocols_name_chooses_its_agent(protocol, agent):
    env = "ALE/Pong-v5" if protocol == "dreamer-v2-atari" else "walker_walk"
    experiment, _ = parse(["--env", env, "--preset", protocol], ("train",), Console(quiet=True))
    assert (experiment.agent, experiment.preset) == (agent, protocol)
    assert isinstance(experiment.agent_config, AGENTS[agent].config)


def test_every_preset_is_a_choice_of_the_command_line(capsys):
    with pytest.raises(SystemExit):
        parse(["--help"], ("train",), Console(quiet=True))
    printed = re.sub(r"[\s│]", "", capsys.readouterr().out)
    names = dict.fromkeys(name for each in presets.PRESETS.values() for name in each.all)
    assert f"--preset{{auto,{','.join(names)}}}" in printed
    assert f"--agent{{{','.join(AGENTS)}}}" in printed


def test_dreamers_protocols_are_the_published_ones():
    """danijar/dreamer, danijar/dreamerv2 and danijar/dreamerv3, each with its action repeat, replay ratio and sizes."""
    make = lambda name, obs="pixels": presets.make_preset(  # noqa: E731
        name, "walker_walk", obs, agent=presets.protocols()[name]
    )
    v1 = make("dreamer-v1")
    config = v1.agent_config
    assert (v1.environment.action_repeat, v1.run.updates_per_decision, v1.run.seed_decisions) == (2, 0.2, 2500)
    assert (v1.replay.batch_size, v1.replay.batch_length) == (50, 50)
    assert (config.model.deter, config.model.stoch, config.model.hidden, config.model.activation) == (
        200,
        30,
        200,
        "elu",
    )
    assert (config.model.reward_layers, config.critic.layers, config.actor.layers, config.actor.hidden) == (
        2,
        3,
        4,
        400,
    )
    assert (config.loss.free_nats, config.loss.free_nats_averaged, config.action_noise) == (3.0, True, 0.3)
    rates = config.optimizer
    assert (rates.model_rate, rates.actor_rate, rates.critic_rate, rates.clip_norm) == (6e-4, 8e-5, 8e-5, 100)
    assert (config.behaviour.horizon, config.behaviour.discount, config.behaviour.lam) == (15, 0.99, 0.95)

    v2 = make("dreamer-v2-dmc")
    config = v2.agent_config
    assert (v2.environment.action_repeat, v2.run.updates_per_decision, v2.run.seed_decisions) == (2, 0.2, 1000)
    assert (v2.replay.batch_size, v2.replay.batch_length, config.target_every) == (16, 50, 100)
    assert (config.model.deter, config.model.hidden, config.model.stoch, config.model.classes) == (200, 200, 32, 32)
    assert (config.model.conv_depth, config.model.reward_layers, config.model.cell) == (48, 4, "normed")
    assert (config.loss.dynamics_scale, config.loss.representation_scale, config.loss.free_nats) == (0.8, 0.2, 1.0)
    assert (config.optimizer.model_rate, config.optimizer.eps, config.optimizer.weight_decay) == (3e-4, 1e-5, 1e-6)
    assert (config.behaviour.entropy_scale, config.actor.kind, config.actor.min_std) == (1e-4, "truncated_normal", 0.1)

    atari = presets.make_preset("dreamer-v2-atari", "ALE/Pong-v5", "pixels", agent="dreamer_v2")
    config = atari.agent_config
    assert atari.environment.grayscale and atari.environment.image_size == 64
    assert (atari.run.updates_per_decision, config.behaviour.discount, config.behaviour.entropy_scale) == (
        1 / 16,
        0.999,
        1e-3,
    )
    assert (config.model.deter, config.loss.terminal_scale, config.loss.rewards) == (600, 5.0, "tanh")
    assert (config.loss.dynamics_scale, config.loss.representation_scale) == (0.08, 0.02)

    arxiv = make("dreamerv3-arxiv2", "state")
    assert (arxiv.environment.action_repeat, arxiv.run.updates_per_decision) == (2, 0.5)
    nature, pixels = make("dreamerv3-nature", "state"), make("dreamerv3-nature")
    assert (nature.environment.action_repeat, nature.run.updates_per_decision) == (1, 1.0)
    assert pixels.run.updates_per_decision == 0.25
    for experiment, deter, hidden, classes in ((arxiv, 2048, 256, 16), (nature, 512, 64, 4), (pixels, 8192, 1024, 64)):
        config = experiment.agent_config
        assert (config.model.deter, config.model.hidden, config.model.classes) == (deter, hidden, classes)
        assert config.actor.hidden == config.critic.hidden == config.model.reward_hidden == hidden
        assert (experiment.replay.batch_size, experiment.replay.batch_length) == (16, 64)
        assert (config.optimizer.learning_rate, config.optimizer.clip, config.optimizer.eps) == (4e-5, 0.3, 1e-20)
        assert (config.behaviour.horizon, config.behaviour.entropy_scale, config.critic.replay_scale) == (15, 3e-4, 0.3)

    game = presets.make_preset("dreamerv3-nature", "ALE/Pong-v5", "pixels", agent="dreamer_v3")
    seen = game.environment
    assert (seen.image_size, seen.grayscale, seen.atari.all_actions, seen.action_repeat) == (96, True, True, None)
    assert (game.run.env_steps, game.run.updates_per_decision) == (204_000_000, 32 / 1024)


@pytest.mark.parametrize(
    ("protocol", "env"),
    [("dreamer-v2-dmc", "ALE/Pong-v5"), ("dreamer-v2-atari", "walker_walk"), ("dreamerv3-arxiv2", "CartPole-v1")],
)
def test_a_protocol_is_refused_where_it_was_not_published(protocol, env):
    with pytest.raises(
        ValueError,
        match=f"Experiment.preset: expected one for environments such as {env}, got {protocol}, which is for ",
    ):
        presets.make_preset(protocol, env, "pixels", agent=presets.protocols()[protocol])


def test_a_presets_own_size_changes_nothing():
    make = lambda preset, size: presets.make_preset(preset, "walker_walk", "pixels", "", "dreamer_v3", size)  # noqa: E731
    assert make("cpu", "1M").agent_config == make("cpu", "").agent_config
    assert make("paper", "200M").agent_config == make("paper", "").agent_config


def test_dreamer_v2_learns_atari_on_cpu_as_published():
    make = lambda preset: presets.make_preset(preset, "ALE/Pong-v5", "pixels", agent="dreamer_v2")  # noqa: E731
    ours, published = make("cpu"), make("dreamer-v2-atari")
    mine, theirs = ours.agent_config, published.agent_config
    assert ours.environment.grayscale and mine.loss.rewards == theirs.loss.rewards == "tanh"
    for name in ("discount", "entropy_scale"):
        assert getattr(mine.behaviour, name) == getattr(theirs.behaviour, name)


def test_quadrupeds_are_seen_by_camera_2():
    for agent, each in presets.PRESETS.items():
        for name in each.presets.keys() & {"paper", "cpu", "debug"}:
            assert presets.make_preset(name, "quadruped_run", "pixels", agent=agent).environment.camera == 2


@pytest.mark.parametrize("size", presets.PRESETS["dreamer_v3"].sizes)
def test_dreamer_v3s_sizes_have_about_their_names_parameters(size):
    """From pixels; the names are rounded, and count what the paper's larger decoder has besides."""
    experiment = presets.make_preset("paper", "walker_walk", "pixels", agent="dreamer_v3", size=size)
    spec = EnvSpec.single((64, 64, 3), "uint8", action_size=6, action_repeat=1, max_decisions=1000)
    agent = AGENTS["dreamer_v3"].make(experiment.agent_config, spec)
    params = jax.eval_shape(agent.init, jax.random.key(0)).params
    count = sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(params))
    assert 0.5 < count / (1e6 * float(size.removesuffix("M"))) < 1.3
