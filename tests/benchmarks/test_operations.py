"""The counts against those of the traced programs, and against the paper's layers by hand."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import operations
import operations_decoder_free
import pytest
from operations_traced import of_function as traced_operations

from latentplan.agents.planet import PlaNetConfig, make_planet
from latentplan.agents.tdmpc.v2 import TDMPC2Config, make_decoder_free_planner, make_tdmpc2
from latentplan.models.decoder_free import DecoderFreeConfig, make_decoder_free
from latentplan.models.world_model import WorldModelConfig, make_world_model
from latentplan.planners.cem import CEMConfig, make_cem
from latentplan.planners.objectives import model_returns
from latentplan.types import Batch, EnvSpec, Sample

SPECS = {
    "pixels": EnvSpec.single((64, 64, 3), "uint8", action_size=6, action_repeat=1, max_decisions=None),
    "state": EnvSpec.single((24,), action_size=6, action_repeat=1, max_decisions=None),
}
CONFIGS = {"paper": WorldModelConfig(), "small": WorldModelConfig(conv_depth=16, layers=1, deter=64, reward_layers=3)}


@pytest.mark.parametrize("beliefs", [1, 3])
@pytest.mark.parametrize("name", CONFIGS)
def test_cem_plan_operations_equal_the_traced_programs(name, beliefs):
    model, sizes = CONFIGS[name], CEMConfig(num_candidates=50, num_elites=5, num_iterations=4, horizon=3)
    world = make_world_model(model, SPECS["state"])
    returns = model_returns(world)
    plan = jax.vmap(make_cem(sizes, 6, returns), (None, 0, 0))
    shapes = jax.eval_shape(
        lambda key: (world.init(key), world.initial((beliefs,)), jax.random.split(key, beliefs)), jax.random.key(0)
    )
    expected = traced_operations(plan, *shapes)
    assert operations.of_plan(model, sizes, action_size=6, beliefs=beliefs) == pytest.approx(expected, rel=1e-3)


def test_traced_operations_by_hand():
    """A loop of 5 rounds of [3, 4] @ [4, 7], and a gradient through one of them: twice more."""
    w = jax.ShapeDtypeStruct((4, 7), jnp.float32)
    x = jax.ShapeDtypeStruct((3, 4), jnp.float32)
    loop = lambda w, x: jax.lax.scan(lambda carry, _: (carry, x @ w), 0.0, None, 5)[1]  # noqa: E731
    assert traced_operations(loop, w, x) == 5 * 2 * 3 * 4 * 7
    slopes = jax.grad(lambda w, x: jnp.sum((x @ w) ** 2), (0, 1))
    assert traced_operations(slopes, w, x) == 3 * 2 * 3 * 4 * 7


def test_plan_by_hand():
    hidden = 36 * 200 + 200 * 200
    gru = 2 * 400 * 200 + 400 * 200
    prior = 2 * 200 * 200 + 2 * 200 * 30
    reward = 230 * 200 + 200 * 200 + 200
    expected = 2.0 * 1000 * 12 * 10 * (hidden + gru + prior + reward)
    assert expected == pytest.approx(111.7e9, rel=1e-3)
    assert operations.of_plan(WorldModelConfig(), CEMConfig(), action_size=6) == expected


@pytest.mark.parametrize("obs", SPECS)
@pytest.mark.parametrize("name", CONFIGS)
def test_update(name, obs):
    spec, (size, length) = SPECS[obs], (2, 3)
    agent = make_planet(PlaNetConfig(model=CONFIGS[name]), spec)
    flags = jax.ShapeDtypeStruct((length, size), bool)
    batch = Batch(
        observation={
            name: jax.ShapeDtypeStruct((length, size, *space.shape), space.dtype)
            for name, space in spec.observations.items()
        },
        action=jax.ShapeDtypeStruct((length, size, 6), jnp.float32),
        reward=jax.ShapeDtypeStruct((length, size), jnp.float32),
        is_first=flags,
        is_last=flags,
        is_terminal=flags,
    )
    state = jax.eval_shape(agent.init, jax.random.key(0))
    expected = traced_operations(
        agent.updates["joint"], state, jax.eval_shape(Sample.uniform, batch), jax.random.key(0)
    )
    counted = operations.of_update(CONFIGS[name], spec, batch_size=size, batch_length=length)
    assert sum(counted.values()) == pytest.approx(expected, rel=1e-9)


def test_other_models_are_refused():
    with pytest.raises(ValueError, match=r"model\.kind: expected rssm.*got 'ssm'"):
        operations.of_plan(replace(CONFIGS["paper"], kind="ssm"), CEMConfig(), action_size=6)


@pytest.mark.parametrize(
    "model", [DecoderFreeConfig(), DecoderFreeConfig(latent=16, hidden=24, encoder_hidden=8, num_q=3)]
)
def test_tdmpc2_update_operations_equal_the_traced_programs(model):
    spec, config, shape = SPECS["state"], TDMPC2Config(model=model), (4, 5)
    agent = make_tdmpc2(config, spec)
    flags = jax.ShapeDtypeStruct(shape, bool)
    seen, *numbers = (jax.ShapeDtypeStruct((*shape, *size), jnp.float32) for size in ((24,), (6,), ()))
    state = jax.eval_shape(agent.init, jax.random.key(0))
    sample = jax.eval_shape(Sample.uniform, Batch({"state": seen}, *numbers, flags, flags, flags))
    expected = traced_operations(agent.updates["joint"], state, sample, jax.random.key(0))
    counted = operations_decoder_free.of_update(model, spec, batch_size=shape[1], batch_length=shape[0])
    assert sum(counted.values()) == pytest.approx(expected, rel=1e-3)
    told = make_decoder_free(model, spec)
    planner = make_decoder_free_planner(config.planner, told, spec, 0.99)
    shapes = jax.eval_shape(lambda key: (told.init(key), told.world.initial(()), key), jax.random.key(0))
    counted = operations_decoder_free.of_plan(model, config.planner, action_size=6)
    assert counted == pytest.approx(traced_operations(planner, *shapes), rel=1e-3)
