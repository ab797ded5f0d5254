"""PlaNet learns: one batch by heart, and five probes whose answers are known."""

import functools
import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from probes import LENGTH, PROBES, SPEC, play, random_episodes
from tiers import one_of_each

from agents.windows import time_first
from latentplan.agents.planet import LossConfig, OptimizerConfig, PlaNetConfig, make_planet
from latentplan.diagnostics.open_loop import predict_open_loop
from latentplan.models.world_model import DYNAMICS, WorldModelConfig
from latentplan.planners.cem import CEMConfig
from latentplan.types import Batch, EnvSpec, Sample

OPTIMIZED = True  # these train: see tests/conftest.py


def tiny(kind="rssm", **loss):
    return PlaNetConfig(
        model=WorldModelConfig(
            kind=kind, deter=16, stoch=4, hidden=16, layers=1, activation="elu",
            reward_hidden=16, reward_layers=1, vector_hidden=16, vector_layers=1,
        ),
        loss=LossConfig(**({"free_nats": 0.5} | loss)),
        planner=CEMConfig(horizon=3, num_iterations=6, num_candidates=200, num_elites=20),
        optimizer=OptimizerConfig(learning_rate=5e-3, clip_norm=100.0),
    )  # fmt: skip


def make_train(agent):
    """(state, batches [updates, T, B], key) -> (state, metrics [updates])."""

    @jax.jit
    def train(state, batches, key):
        def step(state, inputs):
            batch, key = inputs
            return agent.updates["joint"](state, Sample.uniform(batch), key)

        return jax.lax.scan(step, state, (batches, jax.random.split(key, len(batches.reward))))

    return train


@pytest.mark.parametrize("kind", one_of_each(DYNAMICS, lambda _: "planet"))
def test_one_batch_can_be_learned_by_heart(kind):
    """What the loss has above the likelihoods' constants falls to under a 20th."""
    b, t, n, updates = 4, 8, 3, 1500
    generator = np.random.default_rng(0)
    time, phase = np.arange(t), generator.uniform(0, 2 * np.pi, (b, 1, n))
    observation = np.sin(0.9 * time[None, :, None] + phase).astype(np.float32)
    is_first = np.broadcast_to(time == 0, (b, t))
    batch = Batch(
        observation={"state": observation},
        action=np.where(is_first[..., None], 0, generator.uniform(-1, 1, (b, t, 2))).astype(np.float32),
        reward=(observation[..., 0] * observation[..., 1]).astype(np.float32),
        is_first=is_first,
        is_last=np.zeros((b, t), bool),
        is_terminal=np.zeros((b, t), bool),
    )
    config = tiny(kind)
    agent = make_planet(config, EnvSpec.single((n,), action_size=2, action_repeat=1, max_decisions=None))
    batches = jax.tree.map(lambda x: jnp.broadcast_to(x, (updates, *x.shape)), time_first(batch))
    state, metrics = make_train(agent)(jax.jit(agent.init)(jax.random.key(0)), batches, jax.random.key(1))

    constant = 0.5 * math.log(2 * math.pi)
    floor = n * (constant + math.log(config.model.vector_std)) + config.loss.reward_scale * constant
    floor *= 2 if kind == "rnn" else 1  # it decodes its predictions too
    excess = np.asarray(metrics["loss"]) - floor
    assert np.all(metrics["finite"] == 1.0)
    assert excess[-20:].mean() < excess[0] / 20
    window = jax.tree.map(jnp.asarray, time_first(batch))
    seen = predict_open_loop(agent.model, state.params, window, jax.random.key(2), context=t - 1)
    assert np.mean((seen.predicted_reward - seen.true_reward) ** 2) < 0.1 * np.var(batch.reward)


AGENT = make_planet(tiny(), SPEC)
TRAIN = make_train(AGENT)
ACT = jax.jit(AGENT.act, static_argnames="mode")
OPEN_LOOP = jax.jit(partial(predict_open_loop, AGENT.model), static_argnames="context")
UPDATES, BATCH = 800, 32


@functools.cache
def trained(name):
    """Parameters after learning from random episodes of a probe."""
    episodes = random_episodes(PROBES[name], UPDATES * BATCH, seed=1)
    batches = jax.tree.map(lambda x: x.reshape(UPDATES, BATCH, *x.shape[1:]).swapaxes(1, 2), episodes)
    state, metrics = TRAIN(jax.jit(AGENT.init)(jax.random.key(0)), batches, jax.random.key(1))
    assert np.all(metrics["finite"] == 1.0)
    return state.params


def predicted_reward(name, actions, cue, context=1):
    """[B, T]: what the model expects after `context` records, and what comes."""
    batch = play(PROBES[name], actions, cue)
    prediction = OPEN_LOOP(trained(name), time_first(batch), jax.random.key(3), context=context)
    return np.asarray(prediction.predicted_reward).T, batch.reward


def act_through(name, cue):
    """Whole episodes under the planner: actions [B, T], the first of them zero."""
    carry, actions = AGENT.initial(len(cue)), np.zeros((len(cue), LENGTH))
    for t in range(LENGTH - 1):
        observation = {"state": play(PROBES[name], actions, cue).observation["state"][:, t]}
        is_first = np.full(len(cue), t == 0)
        key = jax.random.fold_in(jax.random.key(4), t)
        action, carry, _ = ACT(trained(name), carry, observation, is_first, key, mode="eval")
        actions[:, t + 1] = action[:, 0]
    return actions


CUES = np.tile([-1.0, 1.0], 8)
ACTIONS = np.random.default_rng(2).uniform(-1, 1, (16, LENGTH))


def test_probe_1_a_constant_reward_is_predicted():
    predicted, _ = predicted_reward("constant_reward", ACTIONS, np.zeros(16))
    np.testing.assert_allclose(predicted[:, 1:].sum(1), LENGTH - 1, rtol=0.1)
    np.testing.assert_allclose(predicted[:, 0], 0.0, atol=0.2)  # a first record has no reward


def test_probe_2_a_reward_that_is_seen_is_predicted():
    predicted, _ = predicted_reward("reward_seen", ACTIONS, CUES)
    np.testing.assert_allclose(predicted[:, 1:].sum(1), CUES * (LENGTH - 1), atol=1.0)


def test_probe_3_the_best_action_is_chosen():
    predicted, true = predicted_reward("reward_for_action", ACTIONS, np.zeros(16))
    assert np.mean((predicted - true)[:, 1:] ** 2) < 0.1 * np.var(true[:, 1:])
    np.testing.assert_allclose(act_through("reward_for_action", np.zeros(16))[:, 1:], 0.5, atol=0.3)


def test_probe_4_an_action_is_chosen_for_a_later_reward():
    predicted, true = predicted_reward("reward_delayed", ACTIONS, np.zeros(16))
    assert np.mean((predicted - true)[:, 1:] ** 2) < 0.1 * np.var(true[:, 1:])
    actions = act_through("reward_delayed", np.zeros(16))
    assert np.all(actions[:, 1:-1] < -0.7)  # the last action earns nothing any more
    assert play(PROBES["reward_delayed"], actions, np.zeros(16)).reward.sum(1).mean() > 0.85 * (LENGTH - 2)


def test_probe_5_a_cue_seen_once_is_remembered():
    predicted, true = predicted_reward("cue_remembered", ACTIONS, CUES)
    assert np.mean((predicted - true)[:, 1:] ** 2) < 0.2 * np.var(true[:, 1:])
    actions = act_through("cue_remembered", CUES)
    assert np.all(np.sign(actions[:, 1:]) == CUES[:, None])
    assert np.all(play(PROBES["cue_remembered"], actions, CUES).reward.sum(1) > 0.7 * (LENGTH - 1))


@pytest.mark.parametrize("name", PROBES)
def test_before_learning_the_answer_is_not_known(name):
    """So that the tests above can fail."""
    params = jax.jit(AGENT.init)(jax.random.key(0)).params
    batch = play(PROBES[name], ACTIONS, CUES if len(PROBES[name].cue) > 1 else np.zeros(16))
    prediction = OPEN_LOOP(params, time_first(batch), jax.random.key(3), context=1)
    error = np.mean((prediction.predicted_reward.T - batch.reward)[:, 1:] ** 2)
    assert error > 0.2 * np.mean(batch.reward[:, 1:] ** 2)
