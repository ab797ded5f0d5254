"""The sum of predicted rewards against a loop in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from latentplan.planners.objectives import sum_of_rewards
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
    belief, _ = imagine_step(0.8, START, ACTIONS[0], None)
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
