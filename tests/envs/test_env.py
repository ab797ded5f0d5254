"""Environments as an agent meets them, one in this process or several in processes of their own."""

import math
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from envs.single import env_spec, make_single
from gymnasium.error import ResetNeeded
from gymnasium.spaces import Box
from PIL import Image

from latentplan.envs import gl
from latentplan.envs.boundary import Boundary
from latentplan.envs.env import EnvConfig, make_env
from latentplan.envs.env import env_spec as env_spec_of
from latentplan.envs.workers import WorkerDied, Workers
from latentplan.envs.wrappers import ActionRepeat
from latentplan.types import ArraySpec, EnvSpec

STATE = EnvConfig(obs="state")


@pytest.fixture(autouse=True)
def sample_envs_importable(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))
    gl.choose_backend()


def sample(name, **fields):
    return make_single(f"sample_envs:{name}", EnvConfig(obs="state", **fields))


def actions(seed, decisions, size):
    return np.random.default_rng(seed).uniform(-1, 1, (decisions, size)).astype(np.float32)


def play(env, seed, decisions=15):
    """All that an episode gives, as one list of arrays."""
    record = [env.reset(seed=seed)[0]]
    for action in actions(seed, decisions, env.action_space.shape[0]):
        observation, reward, terminated, truncated, _ = env.step(action)
        record += [observation, np.array([reward, terminated, truncated])]
    return record


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def assert_same(one, other):
    assert len(one) == len(other)
    for left, right in zip(one, other, strict=True):
        np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"obs": "image,"},
            "obs: expected pixels, state, or different names separated by commas, got 'image,'",
        ),
        ({"obs": "image,image"}, "EnvConfig.obs: expected pixels, state, or different names"),
        ({"action_repeat": 0}, "action_repeat: expected at least 1"),
        ({"image_size": 0}, "image_size: expected at least 1"),
        ({"obs": "state", "grayscale": True}, "grayscale: expected False, since obs = state has no frames, got True"),
        ({"frame_stack": 0}, "frame_stack: expected at least 1, got 0"),
        ({"camera": -2}, "camera: expected at least -1, got -2"),
        ({"render_quality": "best"}, "render_quality: expected one of full, fast, got 'best'"),
    ],
)
def test_a_config_checks_itself(fields, message):
    with pytest.raises(ValueError, match=message):
        EnvConfig(**fields)


@pytest.mark.parametrize(("name", "action_size", "decisions"), [("walker_walk", 6, 500), ("cartpole_swingup", 1, 125)])
def test_dm_control_pixels(name, action_size, decisions):
    env = make_single(name, EnvConfig())
    assert env_spec(env) == EnvSpec.single(
        (64, 64, 3), "uint8", action_size=action_size, action_repeat=1000 // decisions, max_decisions=decisions
    )
    first, _ = env.reset(seed=0)
    assert env.observation_space.contains(first)
    assert first.std() > 10, "a blank frame"
    for action in actions(0, 3, action_size):
        last = env.step(action)[0]
    assert last.dtype == np.uint8
    assert np.any(last != first), "the picture does not move"
    env.close()


def test_the_camera_and_the_size_are_the_configs():
    frames = [make_single("cartpole_balance", EnvConfig(camera=c, image_size=32)).reset(seed=0)[0] for c in (0, 1)]
    assert frames[0].shape == (32, 32, 3)
    assert np.any(frames[0] != frames[1])


def test_full_frames_are_dm_controls_own():
    from dm_control import suite

    episode = play(make_single("walker_walk", EnvConfig()), seed=3, decisions=2)
    raw = suite.load("walker", "walk", task_kwargs={"random": np.random.RandomState(3)})
    raw.reset()
    expected = [raw.physics.render(64, 64, camera_id=0)]
    for action in actions(3, 2, 6):
        raw.step(action)
        raw.step(action)
        expected.append(raw.physics.render(64, 64, camera_id=0))
    assert_same([episode[0], *episode[1::2]], expected)


@pytest.mark.parametrize("name", ["walker_walk", "quadruped_escape", "Walker2d-v5"])
def test_fast_frames_show_the_same_scene_with_less_detail(name):
    full, fast = (make_single(name, EnvConfig(render_quality=quality)) for quality in ("full", "fast"))
    first, reduced = play(full, seed=1, decisions=1), play(fast, seed=1, decisions=1)
    for index in (0, 1):
        assert reduced[index].dtype == np.uint8
        assert 0 < np.mean(np.abs(first[index].astype(float) - reduced[index])) < 1.5
    np.testing.assert_array_equal(first[2], reduced[2])  # reward and flags
    play(fast, seed=2, decisions=1)
    assert_same(play(fast, seed=1, decisions=1), reduced)


def test_supersampled_frames_are_larger_ones_averaged_down():
    large, small = (
        make_single("cartpole_swingup", EnvConfig(image_size=size, supersample=factor)).reset(seed=0)[0]
        for size, factor in ((64, 1), (32, 2))
    )
    assert small.shape == (32, 32, 3)
    expected = Image.fromarray(large).resize((32, 32), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(small, np.asarray(expected))


def test_frames_are_not_drawn_over_each_other():
    env = make_single("walker_walk", EnvConfig(render_quality="fast"))
    first, _ = env.reset(seed=0)
    before = first.copy()
    env.step(np.ones(6))
    np.testing.assert_array_equal(first, before)


def test_stacked_frames_are_the_newest_ones_and_the_first_repeated():
    plain, stacked = (make_single("cartpole_balance", EnvConfig(image_size=16, frame_stack=n)) for n in (1, 3))
    frames = [plain.reset(seed=0)[0]]
    observation = stacked.reset(seed=0)[0]
    assert stacked.observation_space.shape == observation.shape == (16, 16, 9) and observation.dtype == np.uint8
    np.testing.assert_array_equal(observation, np.concatenate([frames[0]] * 3, -1))
    for _ in range(4):
        frames.append(plain.step(np.ones(1, np.float32))[0])
        observation = stacked.step(np.ones(1, np.float32))[0]
    np.testing.assert_array_equal(observation, np.concatenate(frames[-3:], -1))
    assert not np.array_equal(observation[..., :3], observation[..., 6:])


def test_gymnasium_pixels_are_resized():
    env = make_single("Pendulum-v1", EnvConfig())
    assert env_spec(env) == EnvSpec.single((64, 64, 3), "uint8", action_size=1, max_decisions=200)
    frame, _ = env.reset(seed=0)
    assert env.observation_space.contains(frame)
    assert frame.std() > 10


def test_an_observed_picture_is_taken_and_not_rendered():
    for name in ("Picture-v0", "BarePicture-v0"):
        env = make_single(f"sample_envs:{name}", EnvConfig(image_size=16, action_repeat=2))
        assert env_spec(env) == EnvSpec.single((16, 16, 3), "uint8", action_size=2, action_repeat=2)
        seen = [env.reset(seed=0)[0], env.step(np.zeros(2))[0]]
        assert [np.unique(frame.reshape(-1, 3), axis=0).tolist() for frame in seen] == [[[0, 0, 0]], [[20, 0, 0]]]
    assert env_spec(make_single("sample_envs:GreyPicture-v0", EnvConfig())).observations["image"].shape == (64, 64, 1)
    assert env_spec(make_single("sample_envs:Picture-v0", STATE)).observations["state"].shape == (600,)


@pytest.mark.parametrize("name", ["cartpole_balance", "Pendulum-v1", "sample_envs:Picture-v0"])
def test_grey_frames_are_the_brightness_of_coloured_ones(name):
    colour, grey = (make_single(name, EnvConfig(image_size=32, grayscale=g)) for g in (False, True))
    assert env_spec(grey).observations["image"].shape == (32, 32, 1)
    for left, right in zip(play(colour, 0, 2)[::2], play(grey, 0, 2)[::2], strict=True):
        if left.ndim == 3:
            np.testing.assert_allclose(right[..., 0], left @ [0.299, 0.587, 0.114], atol=0.6)
    stacked = make_single(name, EnvConfig(image_size=32, grayscale=True, frame_stack=2))
    np.testing.assert_array_equal(stacked.reset(seed=0)[0], np.repeat(grey.reset(seed=0)[0], 2, -1))


def test_an_observed_dictionary_with_a_picture_gives_every_entry_by_name():
    env = make_env("sample_envs:Both-v0", EnvConfig(image_size=16, frame_stack=2))
    spec = env_spec_of(env)
    assert spec.observations == {"camera": ArraySpec((16, 16, 6), "uint8"), "joints": ArraySpec((5,))}
    assert (spec.images, spec.action_size, spec.max_decisions) == (("camera",), 2, 50)
    env.reset(seed=0)
    seen = env.step(np.zeros(2))[0]
    assert env.observation_space.contains(seen)
    np.testing.assert_allclose(seen["joints"], [0.01, 0.01, 0, 1, 0])
    assert [seen["camera"][..., :3].max(), seen["camera"][..., 3:].max()] == [0, 2]
    with Workers("sample_envs:Both-v0", EnvConfig(image_size=16), num_envs=2) as workers:
        first = workers.reset(seeds=[0, 1])
    assert (first["camera"].shape, first["joints"].shape) == ((2, 16, 16, 3), (2, 5))


def test_frames_that_are_no_pictures_are_refused():
    with pytest.raises(
        ValueError, match=r"obs: sample_envs:FloatFrames-v0 renders float64 \[8, 8, 3\]; expected uint8 from 0"
    ):
        make_single("sample_envs:FloatFrames-v0", EnvConfig())


def test_dm_control_state_is_one_float32_vector():
    env = make_single("walker_walk", STATE)
    assert env_spec(env) == EnvSpec.single((24,), action_size=6, action_repeat=2, max_decisions=500)
    observation, _ = env.reset(seed=0)
    assert env.observation_space.contains(observation)
    raw = env.unwrapped._env
    parts = raw.task.get_observation(raw.physics)
    assert sorted(observation) == sorted(np.concatenate([np.ravel(p) for p in parts.values()]).astype(np.float32))


def test_action_repeat_sums_the_raw_environments_rewards():
    from dm_control import suite

    env = make_single("cheetah_run", STATE)
    raw = suite.load("cheetah", "run", task_kwargs={"random": np.random.RandomState(3)})
    env.reset(seed=3)
    raw.reset()
    for action in actions(3, 5, 6):
        expected = math.fsum(raw.step(action).reward for _ in range(4))
        assert env.step(action)[1] == pytest.approx(expected, rel=1e-12)
    np.testing.assert_array_equal(raw.physics.data.qpos, env.unwrapped._env.physics.data.qpos)


def test_a_repeated_action_is_the_same_where_the_environment_changes_it():
    class Doubles(gymnasium.Env):
        action_space = observation_space = Box(-1.0, 1.0, (1,))

        def step(self, action):
            action *= 2.0
            return action, action[0], False, False, {}

    action = np.ones(1)
    assert ActionRepeat(Boundary(Doubles(), "Doubles"), 3, None).step(action)[1] == 6.0
    assert action == 1.0


def test_an_episode_of_walker_is_500_decisions_and_ends_by_the_time_limit():
    env = make_single("walker_walk", STATE)
    env.reset(seed=0)
    flags = [env.step(np.zeros(6))[2:4] for _ in range(500)]
    assert flags[:-1] == [(False, False)] * 499
    assert flags[-1] == (False, True)


def test_a_termination_is_no_time_limit():
    env = sample("Ends5-v0")
    assert env_spec(env).max_decisions is None
    env.reset(seed=0)
    assert [env.step(np.zeros(2))[2:4] for _ in range(5)][3:] == [(False, False), (True, False)]


def test_a_repeat_that_does_not_divide_the_time_limit():
    env = sample("Limit7-v0", action_repeat=3)
    assert env_spec(env).max_decisions == 3
    env.reset(seed=0)
    assert [env.step(np.zeros(2))[1:4] for _ in range(3)] == [
        (3.0, False, False),
        (3.0, False, False),
        (1.0, False, True),
    ]


def test_after_the_end_nothing_changes():
    env = sample("Ends5-v0", action_repeat=2)
    with pytest.raises(ResetNeeded):
        env.step(np.zeros(2))
    env.reset(seed=0)
    results = [env.step(np.zeros(2))[:4] for _ in range(5)]
    assert results[2] == (np.array([5.0]), 1.0, True, False)
    assert results[3] == results[4] == (np.array([5.0]), 0.0, True, False)
    assert env.reset(seed=0)[0] == 0.0
    assert env.step(np.zeros(2))[1] == 2.0


@pytest.mark.parametrize("name", ["walker_walk", "quadruped_fetch", "Pendulum-v1"])
def test_the_same_seed_gives_the_same_episode_whatever_came_before(name):
    env = make_single(name, STATE)
    first = play(env, seed=1)
    other = play(env, seed=2)
    assert_same(play(env, seed=1), first)
    assert_same(play(make_single(name, STATE), seed=1), first)
    assert np.any(first[0] != other[0])


def test_the_same_seed_gives_the_same_pixels():
    env = make_single("walker_walk", EnvConfig())
    first = play(env, seed=1, decisions=3)
    play(env, seed=2, decisions=3)
    assert_same(play(env, seed=1, decisions=3), first)


@pytest.mark.parametrize(("action", "torque"), [(-1.0, -2.0), (0.0, 0.0), (0.5, 1.0), (1.0, 2.0)])
def test_actions_are_scaled_to_the_environments_bounds(action, torque):
    env = make_single("Pendulum-v1", STATE)
    env.reset(seed=0)
    env.step([action])
    assert env.unwrapped.last_u == torque


def test_actions_and_observations_of_any_shape_become_vectors():
    env = sample("Shapes-v0")
    assert env_spec(env) == EnvSpec.single((5,), action_size=4)
    assert env.reset(seed=0)[0].tolist() == [-3.0, 1.0, 1.0, 1.0, 1.0]
    env.step([-1.0, 0.0, 0.5, 1.0])
    np.testing.assert_array_equal(env.unwrapped.seen, [[0.0, 2.0], [3.0, 4.0]])


@pytest.mark.parametrize(
    ("action", "message"),
    [
        ([0.0], r"expected float32 \[2\], got float64 \[1\]"),
        ([0.0, np.nan], "expected finite numbers"),
        ([0.0, 1.1], r"expected numbers in \[-1, 1\], got 0 to 1.1"),
    ],
)
def test_bad_actions_are_refused(action, message):
    env = sample("Counter-v0")
    env.reset(seed=0)
    with pytest.raises(ValueError, match=message):
        env.step(action)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("sample_envs:Unbounded-v0", r"unbounded action space Box\(-inf, inf.*finite bounds"),
        ("sample_envs:Endless-v0", "observation space Sequence.*not a vector of numbers of a fixed size"),
        ("walker_wlak", "unknown environment 'walker_wlak'.*walker_walk"),
    ],
)
def test_an_environment_that_cannot_be_used_is_refused(name, message):
    with pytest.raises(ValueError, match=message):
        make_single(name, STATE)


def test_discrete_actions_are_one_hot_choices():
    env = make_single("CartPole-v1", STATE)
    spec = env_spec(env)
    assert spec.discrete and spec.action_size == 2
    pushes = []
    for choice in (0, 1):
        env.reset(seed=0)
        for _ in range(3):
            observation, *_ = env.step(np.eye(2, dtype=np.float32)[choice])
        pushes.append(observation[1])  # the cart's velocity
    assert pushes[0] < -0.3 and pushes[1] > 0.3
    assert not env_spec(make_single("Pendulum-v1", STATE)).discrete


def test_numbers_that_are_not_finite_stop_the_episode():
    env = sample("Nan-v0")
    env.reset(seed=0)
    for _ in range(2):
        env.step(np.zeros(2))
    with pytest.raises(
        RuntimeError, match="sample_envs:Nan-v0: 1 of 1 numbers of the observation 'state' are not finite"
    ):
        env.step(np.zeros(2))


def test_workers_give_what_single_environments_give():
    config = EnvConfig(image_size=16)
    with Workers("walker_walk", config, num_envs=2) as workers:
        single = make_single("walker_walk", config)
        assert workers.spec == env_spec(single)
        for _ in range(2):  # the second time after another episode
            observation = workers.reset(seeds=[7, 8])["image"]
            assert observation.shape == (2, 16, 16, 3)
            results = [workers.step(np.tile(action, (2, 1))) for action in actions(7, 3, 6)]
        expected = play(single, seed=7, decisions=3)
        for result, seen, (reward, *_) in zip(results, expected[1::2], expected[2::2], strict=True):
            np.testing.assert_array_equal(result.observation["image"][0], seen)
            assert result.reward[0] == np.float32(reward)
        assert np.any(np.diff(results[-1].observation["image"], axis=0))


def test_workers_tell_ends_apart_and_wait_for_each_other():
    for name, end in [("Ends5-v0", True), ("Limit7-v0", False)]:
        with Workers(f"sample_envs:{name}", STATE, num_envs=2) as workers:
            workers.reset(seeds=[0, 1])
            for _ in range(9):
                workers.step_async(np.zeros((2, 2)))
                result = workers.step_wait()
            assert (result.reward.dtype, result.is_last.dtype, result.is_terminal.dtype) == (np.float32, bool, bool)
            assert result.reward.tolist() == [0.0, 0.0]
            assert result.is_last.tolist() == [True, True]
            assert result.is_terminal.tolist() == [end, end]


def test_worker_processes_are_light_and_leave_ctrl_c_alone():
    import jax  # noqa: F401, this process has it

    with Workers("sample_envs:Process-v0", STATE, num_envs=1) as workers:
        has_jax, ignores_sigint = workers.reset(seeds=[0])["state"][0]
        os.kill(workers._processes[0].pid, signal.SIGINT)
        workers.reset(seeds=[0])
    assert not has_jax
    assert ignores_sigint


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(("given", "expected"), [(None, b"0"), ("3", b"3")])
def test_workers_render_without_further_threads_unless_told_so(given, expected, monkeypatch):
    monkeypatch.delenv("LP_NUM_THREADS", raising=False)
    if given:
        monkeypatch.setenv("LP_NUM_THREADS", given)
    with Workers("sample_envs:Counter-v0", STATE, num_envs=1) as workers:
        variables = Path(f"/proc/{workers._processes[0].pid}/environ").read_bytes().split(b"\0")
    assert b"LP_NUM_THREADS=" + expected in variables


def test_a_killed_worker_is_reported_at_once_and_can_be_replaced():
    workers = Workers("sample_envs:Counter-v0", STATE, num_envs=2)
    workers.reset(seeds=[0, 1])
    processes = list(workers._processes)
    os.kill(processes[1].pid, signal.SIGKILL)
    started = time.monotonic()
    with pytest.raises(WorkerDied, match=r"worker 1 .*signal 9 \(SIGKILL\)") as caught:
        for _ in range(100):
            workers.step(np.zeros((2, 2)))
    assert time.monotonic() - started < 5
    assert caught.value.index == 1
    assert not any(process.is_alive() for process in processes)
    with pytest.raises(RuntimeError, match="closed"):
        workers.reset(seeds=[0, 1])
    workers.close()
    with Workers("sample_envs:Counter-v0", STATE, num_envs=2) as again:
        assert again.reset(seeds=[0, 1])["state"].shape == (2, 1)


def test_a_workers_exception_arrives_with_its_traceback():
    workers = Workers("sample_envs:Raises-v0", STATE, num_envs=1)
    workers.reset(seeds=[0])
    with pytest.raises(WorkerDied, match="Unpicklable: the arm fell off") as caught:
        for _ in range(3):
            workers.step(np.zeros((1, 2)))
    assert caught.value.index == 0
    assert "sample_envs.py" in caught.value.traceback
    assert "in _break" in caught.value.traceback


def test_a_worker_that_hangs_is_given_up():
    workers = Workers("sample_envs:Hangs-v0", STATE, num_envs=2, timeout_s=20.0)
    workers.reset(seeds=[0, 1])
    workers._timeout_s = 0.5
    started = time.monotonic()
    with pytest.raises(WorkerDied, match=r"did not answer within 0\.5 s"):
        for _ in range(3):
            workers.step(np.zeros((2, 2)))
    assert time.monotonic() - started < 5
    assert not any(process.is_alive() for process in workers._processes)


def test_a_worker_that_exits_is_reported():
    workers = Workers("sample_envs:Exits-v0", STATE, num_envs=1)
    workers.reset(seeds=[0])
    with pytest.raises(WorkerDied, match="ended with exit status 3"):
        for _ in range(3):
            workers.step(np.zeros((1, 2)))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_workers_end_with_a_parent_that_was_killed(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import sys, time\n"
        f"sys.path.insert(0, {str(Path(__file__).parents[1])!r})\n"
        "from latentplan.envs.env import EnvConfig\nfrom latentplan.envs.workers import Workers\n"
        "if __name__ == '__main__':\n"
        "    workers = Workers('sample_envs:Counter-v0', EnvConfig(obs='state'), num_envs=2)\n"
        "    print(*[process.pid for process in workers._processes], flush=True)\n"
        "    time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as parent:
        children = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(children) == 2
        parent.kill()
    deadline = time.monotonic() + 10
    while any(map(is_running, children)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(is_running, children))


def test_a_script_without_a_main_guard_is_told_so(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from latentplan.envs.env import EnvConfig\nfrom latentplan.envs.workers import Workers\n"
        "Workers('Pendulum-v1', EnvConfig(obs='state'), num_envs=1)\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert 'needs `if __name__ == "__main__":`' in done.stderr


def test_what_goes_wrong_while_building_is_told_in_the_parents_words():
    with pytest.raises(ValueError, match="unknown environment 'sample_envs:Nope-v0'"):
        Workers("sample_envs:Nope-v0", STATE, num_envs=1)
    with pytest.raises(WorkerDied, match="the simulator has no licence"):
        Workers("sample_envs:NoBuild-v0", STATE, num_envs=1)
    with pytest.raises(ValueError, match="num_envs: expected at least 1"):
        Workers("Pendulum-v1", STATE, num_envs=0)


OWN_CODE = """import gymnasium
import numpy as np
from gymnasium.spaces import Box

class Arm(gymnasium.Env):
    action_space = observation_space = Box(-1.0, 1.0, (2,))
    metadata = {"render_modes": ["rgb_array"]}
    render_mode = "rgb_array"
    def __init__(self, render_mode=None, links=1):
        np.zeros(4).reshape(links, -1)
        if links == 2:
            raise ValueError("two links\\nare too few")
    def reset(self, *, seed=None, options=None):
        float("one")

gymnasium.register("Arm-v0", lambda **kwargs: Arm(**kwargs))
gymnasium.register("Link-v0", Arm)
"""


@pytest.mark.parametrize(
    ("name", "links", "obs", "told"),
    [
        (
            "Arm-v0",
            3,
            "state",
            "constructor raised ValueError: cannot reshape array of size 4 into shape (3,newaxis) (10)",
        ),
        ("Link-v0", 2, "pixels", "constructor raised ValueError: two links are too few (12)"),
        ("Link-v0", 1, "pixels", "reset raised ValueError: could not convert string to float: 'one' (14)"),
        ("", 1, "state", "module raised ValueError: could not convert string to float: 'two' (18)"),
    ],
)
def test_a_value_error_of_an_environments_own_code_is_told_with_its_place(
    name, links, obs, told, tmp_path, monkeypatch
):
    monkeypatch.syspath_prepend(str(tmp_path))
    path = tmp_path / "own_code.py"
    path.write_text(OWN_CODE + ("" if name else 'float("two")\n'))
    place = re.sub(r"\((\d+)\)$", rf"({path}:\1)", told)
    with pytest.raises(ValueError) as caught:
        Workers(f"own_code:{name or 'Arm-v0'}", EnvConfig(obs=obs, env_kwargs=(f"links={links}",)), num_envs=1)
    expected = f"env: own_code:{name or 'Arm-v0'}: its {place}. Correct it there, or what env_kwargs gives it."
    assert str(caught.value) == expected


def test_a_value_error_of_the_librarys_own_is_told_as_it_is():
    with pytest.raises(ValueError, match="^env_kwargs: expected a delay of 1 or more, got 0; correct it$"):
        Workers("Memory/TMaze-v0", EnvConfig(obs="state", env_kwargs=("delay=0",)), num_envs=1)


def test_missing_opengl_is_told_before_any_process_starts(monkeypatch):
    monkeypatch.setattr(gl, "_loads", lambda library: False)
    monkeypatch.setenv("MUJOCO_GL", "egl")
    monkeypatch.delenv("LATENTPLAN_GL_CHECKED", raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    with pytest.raises(gl.GLUnavailable, match="apt-get install libegl1"):
        Workers("walker_walk", EnvConfig(), num_envs=2)


def test_workers_are_asked_properly():
    with Workers("sample_envs:Counter-v0", STATE, num_envs=2) as workers:
        with pytest.raises(ValueError, match="seeds: expected 2, one per environment, got 1"):
            workers.reset(seeds=[0])
        workers.reset(seeds=[0, 1])
        with pytest.raises(ValueError, match=r"actions: expected float32 \[2, 2\], got float64 \[1, 2\]\. An agent"):
            workers.step(np.zeros((1, 2)))
        with pytest.raises(RuntimeError, match="Call step_async first"):
            workers.step_wait()
        workers.step_async(np.zeros((2, 2)))
        with pytest.raises(RuntimeError, match="Call step_wait first"):
            workers.step_async(np.zeros((2, 2)))
        assert workers.step_wait().reward.tolist() == [1.0, 1.0]
        processes = list(workers._processes)
    assert not any(process.is_alive() for process in processes)
