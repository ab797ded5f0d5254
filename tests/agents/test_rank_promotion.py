"""No array of the library meets one of another rank by accident: with promotion an error, everything still traces."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from latentplan.agents.planet import LossConfig, PlaNetConfig, make_planet
from latentplan.planners.cem import CEMConfig
from latentplan.types import Batch, Evidence, Sample


@pytest.mark.parametrize(("kind", "obs"), [("rssm", "pixels"), ("ssm", "state"), ("rnn", "state")])
def test_update_act_and_predictions_without_rank_promotion(kind, obs, tiny_model_config, tiny_specs):
    spec = tiny_specs[obs]
    loss = LossConfig(
        overshooting_distance=3,
        overshooting_beta=(1.0, 0.5),
        overshooting_reward_scale=1.0,
        observation_overshooting_distance=2,
        global_prior_scale=0.1,
    )
    planner = CEMConfig(horizon=2, num_iterations=2, num_candidates=4, num_elites=2)
    config = PlaNetConfig(model=tiny_model_config(kind=kind), loss=loss, planner=planner)
    rng = np.random.default_rng(0)
    shape, first = (4, 2), np.zeros((4, 2), bool)
    first[0] = first[2, 0] = True
    observation = {
        name: rng.uniform(0, 255, (*shape, *space.shape)).astype(space.dtype)
        for name, space in spec.observations.items()
    }
    batch = Batch(observation, rng.uniform(-1, 1, (*shape, 2)), rng.normal(size=shape), first, first, first)
    batch = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32) if x.dtype == np.float64 else jnp.asarray(x), batch)
    key = jax.random.key(0)
    with jax.numpy_rank_promotion("raise"):  # checked while tracing, so shapes are enough
        agent = make_planet(config, spec)
        diagnostics = {name: agent.diagnostics[name] for name in ("open_loop", "prediction")}
        state = jax.eval_shape(agent.init, key)
        act = partial(agent.act, mode="explore")
        carry = agent.initial(2)
        action, _, _ = jax.eval_shape(
            act, state.params, carry, *jax.tree.map(lambda x: x[0], (batch.observation, batch.is_first)), key
        )
        evidence = Evidence(batch, context=2)
        measured = {name: jax.eval_shape(x.measure, state.params, evidence, key) for name, x in diagnostics.items()}
        after, _ = jax.eval_shape(agent.updates["joint"], state, Sample.uniform(batch), key)
    assert action.shape == (2, 2)
    assert measured["open_loop"].picture.predicted_reward.shape == (4, 2)
    assert measured["prediction"].numbers["kl"].shape == (2,)
    assert jax.tree.map(lambda x: x.shape, after) == jax.tree.map(lambda x: x.shape, state)
