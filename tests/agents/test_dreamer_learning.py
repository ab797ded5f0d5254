"""Every version of Dreamer learns five probes whose answers are known, from random episodes."""

import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from probes import LENGTH, PROBES, SPEC, play, random_episodes
from tiers import one_of_each

from agents.dreamers import small
from agents.windows import time_first
from latentplan.agents import AGENTS
from latentplan.agents.dreamer.v3 import LaPropConfig
from latentplan.agents.optimizers import AdamsConfig
from latentplan.diagnostics.open_loop import predict_open_loop
from latentplan.types import Sample

OPTIMIZED = True  # these train: see tests/conftest.py
UPDATES, BATCH = 2000, 16
ADAMS = AdamsConfig(model_rate=5e-3, actor_rate=2e-3, critic_rate=5e-3)


def config_of(version, name):
    """Small, quick to learn, and with a discount that suits episodes of five decisions."""
    config = small(version)
    loss = replace(config.loss, free_nats=0.1)
    behaviour = replace(config.behaviour, discount=0.8)
    if version != "dreamer_v1":  # its model has 0.1 already
        config = replace(config, model=replace(config.model, vector_std=0.1))
    if version == "dreamer_v3":
        # A cue times an action is learned in 1,000 updates as a mean, not in 5,000 as classes.
        model = replace(config.model, deter=32, reward="gaussian" if name == "cue_remembered" else "two_hot")
        behaviour = replace(behaviour, entropy_scale=1e-2)  # so short a training must not settle early
        # Falling steps: constant ones leave noise, and with it the judgement to rounding.
        optimizer = LaPropConfig(learning_rate=1e-3, warmup=0, decay_from=UPDATES // 2, decay_to=UPDATES)
        loss = replace(loss, reward_scale=10.0)
        config = replace(config, model=model, loss=loss, behaviour=behaviour, optimizer=optimizer)
        return replace(config, eval_action="mode")  # what was learned is judged, not the draw
    config = replace(config, loss=replace(loss, reward_scale=10.0), behaviour=behaviour, optimizer=ADAMS)
    if version == "dreamer_v1":
        return replace(config, actor=replace(config.actor, init_std=1.0))
    return replace(config, target_every=20)


@functools.cache
def built(version, name=""):
    """(agent, jitted act, jitted training)."""
    agent = AGENTS[version].make(config_of(version, name), SPEC)

    def train(state, batches, key):
        step = lambda state, inputs: agent.updates["joint"](state, Sample.uniform(inputs[0]), inputs[1])  # noqa: E731
        return jax.lax.scan(step, state, (batches, jax.random.split(key, len(batches.reward))))

    return agent, jax.jit(agent.act, static_argnames="mode"), jax.jit(train)


def built_for(version, name):
    """One compiled agent for all probes, where they share their config."""
    own = config_of(version, name) != config_of(version, "")
    return built(version, name if own else "")


@functools.cache
def trained(version, name):
    """Parameters after learning from random episodes of a probe."""
    agent, _, train = built_for(version, name)
    episodes = random_episodes(PROBES[name], UPDATES * BATCH, seed=1)
    batches = jax.tree.map(lambda x: x.reshape(UPDATES, BATCH, *x.shape[1:]).swapaxes(1, 2), episodes)
    state, metrics = train(jax.jit(agent.init)(jax.random.key(0)), batches, jax.random.key(1))
    assert np.all(metrics["finite"] == 1.0)
    return state.params, {name: np.asarray(x[-50:]).mean() for name, x in metrics.items()}


def act_through(version, params, name, cue):
    """Whole episodes as at evaluation: actions [B, T], the first of them zero."""
    agent, act, _ = built_for(version, name)
    carry, actions = agent.initial(len(cue)), np.zeros((len(cue), LENGTH))
    for t in range(LENGTH - 1):
        observation = {"state": play(PROBES[name], actions, cue).observation["state"][:, t]}
        key = jax.random.fold_in(jax.random.key(4), t)
        action, carry, _ = act(params, carry, observation, np.full(len(cue), t == 0), key, mode="eval")
        actions[:, t + 1] = action[:, 0]
    return actions


CUES = np.tile([-1.0, 1.0], 8)
# The newest of the family; the others are slow.
versions = pytest.mark.parametrize(
    "version", one_of_each(["dreamer_v3", "dreamer_v2", "dreamer_v1"], lambda _: "dreamer")
)


@versions
def test_probe_1_a_constant_reward_has_its_discounted_sum_as_value(version):
    _, metrics = trained(version, "constant_reward")
    np.testing.assert_allclose(metrics["imagined_reward"], 1.0, atol=0.1)
    np.testing.assert_allclose(metrics["imagined_return"], 1 / (1 - 0.8), rtol=0.1)


@versions
def test_probe_2_a_reward_that_is_seen_is_predicted(version):
    agent, *_ = built_for(version, "reward_seen")
    params, _ = trained(version, "reward_seen")
    batch = play(PROBES["reward_seen"], np.zeros((16, LENGTH)), CUES)
    batch = jax.tree.map(jnp.asarray, time_first(batch))
    predicted = predict_open_loop(agent.model, params, batch, jax.random.key(3), context=1)
    np.testing.assert_allclose(np.asarray(predicted.predicted_reward)[1:].sum(0), CUES * (LENGTH - 1), atol=1.0)


@versions
def test_probe_3_the_best_action_is_taken(version):
    params, _ = trained(version, "reward_for_action")
    actions = act_through(version, params, "reward_for_action", np.zeros(16))
    np.testing.assert_allclose(actions[:, 1:], 0.5, atol=0.3)


@versions
def test_probe_4_an_action_is_taken_for_a_later_reward(version):
    params, _ = trained(version, "reward_delayed")
    actions = act_through(version, params, "reward_delayed", np.zeros(16))
    assert np.all(actions[:, 1:-1] < -0.7)


@versions
def test_probe_5_a_cue_seen_once_is_remembered(version):
    params, _ = trained(version, "cue_remembered")
    actions = act_through(version, params, "cue_remembered", CUES)
    returns = play(PROBES["cue_remembered"], actions, CUES).reward.sum(1)
    # Of each cue, since who forgets it earns on one of them alone; the mean, as single beliefs are draws.
    assert min(returns[cue == CUES].mean() for cue in (-1.0, 1.0)) > 0.8 * (LENGTH - 1)
    assert returns.min() > 0.5 * (LENGTH - 1)


@versions
def test_evaluation_takes_the_likeliest_action_and_v3_draws(version):
    agent = AGENTS[version].make(small(version), SPEC)
    act = jax.jit(agent.act, static_argnames="mode")
    params = jax.jit(agent.init)(jax.random.key(0)).params
    params = params | {"actor": jax.tree.map(np.zeros_like, params["actor"])}  # the same distribution in every state
    observation = play(PROBES["constant_reward"], np.zeros((64, LENGTH)), np.tile(CUES, 4)).observation
    observation = {name: x[:, 0] for name, x in observation.items()}
    action, *_ = act(params, agent.initial(64), observation, np.ones(64, bool), jax.random.key(1), mode="eval")
    spread = np.std(action)
    assert spread > 0.1 if version == "dreamer_v3" else spread == 0.0


@versions
@pytest.mark.parametrize("name", ["reward_for_action", "reward_delayed", "cue_remembered"])
def test_before_learning_the_answer_is_not_known(version, name):
    """So that the tests above can fail."""
    agent, *_ = built_for(version, name)
    params = jax.jit(agent.init)(jax.random.key(0)).params
    actions = act_through(version, params, name, CUES)
    assert not np.all(np.abs(actions[:, 1:] - 0.5) < 0.3)
    assert not np.all(actions[:, 1:-1] < -0.7)
    assert not np.all(np.sign(actions[:, 1:]) == CUES[:, None])
