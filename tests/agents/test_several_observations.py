"""An image and a vector that say something together only: both are encoded into what is predicted and planned."""

import functools
from functools import partial

import gymnasium
import jax
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict

from agents.windows import time_first
from latentplan.agents.planet import LossConfig, OptimizerConfig, PlaNetConfig, make_planet
from latentplan.diagnostics.open_loop import predict_open_loop
from latentplan.envs.env import EnvConfig, env_spec, make_env
from latentplan.models.world_model import WorldModelConfig
from latentplan.planners.cem import CEMConfig
from latentplan.types import Batch, Sample

DECISIONS, EPISODES, UPDATES, BATCH = 2, 256, 300, 32


class Parity(gymnasium.Env):
    """Earns the action times two signs: whether the camera's image is bright, and that of the vector.

    Of an episode of which one of them is hidden, the reward to expect is zero whatever is done.
    """

    observation_space = Dict(camera=Box(0, 255, (16, 16, 1), np.uint8), sign=Box(-1.0, 1.0, (1,), np.float32))
    action_space = Box(-1.0, 1.0, (1,), np.float32)

    def __init__(self, hidden=""):
        self.hidden = hidden

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.bright, self.sign = self.np_random.choice([-1, 1], 2)
        return self._seen(), {}

    def step(self, action):
        return self._seen(), float(self.bright * self.sign * action[0]), False, False, {}

    def _seen(self):
        bright, sign = self.bright * (self.hidden != "camera"), self.sign * (self.hidden != "sign")
        return {"camera": np.full((16, 16, 1), 128 + 100 * bright, np.uint8), "sign": np.full(1, sign, np.float32)}


gymnasium.register("Parity-v0", Parity, max_episode_steps=DECISIONS)


def make(hidden=""):
    config = EnvConfig(obs="camera,sign", image_size=16, env_kwargs=(f"hidden={hidden}",))
    return make_env("Parity-v0", config)


def play(env, act, seed):
    """The records of an episode."""
    observation, _ = env.reset(seed=seed)
    records = [(observation, np.zeros(1, np.float32), 0.0)]
    for t in range(DECISIONS):
        action = act(observation, t)
        observation, reward, *_ = env.step(action)
        records.append((observation, action, reward))
    observations, actions, rewards = zip(*records, strict=True)
    time = np.arange(DECISIONS + 1)
    return Batch(
        observation={name: np.stack([x[name] for x in observations]) for name in observations[0]},
        action=np.stack(actions),
        reward=np.float32(rewards),
        is_first=time == 0,
        is_last=time == DECISIONS,
        is_terminal=np.zeros(DECISIONS + 1, bool),
    )


def random_episodes(hidden, count, seed):
    env, rng = make(hidden), np.random.default_rng(seed)
    act = lambda observation, t: rng.uniform(-1, 1, 1).astype(np.float32)  # noqa: E731
    return jax.tree.map(lambda *x: np.stack(x), *(play(env, act, seed + i) for i in range(count)))


AGENT = make_planet(
    PlaNetConfig(
        model=WorldModelConfig(
            deter=16, stoch=4, hidden=16, layers=1, activation="elu", conv_depth=2,
            reward_hidden=16, vector_hidden=16, vector_layers=1,
        ),
        loss=LossConfig(free_nats=0.5, reward_scale=10.0),
        planner=CEMConfig(horizon=1, num_iterations=4, num_candidates=50, num_elites=5),
        optimizer=OptimizerConfig(learning_rate=5e-3, clip_norm=100.0),
    ),
    env_spec(make()),
)  # fmt: skip


@jax.jit
def train(state, episodes, places, key):
    """UPDATES steps, each on the episodes at `places` [UPDATES, BATCH]."""

    def step(state, inputs):
        rows, key = inputs
        return AGENT.updates["joint"](state, Sample.uniform(jax.tree.map(lambda x: x[:, rows], episodes)), key)

    return jax.lax.scan(step, state, (places, jax.random.split(key, UPDATES)))


@functools.cache
def trained(hidden):
    places = np.random.default_rng(0).integers(0, EPISODES, (UPDATES, BATCH))
    episodes = time_first(random_episodes(hidden, EPISODES, seed=1))
    state, metrics = train(jax.jit(AGENT.init)(jax.random.key(0)), episodes, places, jax.random.key(1))
    assert np.all(metrics["finite"] == 1.0)
    return state.params


OPEN_LOOP = jax.jit(partial(predict_open_loop, AGENT.model), static_argnames="context")


def unexplained(hidden):
    """The share of the rewards' variance that the prediction from the first record leaves."""
    episodes = random_episodes(hidden, 64, seed=10_000)
    found = OPEN_LOOP(trained(hidden), time_first(episodes), jax.random.key(2), context=1)
    error = (np.asarray(found.predicted_reward).T - episodes.reward)[:, 1:]
    return np.mean(error**2) / np.var(episodes.reward[:, 1:])


ACT = jax.jit(AGENT.act, static_argnames="mode")


def mean_return(hidden):
    """Per decision, of planned episodes."""
    env, carry = make(hidden), AGENT.initial(1)

    def act(observation, t):
        nonlocal carry
        rows = {name: x[None] for name, x in observation.items()}
        key = jax.random.fold_in(jax.random.key(3), t)
        action, carry, _ = ACT(trained(hidden), carry, rows, np.array([t == 0]), key, mode="eval")
        return np.asarray(action[0])

    return np.mean([play(env, act, seed).reward[1:] for seed in range(20_000, 20_040)])


def test_what_an_image_and_a_vector_say_together_is_learned_and_planned_with():
    assert unexplained("") < 0.2
    assert mean_return("") > 0.8


@pytest.mark.parametrize("hidden", ["camera", "sign"])
def test_neither_says_it_alone(hidden):
    """So that the test above needs both."""
    assert unexplained(hidden) > 0.9
    assert abs(mean_return(hidden)) < 0.4
