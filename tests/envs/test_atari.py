"""Atari as DreamerV2 and DreamerV3 play it, against the bare emulator."""

import subprocess
import sys

import gymnasium
import numpy as np
import pytest
from envs.single import env_spec, make_single
from gymnasium.spaces import Box

from latentplan.envs import atari, suite_name, suite_of
from latentplan.envs.atari import AtariConfig, MaxOfTwoFrames
from latentplan.envs.env import EnvConfig
from latentplan.envs.workers import Workers
from latentplan.types import EnvSpec

PONG = "ALE/Pong-v5"
BARE = AtariConfig(sticky_actions=0.0, noops=0)


@pytest.fixture
def games():
    """The emulator; without it what needs none is tested all the same."""
    pytest.importorskip("ale_py")
    atari.load(PONG, EnvConfig(obs="state")).close()


def choose(env, choice):
    return env.step(np.eye(env.action_space.shape[0], dtype=np.float32)[choice])


def emulator(env):
    return env.unwrapped.ale


def test_a_missing_package_is_told_with_the_extra_that_brings_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ale_py", None)
    assert suite_name(PONG) == "atari"
    with pytest.raises(ValueError, match=r"env: ALE/Pong-v5 needs the package ale-py.*'latentplan\[atari\]'"):
        make_single(PONG, EnvConfig())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"sticky_actions": 1.0},
            "AtariConfig.sticky_actions: expected at least 0 and less than 1, got 1.0",
        ),
        ({"sticky_actions": -0.1}, "AtariConfig.sticky_actions: .*got -0.1"),
        ({"noops": -1}, "AtariConfig.noops: expected at least 0, got -1"),
    ],
)
def test_a_config_checks_itself(fields, message):
    with pytest.raises(ValueError, match=message):
        AtariConfig(**fields)


def test_names(games):
    for name in (PONG, f"ale_py:{PONG}"):
        assert suite_name(name) == "atari" and suite_of(name).action_repeat(name) == 4
        make_single(name, EnvConfig(obs="state")).close()
    assert not atari.has("Pong-v4") and not atari.has("Pendulum-v1")
    with pytest.raises(ValueError, match="unknown environment 'ALE/Pnog-v5'.*ALE/Pong-v5"):
        make_single("ALE/Pnog-v5", EnvConfig())


@pytest.mark.parametrize(
    ("config", "shape", "dtype", "actions"),
    [
        (EnvConfig(), (64, 64, 3), "uint8", 6),
        (EnvConfig(grayscale=True, image_size=32, frame_stack=4), (32, 32, 4), "uint8", 6),
        (EnvConfig(obs="state", atari=AtariConfig(all_actions=True)), (128,), "float32", 18),
    ],
)
def test_what_an_agent_is_told_of_a_game(games, config, shape, dtype, actions):
    env = make_single(PONG, config)
    assert env_spec(env) == EnvSpec.single(
        shape, dtype, action_size=actions, action_repeat=4, max_decisions=27_000, discrete=True
    )
    assert emulator(env).getFloat("repeat_action_probability") == 0.25
    observation, _ = env.reset(seed=0)
    assert env.observation_space.contains(observation)
    assert observation.std() > 3, "a blank frame"


@pytest.mark.parametrize(("action_repeat", "frames"), [(None, 4), (2, 2)])
def test_a_decision_is_so_many_frames(games, action_repeat, frames):
    env = make_single(PONG, EnvConfig(action_repeat=action_repeat))
    env.reset(seed=0)
    before = emulator(env).getEpisodeFrameNumber()
    for _ in range(5):
        choose(env, 2)
    assert emulator(env).getEpisodeFrameNumber() - before == 5 * frames


def test_the_observation_is_the_brighter_of_the_last_two_frames(games):
    env = atari.load(PONG, EnvConfig(atari=BARE))
    raw = gymnasium.make(PONG, frameskip=1, repeat_action_probability=0.0)
    frames = [raw.reset(seed=0)[0]]
    np.testing.assert_array_equal(env.reset(seed=0)[0], frames[0])
    differs = False
    for i in range(120):
        frames.append(raw.step(i // 10 % 6)[0])
        observation = env.step(i // 10 % 6)[0]
        np.testing.assert_array_equal(observation, np.maximum(*frames[-2:]))
        differs |= np.any(observation != frames[-1])
    assert differs


def test_frames_of_the_last_episode_are_forgotten():
    class Counts(gymnasium.Env):
        action_space = observation_space = Box(0, 255, (1,), np.uint8)

        def reset(self, *, seed=None, options=None):
            return np.array([5], np.uint8), {}

        def step(self, action):
            return action, 0.0, False, False, {}

    env = MaxOfTwoFrames(Counts())
    for _ in range(2):
        assert env.reset()[0] == 5
        assert [int(env.step(np.array([x], np.uint8))[0][0]) for x in (9, 2, 1, 200)] == [9, 9, 2, 200]


@pytest.mark.parametrize("noops", [0, 3, 30])
def test_an_episode_begins_with_some_frames_of_doing_nothing(games, noops):
    env = make_single(PONG, EnvConfig(atari=AtariConfig(noops=noops)))
    begins = []
    for seed in range(5 + noops):
        env.reset(seed=seed)
        begins.append(emulator(env).getEpisodeFrameNumber())
    assert min(begins) >= 0 and max(begins) <= noops
    assert len(set(begins)) >= (noops + 1) // 2, begins
    assert max(begins) > 0.8 * noops or noops == 0


@pytest.mark.parametrize("all_actions", [False, True])
def test_a_game_that_cannot_do_nothing_begins_at_once(games, all_actions):
    env = make_single("ALE/Backgammon-v5", EnvConfig(obs="state", atari=AtariConfig(all_actions=all_actions)))
    begins = []
    for seed in range(8):
        env.reset(seed=seed)
        begins.append(emulator(env).getEpisodeFrameNumber())
    assert (len(set(begins)) > 1) == all_actions  # all of them include doing nothing


def test_the_frame_limit_is_no_termination_and_leaves_out_the_noops(games, monkeypatch):
    monkeypatch.setattr(atari, "FRAME_LIMIT", 10)
    env = make_single(PONG, EnvConfig())
    assert env_spec(env).max_decisions == 3
    for seed in range(4):
        env.reset(seed=seed)
        assert [choose(env, 0)[2:4] for _ in range(3)] == [(False, False), (False, False), (False, True)]


def test_the_emulators_own_limit_is_off(games):
    env = atari.load(PONG, EnvConfig(obs="state", atari=BARE))
    assert emulator(env).getInt("max_num_frames_per_episode") == 0


def test_a_lost_life_ends_nothing_and_the_last_one_does(games):
    env = make_single("ALE/Breakout-v5", EnvConfig(image_size=16))
    env.reset(seed=0)
    lives = [emulator(env).lives()]
    while lives[-1]:
        *_, terminated, truncated, _ = choose(env, 1)  # serves whenever there is no ball, and stands
        lives.append(emulator(env).lives())
        assert (terminated, truncated) == (lives[-1] == 0, False)
        assert len(lives) < 2000
    assert set(lives) == {0, 1, 2, 3, 4, 5}


def test_rewards_are_the_games_points(games):
    env = make_single("ALE/MsPacman-v5", EnvConfig(obs="state", atari=BARE))
    env.reset(seed=0)
    rewards = {choose(env, 3)[1] for _ in range(100)}  # to the left, where the pills are
    assert max(rewards) >= 10.0


@pytest.mark.parametrize("obs", ["pixels", "state"])
def test_the_same_seed_gives_the_same_game_whatever_came_before(games, obs):
    def play(env, seed):
        choices = np.random.default_rng(1).integers(0, 6, 60)
        first = env.reset(seed=seed)[0]
        return np.stack([first, *(choose(env, choice)[0] for choice in choices)])

    config = EnvConfig(obs=obs, image_size=32)
    env = make_single(PONG, config)
    game, other = play(env, 2**32 - 1), play(env, 2)
    np.testing.assert_array_equal(play(env, 2**32 - 1), game)
    np.testing.assert_array_equal(play(make_single(PONG, config), 2**32 - 1), game)
    assert np.any(game != other)
    if obs == "pixels":
        with Workers(PONG, config, num_envs=1) as workers:
            np.testing.assert_array_equal(workers.reset([2])["image"][0], other[0])


def test_worker_processes_stay_light_and_quiet(games):
    code = """
import sys
from latentplan.envs.env import EnvConfig, make_env
make_env("ALE/Pong-v5", EnvConfig()).reset(seed=0)
heavy = {"dm_control", "mujoco", "jax", "cv2"} & set(sys.modules)
sys.exit(f"loaded: {heavy}" if heavy else 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
