"""The counts against those of the traced programs, and against the paper's layers by hand."""

import math
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import operations
import operations_told
import pytest
from jax.extend.core import jaxprs_in_params

from latentplan.agents.planet import PlaNetConfig, make_planet
from latentplan.agents.tdmpc2 import TDMPC2Config, make_tdmpc2, make_told_planner
from latentplan.models.told import TOLDConfig, make_told
from latentplan.models.world_model import WorldModelConfig, make_world_model
from latentplan.planners.cem import CEMConfig, make_cem
from latentplan.planners.objectives import sum_of_rewards
from latentplan.types import Batch, EnvSpec

SPECS = {
    "pixels": EnvSpec((64, 64, 3), "uint8", action_size=6, action_repeat=1, max_decisions=None),
    "state": EnvSpec((24,), "float32", action_size=6, action_repeat=1, max_decisions=None),
}
CONFIGS = {"paper": WorldModelConfig(), "small": WorldModelConfig(conv_depth=16, layers=1, deter=64, reward_layers=3)}


def traced_operations(function, *shapes) -> float:
    """2 x multiply-adds of every dot_general and convolution in a function's jaxpr, loops multiplied out."""
    return count(jax.make_jaxpr(function)(*shapes).jaxpr)


def count(jaxpr) -> float:
    return math.fsum(count_equation(equation) for equation in jaxpr.eqns)


def count_equation(equation) -> float:
    shapes = [variable.aval.shape for variable in equation.invars if hasattr(variable.aval, "shape")]
    if equation.primitive.name == "dot_general":
        (contracted, _), _ = equation.params["dimension_numbers"]
        return 2.0 * math.prod(equation.outvars[0].aval.shape) * math.prod(shapes[0][axis] for axis in contracted)
    if equation.primitive.name == "conv_general_dilated":
        return count_convolution(*shapes, equation.outvars[0].aval.shape, equation.params)
    if equation.primitive.name == "cond":  # of lax.platform_dependent: lax.conv is the last branch
        return count(equation.params["branches"][-1].jaxpr)
    inner = sum(count(jaxpr) for jaxpr in jaxprs_in_params(equation.params))
    return inner * equation.params.get("length", 1)


def count_convolution(image, kernel, output, params) -> float:
    """Taps that meet a value: neither padding nor the holes between dilated values are multiplied."""
    names = params["dimension_numbers"]
    taps = 1
    for axis in range(2):
        out = np.arange(output[names.out_spec[2 + axis]])[:, None] * params["window_strides"][axis]
        tap = np.arange(kernel[names.rhs_spec[2 + axis]])[None] * params["rhs_dilation"][axis]
        position = out + tap - params["padding"][axis][0]
        dilation = params["lhs_dilation"][axis]
        inside = (position >= 0) & (position <= (image[names.lhs_spec[2 + axis]] - 1) * dilation)
        taps *= int(np.sum(inside & (position % dilation == 0)))
    features = kernel[names.rhs_spec[0]] * kernel[names.rhs_spec[1]]
    return 2.0 * taps * features * image[names.lhs_spec[0]]


@pytest.mark.parametrize("beliefs", [1, 3])
@pytest.mark.parametrize("name", CONFIGS)
def test_plan(name, beliefs):
    model, sizes = CONFIGS[name], CEMConfig(num_candidates=50, num_elites=5, num_iterations=4, horizon=3)
    world = make_world_model(model, SPECS["state"])
    returns = sum_of_rewards(world.imagine_step, lambda params, belief: world.reward(params, belief).mean[..., 0])
    plan = jax.vmap(make_cem(sizes, 6, returns), (None, 0, 0))
    shapes = jax.eval_shape(
        lambda key: (world.init(key), world.initial((beliefs,)), jax.random.split(key, beliefs)), jax.random.key(0)
    )
    expected = traced_operations(plan, *shapes)
    assert operations.of_plan(model, sizes, action_size=6, beliefs=beliefs) == pytest.approx(expected, rel=1e-3)


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
    flags = jax.ShapeDtypeStruct((size, length), bool)
    batch = Batch(
        observation=jax.ShapeDtypeStruct((size, length, *spec.observation_shape), spec.observation_dtype),
        action=jax.ShapeDtypeStruct((size, length, 6), jnp.float32),
        reward=jax.ShapeDtypeStruct((size, length), jnp.float32),
        is_first=flags,
        is_last=flags,
        is_terminal=flags,
    )
    state = jax.eval_shape(agent.init, jax.random.key(0))
    expected = traced_operations(agent.update, state, batch, jax.random.key(0))
    counted = operations.of_update(CONFIGS[name], spec, batch_size=size, batch_length=length)
    assert sum(counted.values()) == pytest.approx(expected, rel=1e-9)


def test_other_models_are_refused():
    with pytest.raises(ValueError, match=r"model\.kind: expected rssm.*got 'ssm'"):
        operations.of_plan(replace(CONFIGS["paper"], kind="ssm"), CEMConfig(), action_size=6)


@pytest.mark.parametrize("model", [TOLDConfig(), TOLDConfig(latent=16, hidden=24, encoder_hidden=8, num_q=3)])
def test_told(model):
    spec, config, shape = SPECS["state"], TDMPC2Config(model=model), (5, 4)
    agent = make_tdmpc2(config, spec)
    flags = jax.ShapeDtypeStruct(shape, bool)
    numbers = [jax.ShapeDtypeStruct((*shape, *size), jnp.float32) for size in (spec.observation_shape, (6,), ())]
    state = jax.eval_shape(agent.init, jax.random.key(0))
    expected = traced_operations(agent.update, state, Batch(*numbers, flags, flags, flags), jax.random.key(0))
    counted = operations_told.of_update(model, spec, batch_size=shape[0], batch_length=shape[1])
    assert sum(counted.values()) == pytest.approx(expected, rel=1e-3)
    told = make_told(model, spec)
    planner = make_told_planner(config.planner, told, spec, 0.99)
    shapes = jax.eval_shape(lambda key: (told.world.init(key), told.world.initial(()), key), jax.random.key(0))
    counted = operations_told.of_plan(model, config.planner, action_size=6)
    assert counted == pytest.approx(traced_operations(planner, *shapes), rel=1e-3)
