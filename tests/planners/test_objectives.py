"""The sum of predicted rewards against a loop in NumPy, and what else a plan may be worth."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from latentplan.planners.objectives import ObjectiveConfig, penalise_risk, sum_of_rewards
from latentplan.types import Belief

HORIZON, CANDIDATES = 5, 7
START = Belief(jnp.array([0.2, -0.1]), jnp.array([0.5]))
ACTIONS = np.random.default_rng(0).uniform(-1, 1, (HORIZON, CANDIDATES, 2)).astype(np.float32)


def imagine_step(params, belief, action, key):
    deter = params * belief.deter + action
    return Belief(deter, belief.stoch + deter[..., :1] * action[..., 1:]), "anything"


def reward(params, belief):
    return jnp.sin(belief.deter[..., 0]) + belief.stoch[..., 0] ** 2


def loop(params, discount):
    returns = []
    for n in range(CANDIDATES):
        deter, stoch, total = np.array(START.deter, np.float64), float(START.stoch[0]), 0.0
        for h in range(HORIZON):
            action = ACTIONS[h, n].astype(np.float64)
            deter = params * deter + action
            stoch = stoch + deter[0] * action[1]
            total += discount**h * (np.sin(deter[0]) + stoch**2)
        returns.append(total)
    return np.array(returns)


@pytest.mark.parametrize("discount", [1.0, 0.9, 0.5])
def test_equals_a_loop(discount):
    evaluate = sum_of_rewards(imagine_step, reward, discount=discount)
    returns = evaluate(jnp.float32(0.8), START, jnp.asarray(ACTIONS), jax.random.key(0))
    assert returns.shape == (CANDIDATES,) and returns.dtype == jnp.float32
    np.testing.assert_allclose(returns, loop(0.8, discount), rtol=1e-5)


def test_the_first_reward_is_not_discounted():
    evaluate = sum_of_rewards(imagine_step, reward, discount=0.1)
    one = evaluate(jnp.float32(0.8), START, jnp.asarray(ACTIONS[:1]), jax.random.key(0))
    each = jax.tree.map(lambda x: jnp.broadcast_to(x, (CANDIDATES, *x.shape)), START)
    belief, _ = imagine_step(0.8, each, ACTIONS[0], None)
    np.testing.assert_allclose(one, reward(0.8, belief), rtol=1e-5)


def test_the_reward_function_is_called_once_on_all_beliefs():
    shapes = []

    def counted(params, belief):
        shapes.append(jax.tree.map(jnp.shape, belief))
        return reward(params, belief)

    evaluate = sum_of_rewards(imagine_step, counted)
    evaluate(jnp.float32(0.8), START, jnp.asarray(ACTIONS), jax.random.key(0))
    assert shapes == [Belief((HORIZON, CANDIDATES, 2), (HORIZON, CANDIDATES, 1))]


def test_candidates_share_the_start_and_are_independent():
    evaluate = sum_of_rewards(imagine_step, reward)
    returns = evaluate(jnp.float32(0.8), START, jnp.asarray(ACTIONS), jax.random.key(0))
    changed = ACTIONS.copy()
    changed[:, 1:] = 0.0
    again = evaluate(jnp.float32(0.8), START, jnp.asarray(changed), jax.random.key(0))
    np.testing.assert_allclose(returns[0], again[0], rtol=1e-6)
    np.testing.assert_allclose(again[1:], np.full(CANDIDATES - 1, again[1]), rtol=1e-6)


def test_every_step_and_candidate_draws_its_own_noise():
    def noisy(params, belief, action, key):
        noise = jax.random.normal(key, belief.stoch.shape)
        return Belief(belief.deter, noise), None

    kept = []

    def keep(params, belief):
        kept.append(np.asarray(belief.stoch))
        return belief.stoch[..., 0]

    actions = jnp.zeros((HORIZON, CANDIDATES, 2))
    first, again, other = (
        sum_of_rewards(noisy, keep)(None, START, actions, jax.random.key(seed)) for seed in (1, 1, 2)
    )
    assert len(np.unique(kept[0])) == HORIZON * CANDIDATES
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_terminal_value_follows_the_last_belief_discounted_once_more():
    value = lambda params, belief, key: 10.0 * belief.stoch[..., 0]  # noqa: E731
    with_value = sum_of_rewards(imagine_step, reward, discount=0.9, value=value)
    arguments = (jnp.float32(0.8), START, jnp.asarray(ACTIONS), jax.random.key(0))
    without = sum_of_rewards(imagine_step, reward, discount=0.9)(*arguments)
    belief = jax.tree.map(lambda x: jnp.broadcast_to(x, (CANDIDATES, *x.shape)), START)
    for action in ACTIONS:
        belief, _ = imagine_step(0.8, belief, action, None)
    np.testing.assert_allclose(with_value(*arguments) - without, 0.9**HORIZON * value(None, belief, None), rtol=1e-4)


def test_what_follows_a_termination_counts_for_nothing():
    """Rewards 1, 2, 3 and value 10; a plan ends with probability c after its steps. Discount 1/2."""
    step = lambda params, belief, action, key: (belief + 1.0, None)  # noqa: E731
    chances = jnp.array([[1.0, 0.0, 0.5], [1.0, 1.0, 1.0], [0.0, 1.0, 0.5]])  # of going on: [H, N]
    evaluate = sum_of_rewards(
        step,
        lambda params, beliefs: beliefs,
        discount=0.5,
        value=lambda params, belief, key: jnp.full_like(belief, 10.0),
        continues=lambda params, beliefs: chances,
    )
    returns = evaluate(None, jnp.zeros(()), jnp.zeros((3, 3, 1)), jax.random.key(0))
    expected = [1 + 1 + 0.75, 1.0, 1 + 0.5 * (1 + 0.75) + 10 / 8 * 0.25]
    np.testing.assert_allclose(returns, expected, rtol=1e-6)


@pytest.mark.parametrize(("horizon", "expected"), [(0.2, 1 + 5), (1.0, 1 + 5), (2.7, 1 + 1 + 5), (9.0, 2.75 + 30 / 8)])
def test_a_growing_horizon_ends_with_the_value_there(horizon, expected):
    """Rewards 1, 2, 3 and value 10 s, for s = 1, 2, 3. Discount 1/2."""
    evaluate = sum_of_rewards(
        lambda params, belief, action, key: (belief + 1.0, None),
        lambda params, beliefs: beliefs,
        discount=0.5,
        value=lambda params, belief, key: 10.0 * belief,
        horizon_of=lambda params: params,
    )
    returns = evaluate(jnp.float32(horizon), jnp.zeros(()), jnp.zeros((3, 2, 1)), jax.random.key(0))
    np.testing.assert_allclose(returns, expected, rtol=1e-6)


def test_risk_is_the_spread_of_the_return_over_the_models_own_draws():
    """One step whose reward has std a^2 and mean a: N(a, a^4)."""

    def noisy(params, belief, action, key):
        draw = jax.random.normal(key, action.shape)
        return Belief(belief.deter, action + action**2 * draw), None

    risky = penalise_risk(
        sum_of_rewards(noisy, lambda params, belief: belief.stoch[..., 0]), num_samples=20_000, penalty=0.5
    )
    actions = jnp.array([[[0.0], [0.5], [1.0], [-1.0]]])
    returns = risky(None, Belief(jnp.zeros(0), jnp.zeros(1)), actions, jax.random.key(0))
    np.testing.assert_allclose(returns, [0.0, 0.5 - 0.5 * 0.25, 0.5, -1.5], atol=0.04)  # 4 standard errors


def test_objectives_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="ObjectiveConfig.discount: expected 0 to 1, got 1.5"):
        ObjectiveConfig(discount=1.5)
    with pytest.raises(ValueError, match="risk_samples: expected at least 2 with risk_penalty = 1.0, got 1"):
        ObjectiveConfig(risk_penalty=1.0)


SPLIT = """
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from latentplan.planners import PLANNERS
from latentplan.planners.objectives import split_over_devices, sum_of_rewards
from latentplan.types import Belief

devices = jax.devices()
assert len(devices) == 4, devices
sharding = NamedSharding(Mesh(np.array(devices), ("candidates",)), PartitionSpec(None, "candidates"))

def imagine_step(params, belief, action, key):
    return Belief(belief.deter, belief.stoch + params * action + 0.1 * jax.random.normal(key, action.shape)), None

evaluate = sum_of_rewards(imagine_step, lambda params, belief: -jnp.sum((belief.stoch - 0.7) ** 2, -1))
belief, key = Belief(jnp.zeros(0), jnp.zeros(2)), jax.random.key(3)
for name in ("cem", "mppi", "shooting"):
    entry = PLANNERS[name]
    config = entry.config(horizon=3, num_candidates=512)
    one, four = (jax.jit(entry.make(config, 2, e)) for e in (evaluate, split_over_devices(evaluate, sharding)))
    text = four.lower(jnp.float32(0.5), belief, key).compile().as_text()
    assert "num_partitions=4" in text, name
    a, b = one(jnp.float32(0.5), belief, key), four(jnp.float32(0.5), belief, key)
    np.testing.assert_allclose(a.plan, b.plan, atol=1e-5, err_msg=name)
print("same")
"""


def test_candidates_split_over_four_devices_give_the_same_plan():
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=4"
    env = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", SPLIT], env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and done.stdout.strip() == "same", done.stderr[-2000:]
