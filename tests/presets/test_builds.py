"""Every preset builds its agent at full size; the paper's preset is the paper's, and of the paper's sizes."""

import functools
import itertools

import chex
import jax
import jax.numpy as jnp
import pytest
from tiers import one_of_each

from latentplan import presets
from latentplan.agents import AGENTS
from latentplan.agents.planet import make_planet
from latentplan.types import Batch, Belief, Carry, EnvSpec, Sample

OFFERED = [(agent, preset) for agent, each in presets.PRESETS.items() for preset in each.all]


@pytest.mark.parametrize(
    "chosen", one_of_each((*each, obs) for each, obs in itertools.product(OFFERED, ("pixels", "state")))
)
def test_every_preset_builds(chosen):
    """Traced at full size, computed not at all."""
    agent, preset, obs = chosen
    env = "ALE/Pong-v5" if preset == "dreamer-v2-atari" else "cartpole_swingup"
    experiment = presets.make_preset(preset, env, obs, agent=agent)
    assert (experiment.agent, experiment.preset, experiment.environment.obs) == (agent, preset, obs)
    shape, dtype = ((64, 64, 3), "uint8") if obs == "pixels" else ((5,), "float32")
    spec = EnvSpec.single(shape, dtype, action_size=1, action_repeat=8, max_decisions=125)
    assert presets.PRESETS.keys() == AGENTS.keys()
    trace_everything(agent, experiment.agent_config, spec, experiment.replay.batch_size, experiment.replay.batch_length)


@functools.cache  # a paper's protocol is often the preset `paper`, too
def trace_everything(name, config, spec, b, t):
    agent = AGENTS[name].make(config, spec)
    key = jax.random.key(0)
    state = jax.eval_shape(agent.init, key)
    flags = jnp.zeros((t, b), bool)
    batch = Batch(
        {name: jnp.zeros((t, b, *space.shape), space.dtype) for name, space in spec.observations.items()},
        jnp.zeros((t, b, 1)),
        jnp.zeros((t, b)),
        flags,
        flags,
        flags,
    )
    sample = Sample.uniform(batch)
    for update in agent.updates.values():
        after, metrics = jax.eval_shape(update, state, sample, key)
        chex.assert_trees_all_equal_shapes_and_dtypes(state, after)
        assert metrics["loss"].shape == ()
    carry = jax.eval_shape(lambda: agent.initial(2))
    act = lambda *args: agent.act(*args, mode="explore")  # noqa: E731
    now = jax.tree.map(lambda x: x[0, :2], (batch.observation, flags))
    action, again, _ = jax.eval_shape(act, state.params, carry, *now, key)
    assert action.shape == (2, 1)
    chex.assert_trees_all_equal_shapes_and_dtypes(carry, again)


def test_the_paper_preset_is_the_paper():
    """PlaNet, arXiv 1811.04551v5, section 5 and appendix A."""
    experiment = presets.make_preset("paper", "walker_walk", "pixels")
    config = experiment.agent_config
    model, loss, planner, optimizer = config.model, config.loss, config.planner, config.optimizer
    assert (model.kind, model.deter, model.stoch, model.min_std) == ("rssm", 200, 30, 0.1)
    assert (model.hidden, model.layers, model.activation) == (200, 2, "relu")
    assert (model.reward_hidden, model.reward_layers) == (200, 2)
    assert (model.conv_depth, model.image_bits, model.pixel_std) == (32, 5, 1.0)
    assert (loss.reward_scale, loss.free_nats) == (10.0, 3.0)
    assert (loss.overshooting_distance, loss.overshooting_beta) == (1, (1.0,))  # off in the final version
    assert (loss.global_prior_scale, loss.overshooting_reward_scale) == (0.0, 0.0)
    assert loss.observation_overshooting_distance is None
    assert (optimizer.learning_rate, optimizer.eps, optimizer.clip_norm, optimizer.ramp) == (1e-3, 1e-4, 1000.0, 0)
    assert (planner.horizon, planner.num_iterations, planner.num_candidates, planner.num_elites) == (12, 10, 1000, 100)
    assert (planner.init_std, planner.warm_start) == (1.0, False)
    assert config.action_noise == 0.3
    assert (experiment.replay.batch_size, experiment.replay.batch_length) == (50, 50)
    assert (experiment.run.seed_episodes, experiment.run.updates_per_episode, experiment.run.num_envs) == (5, 100, 1)
    assert (experiment.environment.image_size, experiment.environment.camera) == (64, 0)
    assert experiment.environment.action_repeat is None  # the task's own


def test_the_paper_presets_parameters_have_the_papers_sizes():
    spec = EnvSpec.single((64, 64, 3), "uint8", action_size=6, action_repeat=2, max_decisions=500)
    agent = make_planet(presets.make_preset("paper", "walker_walk", "pixels").agent_config, spec)
    params = jax.eval_shape(agent.init, jax.random.key(0)).params
    shapes = [leaf.shape for leaf in jax.tree.leaves(params["encoder"]) if len(leaf.shape) == 4]
    assert sorted(shapes) == [(4, 4, 3, 32), (4, 4, 32, 64), (4, 4, 64, 128), (4, 4, 128, 256)]
    shapes = [leaf.shape for leaf in jax.tree.leaves(params["decoder"]) if len(leaf.shape) == 4]
    assert sorted(shapes) == [(5, 5, 128, 64), (5, 5, 1024, 128), (6, 6, 32, 3), (6, 6, 64, 32)]
    kernels = {leaf.shape for leaf in jax.tree.leaves(params["dynamics"]["posterior"])}
    assert {(200 + 1024, 200), (200, 200), (200, 30)} <= kernels
    kernels = {leaf.shape for leaf in jax.tree.leaves(params["dynamics"]["recurrent"])}
    assert {(30 + 6, 200), (200 + 200, 2 * 200), (200 + 200, 200)} <= kernels
    carry = jax.eval_shape(lambda: agent.initial(1))
    assert jax.tree.map(lambda x: x.shape, carry) == Carry(Belief((1, 200), (1, 30)), (1, 6), (1, 12, 6))
