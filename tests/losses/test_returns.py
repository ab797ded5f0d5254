"""Lambda-returns against hand numbers, a NumPy loop, and what they come down to at both ends of lambda."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from latentplan.losses.returns import Range, lambda_returns, track_range

OPTIMIZED = True  # sums that cancel are held to 1e-5; see tests/conftest.py


def random_rollout(seed=0, shape=(7, 3)):
    rng = np.random.default_rng(seed)
    return [jnp.asarray(x, jnp.float32) for x in (rng.normal(size=shape), rng.random(shape), rng.normal(size=shape))]


def test_by_hand():
    # From the end: 3 + 0.5 * 8 = 7; 2 + 0 = 2, as the episode ends there; 1 + 0.5 (0.75 * 4 + 0.25 * 2) = 2.75.
    returns = lambda_returns(jnp.array([1.0, 2.0, 3.0]), jnp.array([0.5, 0.0, 0.5]), jnp.array([4.0, 6.0, 8.0]), 0.25)
    np.testing.assert_allclose(returns, [2.75, 2.0, 7.0], rtol=1e-6)


@pytest.mark.parametrize("lam", [0.0, 0.3, 0.95, 1.0])
def test_is_the_mixture_of_n_step_returns(lam):
    """Dreamer V1 eq. 6: sum over n of (1 - lam) lam^(n-1) times the n-step return, the longest with the rest."""
    reward, discount, value = (np.asarray(x, np.float64) for x in random_rollout())
    length, expected = len(reward), np.zeros_like(reward)
    for t in range(length):
        for n in range(1, length - t + 1):
            total, alive = np.zeros(reward.shape[1]), np.ones(reward.shape[1])
            for k in range(t, t + n):
                total, alive = total + alive * reward[k], alive * discount[k]
            share = lam ** (n - 1) * (1.0 if n == length - t else 1 - lam)
            expected[t] += share * (total + alive * value[t + n - 1])
    np.testing.assert_allclose(lambda_returns(*random_rollout(), lam), expected, rtol=1e-5, atol=1e-6)


def test_nothing_crosses_an_end():
    reward, discount, value = random_rollout()
    discount = discount.at[3].set(0.0)
    before = lambda_returns(reward, discount, value, 0.95)[:4]
    after = lambda_returns(reward.at[4:].add(5), discount, value.at[3:].add(5), 0.95)[:4]
    np.testing.assert_array_equal(before, after)


def test_gradients_reach_rewards_and_values_by_their_weights():
    reward, discount, value = random_rollout(shape=(3,))
    first = lambda r, v: lambda_returns(r, discount, v, 0.5)[0]  # noqa: E731
    to_reward, to_value = jax.grad(first, (0, 1))(reward, value)
    g = np.asarray(discount)
    np.testing.assert_allclose(to_reward, [1, g[0] * 0.5, g[0] * g[1] * 0.25], rtol=1e-6)
    np.testing.assert_allclose(to_value, [g[0] * 0.5, g[0] * g[1] * 0.25, g[0] * g[1] * g[2] * 0.25], rtol=1e-6)


def test_lambda_outside_0_to_1_is_refused():
    with pytest.raises(ValueError, match=r"lam: expected 0 to 1, got 1\.5"):
        lambda_returns(*random_rollout(), 1.5)


def test_lambda_may_differ_from_step_to_step():
    reward, discount, value = random_rollout(shape=(3,))
    lam = jnp.array([0.5, 0.0, 0.9])
    r, g, v = (np.asarray(x, np.float64) for x in (reward, discount, value))
    last = r[2] + g[2] * v[2]
    middle = r[1] + g[1] * v[1]  # lambda 0: the value alone
    first = r[0] + g[0] * (0.5 * v[0] + 0.5 * middle)
    np.testing.assert_allclose(lambda_returns(reward, discount, value, lam), [first, middle, last], rtol=1e-5)


def test_the_range_of_returns_follows_their_percentiles():
    returns = jnp.arange(101.0)  # percentiles 5 and 95
    range_ = track_range(Range(jnp.float32(0), jnp.float32(0)), returns, 0.1)
    np.testing.assert_allclose(range_, (0.5, 9.5), rtol=1e-5)
    np.testing.assert_allclose(range_.scale, 9.0, rtol=1e-5)
    for _ in range(200):
        range_ = track_range(range_, returns, 0.1)
    np.testing.assert_allclose(range_, (5.0, 95.0), rtol=1e-4)
    np.testing.assert_allclose(track_range(range_, jnp.zeros(10), 1.0).scale, 1.0)  # never below 1
