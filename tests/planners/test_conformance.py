"""What every planner promises, whatever it does inside. A new planner joins by one line in TINY."""

import functools
import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiers import one_of_each

from latentplan.agents import make_agent
from latentplan.models.decoder_free import DecoderFreeConfig, make_decoder_free
from latentplan.models.world_model import DYNAMICS, make_world_model
from latentplan.planners import PLANNERS, for_each_belief, make_planner
from latentplan.planners.objectives import model_returns, sum_of_rewards
from latentplan.planners.policy import propose_by
from latentplan.types import Belief, EnvSpec, PlanOutput

ACTION_SIZE = 2
HORIZON = 4
TINY = {
    "cem": dict(horizon=HORIZON, num_iterations=3, num_candidates=64, num_elites=8),
    "icem": dict(horizon=HORIZON, num_iterations=3, num_candidates=64, num_elites=8),
    "mppi": dict(horizon=HORIZON, num_iterations=3, num_candidates=64, num_elites=8, init_std=1.0, temperature=20.0),
    "gradient": dict(horizon=HORIZON, num_iterations=3, num_candidates=8),
    "shooting": dict(horizon=HORIZON, num_candidates=64),
    "policy": dict(horizon=HORIZON),
}
MORE = {  # what finding an optimum takes
    "cem": dict(num_iterations=8),
    "icem": dict(num_iterations=8, num_candidates=256),
    "mppi": dict(num_iterations=12, num_candidates=512, num_elites=32, choose="mean"),
    "gradient": dict(num_iterations=60),
    "shooting": dict(num_candidates=100_000, horizon=1),
}
DISCRETE = ("cem", "mppi", "shooting")
KEY = jax.random.key(0)
PARAMS = {"gain": jnp.array([0.5, -0.25])}


def imagine_step(params, belief, action, key):
    """A stochastic point that actions push; the last action is kept beside it."""
    noise = 0.05 * jax.random.normal(key, belief.stoch.shape)
    gain = jnp.broadcast_to(params["gain"], action.shape)
    return Belief(action, belief.stoch + gain * action + noise), None


def reward(params, belief):
    return -jnp.sum((belief.stoch - 0.3) ** 2, -1) - 0.01 * jnp.sum(belief.deter**2, -1)


def make(name, evaluate=None, **overrides):
    entry = PLANNERS[name]
    evaluate = sum_of_rewards(imagine_step, reward) if evaluate is None else evaluate
    config = entry.config(**(TINY[name] | overrides))
    return entry.make(config, ACTION_SIZE, evaluate, propose=propose_by(steer, imagine_step, config.horizon))


def steer(params, belief, key):
    """A policy: some way to where the reward is, unsteadily."""
    towards = (0.3 - belief.stoch) / jnp.broadcast_to(params["gain"], belief.stoch.shape)
    return jnp.clip(towards + 0.1 * jax.random.normal(key, towards.shape), -1.0, 1.0)


def optimizers(names):
    """Those that look for the best plan; a policy does not."""
    return pytest.mark.parametrize("name", sorted(set(names) - {"policy"}))


@functools.cache
def compiled(name, evaluate=None):
    return jax.jit(make(name, evaluate))


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
    planner, key = compiled(name), jax.random.key(6)
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

    start = jax.tree.map(jnp.zeros_like, make(name)(PARAMS, make_belief(), jax.random.key(7)).warm_start)
    output = plan(PARAMS, make_belief(), jax.random.key(7), start)
    plan(jax.tree.map(lambda x: 2 * x, PARAMS), make_belief(), jax.random.key(8), output.warm_start)
    assert len(traces) == 1
    assert plan._cache_size() == 1


@optimizers(PLANNERS)
@pytest.mark.parametrize("target", [5.0, -5.0])
def test_actions_stay_in_bounds_when_the_optimum_is_outside(name, target):
    seen = []

    def outside(params, belief, actions, key):
        jax.debug.callback(lambda x: seen.append(np.asarray(x)), actions)
        return -jnp.sum((actions - target) ** 2, (0, 2))

    softer = {"temperature": 0.5} if name == "mppi" else {}  # returns differ by hundreds here
    output = make(name, outside, **MORE[name], **softer)(PARAMS, make_belief(), jax.random.key(9))
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
        assert value.ndim <= 1 and value.size <= max(TINY[name].get("num_iterations", 1), ACTION_SIZE)
    warm_start = planner(PARAMS, make_belief(), jax.random.key(11)).warm_start
    again = planner(PARAMS, make_belief(), jax.random.key(12), warm_start).info
    chex.assert_trees_all_equal_shapes_and_dtypes(info, again)


@pytest.mark.parametrize(
    ("wrong", "got"),
    [
        (lambda actions: jnp.sum(actions, -1), r"\(4, \d+\)"),
        (lambda actions: jnp.sum(actions, (0, 2))[:, None], r"\(\d+, 1\)"),
        (lambda actions: jnp.sum(actions), r"\(\)"),
        (lambda actions: 0.0, "a float"),
        (lambda actions: (jnp.sum(actions, (0, 2)), None), "a tuple"),
    ],
)
def test_returns_of_another_shape_are_refused_while_tracing(name, wrong, got):
    config = PLANNERS[name].config(**TINY[name])
    propose = propose_by(steer, imagine_step, HORIZON)
    plan = make_planner(config, ACTION_SIZE, lambda params, belief, actions, key: wrong(actions), propose=propose)
    with pytest.raises(ValueError, match=rf"^evaluate: expected returns \[N\] = \(\d+,\), got {got}; return one"):
        jax.eval_shape(plan, PARAMS, make_belief(), KEY)


def made(name, evaluate=None):
    """As users make one, with all checks."""
    config, propose = PLANNERS[name].config(**TINY[name]), propose_by(steer, imagine_step, HORIZON)
    return make_planner(
        config, ACTION_SIZE, sum_of_rewards(imagine_step, reward) if evaluate is None else evaluate, propose=propose
    )


def test_returns_of_any_real_dtype_are_planned_with_and_complex_ones_refused(name):
    def cast(dtype):
        return made(name, lambda params, belief, actions, key: -jnp.sum(actions**2, (0, 2)).astype(dtype))

    for dtype in (jnp.bfloat16, jnp.float16, jnp.int32):
        planned = jax.eval_shape(cast(dtype), PARAMS, make_belief(), KEY)
        assert {leaf.dtype for leaf in jax.tree.leaves(planned)} == {jnp.dtype("float32")}
    with pytest.raises(ValueError, match=r"^evaluate: expected real returns, got complex64; "):
        jax.eval_shape(cast(jnp.complex64), PARAMS, make_belief(), KEY)


@pytest.mark.parametrize("bad", [jnp.nan, jnp.inf])
def test_a_warm_start_that_is_not_finite_counts_as_zeros(name, bad):
    planner = jax.jit(made(name))
    start = planner(PARAMS, make_belief(), KEY).warm_start
    bad, zeros = (jax.tree.map(lambda x, value=value: jnp.full_like(x, value), start) for value in (bad, 0.0))
    planned = planner(PARAMS, make_belief(), KEY, bad)
    chex.assert_tree_all_finite(planned)
    chex.assert_trees_all_equal(planned, planner(PARAMS, make_belief(), KEY, zeros))


@pytest.mark.parametrize("wrong", [lambda x: jnp.zeros((7, *x.shape[1:])), lambda x: x[:, :1], lambda x: {"plan": x}])
def test_a_warm_start_of_other_shapes_is_refused(name, wrong):
    planner = made(name)
    fits = jax.eval_shape(planner, PARAMS, make_belief(), KEY).warm_start
    start = (
        jax.tree.map(lambda x: wrong(jnp.zeros(x.shape)), fits) if jax.tree.leaves(fits) else wrong(jnp.zeros((4, 2)))
    )
    with pytest.raises(ValueError, match=r"^warm_start: expected shapes .*\(.*, got .*\(.*; give the last"):
        jax.eval_shape(planner, PARAMS, make_belief(), KEY, start)


def test_checking_the_returns_adds_nothing_to_the_compiled_plan(name):
    evaluate, config = sum_of_rewards(imagine_step, reward), PLANNERS[name].config(**TINY[name])
    propose = propose_by(steer, imagine_step, HORIZON)
    traced = [
        str(jax.make_jaxpr(make(config, ACTION_SIZE, evaluate, propose=propose))(PARAMS, make_belief(), KEY))
        for make in (make_planner, PLANNERS[name].make)
    ]
    assert traced[0] == traced[1]


def test_what_no_planner_can_be_built_from_is_refused(tiny_model_config, unchecked):
    config, evaluate = PLANNERS["cem"].config(), sum_of_rewards(imagine_step, reward)
    spec = EnvSpec.single((5,), action_size=2, action_repeat=1, max_decisions=None)
    for wrong in ("cem", type(config)):
        with pytest.raises(ValueError, match=r"^planner: expected a config such as CEMConfig\(\) \(one of CEMConfig, "):
            make_planner(wrong, ACTION_SIZE, evaluate)
    with pytest.raises(ValueError, match=r"such as ICEMConfig\(\).*, got 'icem'"):
        make_planner("icem", ACTION_SIZE, evaluate)
    with pytest.raises(ValueError, match="^agent: expected a config such as DreamerV3Config"):
        make_agent("dreamer_v3", spec)
    with pytest.raises(ValueError, match="^action_size: expected a whole number, at least 1, got 0"):
        make_planner(config, 0, evaluate)
    with pytest.raises(ValueError, match=r"^evaluate: expected a function .*WorldModel; use model_returns\(model\)"):
        make_planner(config, ACTION_SIZE, make_world_model(tiny_model_config(), spec))


def test_inputs_are_unchanged(name):
    warm_start = compiled(name)(PARAMS, make_belief(), jax.random.key(12)).warm_start
    inputs = PARAMS, make_belief(), warm_start
    before = jax.tree.map(np.array, inputs)
    compiled(name)(inputs[0], inputs[1], jax.random.key(13), inputs[2])
    chex.assert_trees_all_equal(inputs, before)


@optimizers(PLANNERS)
def test_works_on_beliefs_of_any_structure(name):
    """A planner passes beliefs on and never looks inside."""

    def evaluate(params, belief, actions, key):
        return -jnp.sum((actions - jnp.broadcast_to(belief["goal"], actions.shape)) ** 2, (0, 2))

    goal = jnp.array([0.4, -0.2])
    output = make(name, evaluate, **MORE[name])(None, {"goal": goal}, jax.random.key(14))
    np.testing.assert_allclose(output.plan, np.broadcast_to(goal, output.plan.shape), atol=0.1)


@optimizers(PLANNERS)
def test_an_asymmetric_objective_is_climbed_and_not_descended(name):
    slope = jnp.array([1.0, -2.0])
    output = make(name, lambda params, belief, actions, key: jnp.sum(jnp.exp(actions @ slope), 0), **MORE[name])(
        None, make_belief(), jax.random.key(15)
    )
    np.testing.assert_array_less(0.75, np.asarray(output.plan) * [1.0, -1.0])


NOT_FINITE = {"nan": jnp.nan, "inf": jnp.inf, "-inf": -jnp.inf}


def bad_beyond_a_half(bad, belief, actions, key):
    """The best actions are 0.2; where the first one is above 0.5, the return is `bad`."""
    return jnp.where(actions[0, :, 0] > 0.5, bad, -jnp.sum((actions - 0.2) ** 2, (0, 2)))


def in_proportion(factor, belief, actions, key):
    return factor * (1 + actions[0, :, 0])


@functools.cache
def gradient_of_an_action(name):
    """Compiled, with respect to the objective's parameters."""

    def evaluate(params, belief, actions, key):
        return params["scale"] * jnp.sum(params["weight"] * actions, (0, 2))

    planner = make(name, evaluate, **MORE[name])
    return jax.jit(jax.grad(lambda params: jnp.sum(planner(params, make_belief(), jax.random.key(16)).action)))


@optimizers(PLANNERS)
@pytest.mark.parametrize("bad", NOT_FINITE)
def test_returns_that_are_not_finite_are_never_taken_for_the_best(bad, name):
    output = compiled(name, bad_beyond_a_half)(jnp.float32(NOT_FINITE[bad]), make_belief(), jax.random.key(16))
    chex.assert_tree_all_finite(output)
    assert output.action[0] <= 0.5


@optimizers(PLANNERS)
@pytest.mark.parametrize("all_are", [*NOT_FINITE.values(), 3e38, -3e38], ids=[*NOT_FINITE, "3e38", "-3e38"])
def test_a_plan_is_finite_whatever_all_returns_are(all_are, name):
    """Products of the objective's parameter overflow, and a plan made of them is finite all the same."""
    output = compiled(name, in_proportion)(jnp.float32(all_are), make_belief(), jax.random.key(16))
    chex.assert_tree_all_finite(output)
    assert jnp.abs(output.plan).max() <= 1


@optimizers(PLANNERS)
@pytest.mark.parametrize("scale", [0.0, 1.0], ids=["flat", "sloping"])
def test_the_gradient_through_a_plan_is_finite(scale, name):
    """With respect to the objective's parameters, also where all candidates are the same."""

    chex.assert_tree_all_finite(gradient_of_an_action(name)({"weight": 0.5, "scale": scale}))


@optimizers(PLANNERS)
@pytest.mark.parametrize("bad", NOT_FINITE)
def test_the_gradient_through_a_plan_is_finite_where_one_return_is_not(bad, name):
    """By the objective's parameters, which also are what the failed return is made of, and by the belief."""

    def evaluate(params, belief, actions, key):
        worth = jnp.where(actions[0, :, 0] > 0.5, NOT_FINITE[bad], jnp.sum(params["weight"] * actions, (0, 2)))
        return params["scale"] * worth * jnp.sum(belief)

    planner = make(name, evaluate)
    act = lambda params, belief: jnp.sum(planner(params, belief, KEY).action)  # noqa: E731
    params = {"weight": jnp.float32(0.5), "scale": jnp.float32(1.0)}
    found = jax.jit(jax.grad(act, (0, 1)))(params, jnp.ones(2))
    chex.assert_tree_all_finite(found)
    if name == "mppi":
        assert found[0]["weight"] != 0  # to which the failed ones contribute nothing


@optimizers(PLANNERS)
def test_a_policys_candidates_are_evaluated_and_taken_where_they_are_best(name):
    """Only the policy's sequences are worth anything here, so the plan is one of them."""
    proposed = jnp.array([[[0.123, -0.456]]] * HORIZON)
    entry = PLANNERS[name]
    few = {"init_std": 0.05} if name in ("cem", "icem") else {"init_std": 0.05, "num_iterations": 1}
    few = {} if name == "shooting" else few
    if name == "mppi":
        few = {"num_elites": 1}
    config = entry.config(
        **(TINY[name] | {"policy_candidates": 1} | few | ({"num_elites": 1} if name == "cem" else {}))
    )

    def evaluate(params, belief, actions, key):
        return jnp.where(jnp.all(jnp.abs(actions - proposed) < 0.2, (0, 2)), 1.0, 0.0) - 1e-3 * jnp.sum(
            (actions - proposed) ** 2, (0, 2)
        )

    propose = lambda params, belief, key, num: jnp.broadcast_to(proposed, (HORIZON, num, ACTION_SIZE))  # noqa: E731
    output = entry.make(config, ACTION_SIZE, evaluate, propose=propose)(None, make_belief(), jax.random.key(17))
    np.testing.assert_allclose(output.plan, proposed[:, 0], atol=0.11)


@optimizers(PLANNERS)
def test_a_policys_candidates_without_a_policy_are_refused(name):
    entry = PLANNERS[name]
    with pytest.raises(ValueError, match="policy_candidates: expected 0 for an agent without a policy, got 2"):
        entry.make(entry.config(**(TINY[name] | {"policy_candidates": 2})), ACTION_SIZE, reward)


@pytest.mark.parametrize("name", DISCRETE)
def test_discrete_actions_are_one_hot_and_the_best_sequence_is_found(name):
    wanted = jnp.array([2, 0, 1, 2])
    entry = PLANNERS[name]
    seen = []

    def evaluate(params, belief, actions, key):
        jax.debug.callback(lambda x: seen.append(np.asarray(x)), actions)
        return jnp.sum(actions[jnp.arange(HORIZON), :, wanted], 0)

    more = {"num_candidates": 1000, "warm_start": True} if name == "shooting" else MORE[name]
    planner = entry.make(entry.config(**(TINY[name] | more)), 3, evaluate, discrete=True)
    output = planner(None, make_belief(), jax.random.key(18))
    jax.effects_barrier()
    np.testing.assert_array_equal(output.plan, jax.nn.one_hot(wanted, 3))
    np.testing.assert_array_equal(output.action, output.plan[0])
    again = planner(None, make_belief(), jax.random.key(19), output.warm_start)
    assert again.plan.shape == output.plan.shape
    nothing = jax.tree.map(jnp.zeros_like, output.warm_start)
    chex.assert_tree_all_finite(planner(None, make_belief(), jax.random.key(19), nothing))
    jax.effects_barrier()
    for actions in seen:  # with a warm start, too
        assert set(np.unique(actions)) <= {0.0, 1.0} and (actions.sum(-1) == 1).all()


def test_a_share_of_uniform_choice_above_one_is_refused():
    with pytest.raises(ValueError, match="MPPIConfig.min_std: expected at most 1"):
        PLANNERS["mppi"].make(PLANNERS["mppi"].config(min_std=1.5, max_std=2.0), 3, reward, discrete=True)


@pytest.mark.parametrize("name", sorted(PLANNERS.keys() - set(DISCRETE) - {"policy"}))
def test_planners_of_continuous_actions_refuse_discrete_ones_and_name_others(name):
    entry = PLANNERS[name]
    with pytest.raises(ValueError, match=f"planner: {name} needs continuous actions.*use cem, mppi or shooting"):
        entry.make(entry.config(), ACTION_SIZE, reward, discrete=True)


@pytest.mark.parametrize(
    "pair", one_of_each(itertools.product(sorted(PLANNERS.keys() - {"policy"}), (*DYNAMICS, "told")))
)
def test_every_planner_plans_over_every_model(pair, tiny_model_config, numpy_params):
    name, kind = pair
    spec = EnvSpec.single((3,), action_size=ACTION_SIZE, action_repeat=1, max_decisions=None)
    if kind == "told":
        model = make_decoder_free(DecoderFreeConfig(latent=8, hidden=8, num_q=2), spec).world
    else:
        model = make_world_model(tiny_model_config(kind=kind), spec)
    params = numpy_params(model.init)
    objective = model_returns(model)
    belief = model.initial(())
    planned = jax.jit(make(name, objective))(params, belief, jax.random.key(23))
    chex.assert_tree_all_finite(planned)
    assert planned.plan.shape == (HORIZON, ACTION_SIZE) and jnp.abs(planned.plan).max() <= 1
    if kind not in ("rnn", "told"):
        return  # so small a search over draws of random weights finds what was lucky
    noise = jax.random.uniform(jax.random.key(24), (HORIZON, 64, ACTION_SIZE), minval=-1.0)
    worth = lambda plan: objective(params, belief, plan, jax.random.key(25)).mean()  # noqa: E731
    assert worth(jnp.repeat(planned.plan[:, None], 64, 1)) > worth(noise)


@optimizers(PLANNERS)
def test_a_warm_start_helps_where_there_is_little_time(name):
    """The same belief again and again: plans that go on from the last one end closer than the first."""
    target = np.linspace(-0.8, 0.8, ACTION_SIZE)

    def evaluate(params, belief, actions, key):
        return -jnp.sum((actions - jnp.broadcast_to(target, actions.shape)) ** 2, (0, 2))

    little = {"shooting": dict(num_candidates=16), "gradient": dict(num_iterations=1)}
    little = little.get(name, dict(num_iterations=1, num_candidates=16, num_elites=2, init_std=0.3))
    planner = jax.jit(jax.vmap(make(name, evaluate, warm_start=True, **little), (None, 0, 0, 0)))
    error = lambda output: np.mean((np.asarray(output.plan)[:, :-1] - target) ** 2)  # noqa: E731
    beliefs, keys = make_belief(128), jax.random.split(jax.random.key(20), (7, 128))
    single = make(name, evaluate, warm_start=True, **little)(None, make_belief(), keys[0, 0])
    warm_start = jax.tree.map(lambda x: jnp.zeros((128, *x.shape)), single.warm_start)
    outputs = []
    for row in keys:
        outputs.append(planner(None, beliefs, row, warm_start))
        warm_start = outputs[-1].warm_start
    assert error(outputs[-1]) < 0.8 * error(outputs[0])


def test_evaluations_counts_what_the_model_rolls(name):
    seen = []

    def evaluate(params, belief, actions, key):
        jax.debug.callback(lambda x: seen.append(x.shape[1]), actions)
        return -jnp.sum(actions**2, (0, 2))

    entry = PLANNERS[name]
    if name == "gradient":
        pytest.skip("a gradient counts as two evaluations")
    planner = make(name, evaluate)
    output = planner(PARAMS, make_belief(), jax.random.key(21))
    seen.clear()
    planner(PARAMS, make_belief(), jax.random.key(22), output.warm_start)
    jax.effects_barrier()
    assert sum(seen) == entry.config(**TINY[name]).evaluations
