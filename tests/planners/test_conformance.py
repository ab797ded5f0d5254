"""What every planner promises, whatever it does inside. A new planner joins by one line in TINY."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from latentplan.planners import PLANNERS, for_each_belief
from latentplan.planners.objectives import sum_of_rewards
from latentplan.types import Belief, PlanOutput

ACTION_SIZE = 2
HORIZON = 4
TINY = {
    "cem": dict(horizon=HORIZON, num_iterations=3, num_candidates=64, num_elites=8),
}
PARAMS = {"gain": jnp.array([0.5, -0.25])}


def imagine_step(params, belief, action, key):
    """A stochastic point that actions push; the last action is kept beside it."""
    noise = 0.05 * jax.random.normal(key, belief.stoch.shape)
    return Belief(action, belief.stoch + params["gain"] * action + noise), None


def reward(params, belief):
    return -jnp.sum((belief.stoch - 0.3) ** 2, -1) - 0.01 * jnp.sum(belief.deter**2, -1)


def make(name, evaluate=None, **overrides):
    entry = PLANNERS[name]
    evaluate = sum_of_rewards(imagine_step, reward) if evaluate is None else evaluate
    return entry.make(entry.config(**(TINY[name] | overrides)), ACTION_SIZE, evaluate)


@functools.cache
def compiled(name):
    return jax.jit(make(name))


@functools.cache
def compiled_batch(name):
    return jax.jit(jax.vmap(make(name), (None, 0, 0)))


def make_belief(*batch_shape):
    """Distinct beliefs, one per index."""
    x = jnp.linspace(-1.0, 1.0, int(np.prod(batch_shape, initial=1)) * ACTION_SIZE).reshape(*batch_shape, ACTION_SIZE)
    return Belief(jnp.zeros_like(x), x)


@pytest.fixture(params=sorted(PLANNERS))
def name(request):
    return request.param


def test_every_planner_is_in_the_battery():
    assert TINY.keys() == PLANNERS.keys()


def test_eager_equals_jit(name):
    planner, key = make(name), jax.random.key(1)
    chex.assert_trees_all_close(
        planner(PARAMS, make_belief(), key), compiled(name)(PARAMS, make_belief(), key), atol=1e-5
    )


@pytest.mark.parametrize("over", [lambda planner: jax.vmap(planner, (None, 0, 0)), for_each_belief])
def test_many_beliefs_at_once_equal_a_loop(name, over):
    beliefs, keys = make_belief(5), jax.random.split(jax.random.key(2), 5)
    together = jax.jit(over(make(name)))(PARAMS, beliefs, keys)
    single = compiled(name)
    for i in range(5):
        row = jax.tree.map(lambda x, i=i: x[i], together)
        chex.assert_trees_all_close(row, single(PARAMS, jax.tree.map(lambda x, i=i: x[i], beliefs), keys[i]), atol=1e-5)


def test_other_rows_do_not_matter(name):
    planner, keys = compiled_batch(name), jax.random.split(jax.random.key(3), 5)
    beliefs = make_belief(5)
    changed = jax.tree.map(lambda x: x.at[1:].set(7.0), beliefs)
    before, after = planner(PARAMS, beliefs, keys), planner(PARAMS, changed, keys)
    np.testing.assert_array_equal(before.plan[0], after.plan[0])
    assert not np.array_equal(before.plan[1], after.plan[1])


def test_same_key_same_plan_another_key_another_plan(name):
    planner = compiled(name)
    first, again, other = (planner(PARAMS, make_belief(), jax.random.key(seed)) for seed in (4, 4, 5))
    chex.assert_trees_all_equal(first, again)
    assert not np.array_equal(first.plan, other.plan)


def test_params_and_belief_reach_the_plan(name):
    planner, key = jax.jit(make(name)), jax.random.key(6)
    plan = planner(PARAMS, make_belief(), key).plan
    assert not np.array_equal(plan, planner({"gain": -PARAMS["gain"]}, make_belief(), key).plan)
    assert not np.array_equal(plan, planner(PARAMS, Belief(jnp.zeros(2), jnp.array([2.0, 2.0])), key).plan)


def test_second_call_compiles_nothing(name):
    traces = []
    planner = make(name)

    @jax.jit
    def plan(params, belief, key, warm_start):
        traces.append(None)
        return planner(params, belief, key, warm_start)

    output = plan(PARAMS, make_belief(), jax.random.key(7), jnp.zeros((HORIZON, ACTION_SIZE)))
    plan(jax.tree.map(lambda x: 2 * x, PARAMS), make_belief(), jax.random.key(8), output.plan)
    assert len(traces) == 1
    assert plan._cache_size() == 1


@pytest.mark.parametrize("target", [5.0, -5.0])
def test_actions_stay_in_bounds_when_the_optimum_is_outside(name, target):
    seen = []

    def outside(params, belief, actions, key):
        jax.debug.callback(lambda x: seen.append(np.asarray(x)), actions)
        return -jnp.sum((actions - target) ** 2, (0, 2))

    output = make(name, outside, num_iterations=8)(PARAMS, make_belief(), jax.random.key(9))
    jax.effects_barrier()
    assert np.abs(output.plan).max() <= 1.0 and np.abs(output.action).max() <= 1.0
    assert seen and max(np.abs(x).max() for x in seen) <= 1.0  # the model is never asked about impossible actions
    np.testing.assert_allclose(output.plan, np.sign(target), atol=0.15)


def test_shapes_dtypes_and_finiteness(name):
    output = compiled(name)(PARAMS, make_belief(), jax.random.key(10))
    assert isinstance(output, PlanOutput)
    chex.assert_shape(output.action, (ACTION_SIZE,))
    chex.assert_shape(output.plan, (HORIZON, ACTION_SIZE))
    for leaf in jax.tree.leaves(output):
        assert leaf.dtype == jnp.float32
    chex.assert_tree_all_finite(output)


def test_info_is_small_and_of_a_fixed_shape(name):
    planner = compiled(name)
    info = planner(PARAMS, make_belief(), jax.random.key(11)).info
    assert info and all(isinstance(key, str) for key in info)
    for value in info.values():
        assert value.ndim <= 1 and value.size <= TINY[name]["num_iterations"]
    again = planner(PARAMS, make_belief(), jax.random.key(12), jnp.zeros((HORIZON, ACTION_SIZE))).info
    chex.assert_trees_all_equal_shapes_and_dtypes(info, again)


def test_inputs_are_unchanged(name):
    inputs = PARAMS, make_belief(), jnp.full((HORIZON, ACTION_SIZE), 0.5)
    before = jax.tree.map(np.array, inputs)
    compiled(name)(inputs[0], inputs[1], jax.random.key(13), inputs[2])
    chex.assert_trees_all_equal(inputs, before)


def test_works_on_beliefs_of_any_structure(name):
    """A planner passes beliefs on and never looks inside."""

    def evaluate(params, belief, actions, key):
        return -jnp.sum((actions - belief["goal"]) ** 2, (0, 2))

    goal = jnp.array([0.4, -0.2])
    output = make(name, evaluate, num_iterations=8)(None, {"goal": goal}, jax.random.key(14))
    np.testing.assert_allclose(output.plan, np.tile(goal, (HORIZON, 1)), atol=0.1)
