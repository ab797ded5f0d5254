"""Tasks that need memory: the T-maze, and state vectors without velocities."""

import numpy as np
import pytest
from envs.single import make_single

from latentplan.envs import suite_name
from latentplan.envs.env import EnvConfig, make_env, spec_fields

TMAZE = "Memory/TMaze-v0"


@pytest.mark.parametrize("delay", [1, 5, 20])
def test_the_t_maze_shows_its_cue_once_and_rewards_its_sign_at_the_junction(delay):
    env = make_env(TMAZE, EnvConfig(obs="state", env_kwargs=(f"delay={delay}",)))
    cues = set()
    for seed in range(6):
        for turn in (1.0, -1.0):
            observation, _ = env.reset(seed=seed)
            cue = observation["state"][0]
            cues.add(float(cue))
            seen, rewards = [], []
            for decision in range(delay + 1):
                assert observation["state"][1] == (decision == delay)
                observation, reward, terminated, truncated, _ = env.step(np.array([turn * cue], np.float32))
                seen.append(observation["state"][0])
                rewards.append(reward)
                assert (terminated, truncated) == (decision == delay, False)
            assert not any(seen) and rewards == [0.0] * delay + [float(turn > 0)]
    assert cues == {-1.0, 1.0}
    assert spec_fields(env)["max_decisions"] == delay + 1 and suite_name(TMAZE) == "memory"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"obs": "pixels"}, "obs: expected state, since Memory/TMaze-v0 has no images, got pixels"),
        ({"obs": "state", "env_kwargs": ("delay=0",)}, "env_kwargs: expected a delay of 1 or more, got 0"),
        ({"obs": "state", "env_kwargs": ("length=3",)}, r"env_kwargs: .*\(delay\), got length"),
    ],
)
def test_what_the_t_maze_does_not_have_is_refused(config, message):
    with pytest.raises(ValueError, match=message):
        make_env(TMAZE, EnvConfig(**config))


@pytest.mark.parametrize(
    ("name", "velocities"),
    [
        ("cartpole_swingup", [3, 4]),  # position of the cart, cosine and sine of the pole; then velocities
        ("walker_walk", list(range(15, 24))),
        ("CartPole-v1", [1, 3]),
        ("Pendulum-v1", [2]),
        ("HalfCheetah-v5", list(range(8, 17))),
    ],
)
def test_velocities_are_hidden(name, velocities):
    full, part = (make_env(name, EnvConfig(obs="state", mask=mask)) for mask in ("", "velocities"))
    action = full.action_space.sample()
    for env in (full, part):
        env.reset(seed=1)
    for _ in range(3):
        whole, masked = (env.step(action)[0]["state"] for env in (full, part))
        np.testing.assert_array_equal(masked, np.delete(whole, velocities))
    assert part.observation_space["state"].shape == masked.shape


def test_an_episode_with_hidden_numbers_can_be_filmed():
    config = EnvConfig(obs="state", mask="velocities", image_size=16)
    assert make_env("CartPole-v1", config.filmed).reset(seed=1)[0]["image"].shape == (16, 16, 3)


def test_numbers_are_hidden_by_index():
    full, part = (make_env("Pendulum-v1", EnvConfig(obs="state", mask=mask)) for mask in ("", "0,2"))
    np.testing.assert_array_equal(part.reset(seed=1)[0]["state"], full.reset(seed=1)[0]["state"][[1]])


@pytest.mark.parametrize(
    ("name", "config", "message"),
    [
        ("Pendulum-v1", {"mask": "speed"}, "mask: expected velocities, or indices of the state vector"),
        ("Pendulum-v1", {"mask": "3"}, "mask: expected indices from 0 to 2, and not all of them, .* got 3"),
        ("Pendulum-v1", {"mask": "0,1,2"}, "mask: expected indices from 0 to 2, and not all of them"),
        (TMAZE, {"mask": "velocities"}, "mask: expected indices .* unknown which numbers of Memory/TMaze-v0"),
        ("CartPole-v1", {"mask": "1", "obs": "pixels"}, "mask: expected an observation state to mask, got image"),
    ],
)
def test_masks_that_do_not_fit_are_refused(name, config, message):
    with pytest.raises(ValueError, match=message):
        make_single(name, EnvConfig(**({"obs": "state"} | config)))
