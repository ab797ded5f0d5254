"""From names to tasks."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from gymnasium.spaces import Box

from latentplan.envs import suites


@pytest.fixture(autouse=True)
def sample_envs_importable(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))


def test_every_dm_control_task_has_a_name():
    names = suites.dm_control_names()  # before dm_control, so that the OpenGL back end is chosen
    from dm_control import suite

    for domain, task in suite.ALL_TASKS:
        found = suites.parse(f"{domain}_{task}")
        assert (found.suite, found.domain, found.task) == ("dm_control", domain, task)
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
    assert suites.parse(name) == ("dm_control", domain, task, action_repeat)


def test_gymnasium_ids():
    assert suites.parse("Pendulum-v1") == ("gymnasium", "", "Pendulum-v1", 1)
    assert suites.parse("sample_envs:Ends5-v0") == ("gymnasium", "sample_envs", "Ends5-v0", 1)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("walker_wlak", ["walker_walk", "Walker2d-v5"]),
        ("cartpole", ["cartpole_balance", "CartPole-v1"]),
        ("cup_cach", ["cup_catch"]),
        ("pendulum-v1", ["Pendulum-v1", "pendulum_swingup"]),
        ("sample_envs:End5-v0", ["Ends5-v0"]),
        ("qqqqqqqq", ["Nothing is near it", "walker_walk", "Pendulum-v1"]),
    ],
)
def test_unknown_names_offer_the_nearest(name, nearest):
    with pytest.raises(ValueError, match=f"unknown environment '{name}'") as caught:
        suites.parse(name)
    for other in nearest:
        assert other in str(caught.value)


@pytest.mark.parametrize("name", ["no_such_module:Env-v0", "sample_envs.inner:Env-v0"])
def test_a_module_that_is_missing_is_named(name):
    with pytest.raises(ValueError, match=f"module '{name.split(':')[0]}'.*cannot be imported.*PYTHONPATH"):
        suites.parse(name)


def test_a_gymnasium_name_loads_no_dm_control():
    code = """
import sys
from latentplan.envs import env, suites
suites.parse("Pendulum-v1")
heavy = {"dm_control", "mujoco", "shimmy", "jax", "flax", "ale_py"} & set(sys.modules)
sys.exit(f"loaded: {heavy}" if heavy else 0)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_state_vectors_come_without_opengl():
    code = """
from latentplan.envs import env, gl
gl._loads = lambda library: False
walker = env.make_env("walker_walk", env.EnvConfig(obs="state"))
assert walker.reset(seed=0)[0].shape == (24,)
try:
    env.make_env("walker_walk", env.EnvConfig())
except gl.GLUnavailable as error:
    assert "apt-get install libegl1" in str(error), error
"""
    command = ["env", "-u", "MUJOCO_GL", "-u", "DISPLAY", "-u", "LATENTPLAN_GL_CHECKED", sys.executable, "-c", code]
    subprocess.run(command, check=True, timeout=60)


def test_an_actuator_without_a_range_takes_unit_actions():
    env = suites.load_dm_control(suites.parse("lqr_lqr_6_2"))
    assert env.action_space == Box(-1.0, 1.0, (2,), np.float64)
    assert suites.control_step_limit(env) is None


def test_a_camera_that_the_model_lacks_is_refused():
    with pytest.raises(ValueError, match=r"camera: walker_walk has cameras 0 to 1.*got 5"):
        suites.load_dm_control(suites.parse("walker_walk"), image_size=64, camera=5)


def test_no_frames_to_be_had_is_said():
    with pytest.raises(ValueError, match="Counter-v0 has no render mode 'rgb_array' and observes no image.*obs=state"):
        suites.load_gymnasium(suites.parse("sample_envs:Counter-v0"), pixels=True)


def test_fast_rendering_never_adds_detail():
    task = suites.parse("walker_walk", rendering=True)
    own, fast = (suites.load_dm_control(task, image_size=64, fast=fast).unwrapped._env for fast in (False, True))
    for name, limit in suites.FAST_RENDERING.items():
        assert getattr(own.physics.model.vis.quality, name) > limit
        assert getattr(fast.physics.model.vis.quality, name) == limit
    fast.physics.model.vis.quality.shadowsize = 0  # a model without shadows
    suites._render_fast(fast.physics.model)
    assert fast.physics.model.vis.quality.shadowsize == 0
