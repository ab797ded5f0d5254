"""What the presets promise."""

import presets
import pytest


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
    assert config.evaluations <= {"paper": 12_000, "cpu": 700, "debug": 60}[preset]
    if agent != "planet":
        assert config.horizon == own.horizon and 0 < config.policy_candidates < config.num_candidates / 4


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
            "agent: expected planet, dreamer_v1, dreamer_v2, dreamer_v3, tdmpc, tdmpc2, got 'dreamer'",
        ),
        ({"size": "1M"}, "size: expected no --size, as planet has only one, got '1M'"),
        ({"agent": "tdmpc2", "size": "2M"}, "size: expected 1M, 5M, 19M, 48M, 317M, got '2M'"),
    ],
)
def test_unknown_names_are_told(choices, message):
    with pytest.raises(ValueError, match=message):
        presets.make_preset("cpu", "walker_walk", "state", **choices)


def test_a_debug_run_is_short_whatever_the_environment():
    assert presets.make_preset("debug", "CartPole-v1", "state").run.env_steps < 1000
    assert presets.make_preset("debug", "CartPole-v1", "state").environment.action_repeat == 2
    game = presets.make_preset("debug", "ALE/Pong-v5", "pixels")
    assert game.run.env_steps < 20_000 and game.environment.action_repeat is None  # the game's own, 4 frames
