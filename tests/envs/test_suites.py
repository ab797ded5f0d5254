"""From names to suites and their tasks."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from gymnasium.spaces import Box

from latentplan import presets
from latentplan.cli.train import main
from latentplan.envs import SUITES, dm_control, rendering, suite_name, suite_of
from latentplan.envs.env import EnvConfig, env_spec, make_env
from latentplan.envs.suite import Suite


@pytest.fixture(autouse=True)
def sample_envs_importable(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))


def test_every_dm_control_task_has_a_name():
    names = dm_control.names()  # before dm_control, so that the OpenGL back end is chosen
    from dm_control import suite

    for domain, task in suite.ALL_TASKS:
        assert suite_name(f"{domain}_{task}") == "dm_control"
        assert dm_control.find(f"{domain}_{task}", rendering=False) == (domain, task)
    assert len(names) == len(suite.ALL_TASKS) + 1


@pytest.mark.parametrize(
    ("name", "domain", "task", "action_repeat"),
    [
        ("cartpole_swingup", "cartpole", "swingup", 8),
        ("reacher_easy", "reacher", "easy", 4),
        ("cheetah_run", "cheetah", "run", 4),
        ("finger_spin", "finger", "spin", 2),
        ("cup_catch", "ball_in_cup", "catch", 4),
        ("ball_in_cup_catch", "ball_in_cup", "catch", 4),
        ("walker_walk", "walker", "walk", 2),
        ("point_mass_easy", "point_mass", "easy", 2),
        ("humanoid_CMU_run", "humanoid_CMU", "run", 2),
        ("humanoid_run_pure_state", "humanoid", "run_pure_state", 2),
    ],
)
def test_names_and_the_papers_action_repeats(name, domain, task, action_repeat):
    assert dm_control.find(name, rendering=False) == (domain, task)
    assert suite_of(name).action_repeat(name) == action_repeat


def test_gymnasium_ids():
    for name in ("Pendulum-v1", "sample_envs:Ends5-v0"):
        assert suite_name(name) == "gymnasium" and suite_of(name).action_repeat(name) == 1
        make_env(name, EnvConfig(obs="state")).close()


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("walker_wlak", ["walker_walk", "Walker2d-v5"]),
        ("cartpole", ["cartpole_balance", "CartPole-v1"]),
        ("cup_cach", ["cup_catch"]),
        ("pendulum-v1", ["Pendulum-v1", "pendulum_swingup"]),
        ("sample_envs:End5-v0", ["sample_envs:Ends5-v0"]),
        ("qqqqqqqq", ["Nothing is near it", "walker_walk", "Pendulum-v1"]),
    ],
)
def test_unknown_names_offer_the_nearest(name, nearest):
    with pytest.raises(ValueError, match=f"unknown environment '{name}'") as caught:
        make_env(name, EnvConfig(obs="state"))
    for other in nearest:
        assert other in str(caught.value)


@pytest.mark.parametrize("name", ["no_such_module:Env-v0", "sample_envs.inner:Env-v0"])
def test_a_module_that_is_missing_is_named(name):
    with pytest.raises(ValueError, match=f"module '{name.split(':')[0]}'.*cannot be imported.*PYTHONPATH"):
        make_env(name, EnvConfig(obs="state"))


def test_a_gymnasium_name_loads_no_dm_control():
    code = """
import sys
from latentplan.envs import env
env.make_env("Pendulum-v1", env.EnvConfig(obs="state"))
heavy = {"dm_control", "mujoco", "shimmy", "jax", "flax", "ale_py"} & set(sys.modules)
sys.exit(f"loaded: {heavy}" if heavy else 0)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_state_vectors_come_without_opengl():
    code = """
from latentplan.envs import env, gl
gl._loads = lambda library: False
walker = env.make_env("walker_walk", env.EnvConfig(obs="state"))
assert walker.reset(seed=0)[0]["state"].shape == (24,)
try:
    env.make_env("walker_walk", env.EnvConfig())
except gl.GLUnavailable as error:
    assert "apt-get install libegl1" in str(error), error
"""
    command = ["env", "-u", "MUJOCO_GL", "-u", "DISPLAY", "-u", "LATENTPLAN_GL_CHECKED", sys.executable, "-c", code]
    subprocess.run(command, check=True, timeout=60)


def test_an_actuator_without_a_range_takes_unit_actions():
    env = dm_control.load("lqr_lqr_6_2", EnvConfig(obs="state"))
    assert env.action_space == Box(-1.0, 1.0, (2,), np.float64)
    assert dm_control.step_limit(env) is None


def test_a_camera_that_the_model_lacks_is_refused():
    with pytest.raises(ValueError, match=r"camera: walker_walk has cameras 0 to 1.*got 5"):
        make_env("walker_walk", EnvConfig(camera=5))


def test_no_frames_to_be_had_is_said():
    with pytest.raises(ValueError, match="Counter-v0 has no render mode 'rgb_array' and observes no image.*obs=state"):
        make_env("sample_envs:Counter-v0", EnvConfig())


def test_fast_rendering_never_adds_detail():
    own, fast = (
        dm_control.load("walker_walk", EnvConfig(render_quality=quality)).unwrapped._env for quality in ("full", "fast")
    )
    for name, limit in rendering.FAST_RENDERING.items():
        assert getattr(own.physics.model.vis.quality, name) > limit
        assert getattr(fast.physics.model.vis.quality, name) == limit
    fast.physics.model.vis.quality.shadowsize = 0  # a model without shadows
    rendering.render_fast(fast.physics.model)
    assert fast.physics.model.vis.quality.shadowsize == 0


@pytest.mark.parametrize("name", SUITES)
def test_a_suites_example_is_one_of_its_names(name):
    example = SUITES[name].example.rpartition("(")[2].partition(")")[0].partition(",")[0]
    assert suite_name(example) == name
    assert SUITES[name].debug.env_steps > 0 and SUITES[name].title in str(SUITES[name])


def test_a_suite_takes_only_functions_that_worker_processes_can_import():
    def names():
        return ()

    own = {field: getattr(SUITES["minatar"], field) for field in ("title", "example", "has", "names", "load")}
    with pytest.raises(ValueError, match="Suite.names: expected a function at the top of a module, got a lambda"):
        Suite(**own | {"names": lambda: ()})
    with pytest.raises(ValueError, match="Suite.names: .*got one inside another, test_a_suite.*names"):
        Suite(**own | {"names": names})


def test_a_new_suite_is_one_file_and_one_line(monkeypatch, tmp_path, capsys):
    """A suite of a user's own, with its action repeat, time limit and debug run, through the command line."""
    import sample_suite

    monkeypatch.setitem(SUITES, "sample", sample_suite.SUITE)  # the line
    assert suite_name("sample_slow") == "sample"
    spec = env_spec(make_env("sample_slow", EnvConfig(obs="state")))
    assert (spec.action_repeat, spec.max_decisions) == (3, 25)
    chosen = presets.make_preset("paper", "sample_slow", "state", agent="dreamer_v1")
    assert chosen.agent_config.model.predict_terminal is False and chosen.environment.action_repeat is None
    with pytest.raises(ValueError, match="unknown environment 'sample_slo'.*Nearest: .*sample_slow.*a sample"):
        make_env("sample_slo", EnvConfig(obs="state"))
    arguments = ["--env", "sample_slow", "--obs", "state", "--preset", "debug", "--logdir", str(tmp_path / "run")]
    assert main(arguments) == 0
    assert "action repeat 3" in capsys.readouterr().out
