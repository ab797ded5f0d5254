"""Numbers as outputs of networks: two-hot targets, their means and errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from latentplan.losses.scalar import cross_entropy, squared_error, two_hot, two_hot_symlog

BINS = jnp.linspace(-10.0, 10.0, 101)


def test_two_hot_by_hand():
    bins = jnp.array([-1.0, 0.0, 2.0])
    expected = [[1, 0, 0], [0.25, 0.75, 0], [0, 1, 0], [0, 0.5, 0.5], [0, 0, 1], [1, 0, 0], [0, 0, 1]]
    found = two_hot(jnp.array([-1.0, -0.25, 0.0, 1.0, 2.0, -7.0, 7.0]), bins)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_two_hot_weights_have_the_value_as_their_mean():
    values = jnp.asarray(np.random.default_rng(0).uniform(-10, 10, (50, 3)), jnp.float32)
    weights = two_hot(values, BINS)
    np.testing.assert_allclose(weights.sum(-1), 1.0, rtol=1e-6)
    np.testing.assert_allclose(weights @ BINS, values, atol=1e-5)
    assert (weights >= 0).all() and ((weights > 0).sum(-1) <= 2).all()


@pytest.mark.parametrize("number", [-20_000.0, -3.0, 0.0, 0.4, 150.0, 20_000.0])
def test_a_distribution_that_is_its_target_stands_for_the_number_and_has_the_least_error(number):
    scalar = two_hot_symlog(-10.0, 10.0, 101)
    weights = two_hot(jnp.sign(number) * jnp.log1p(abs(number)), BINS)
    logits = jnp.log(weights + 1e-12)
    assert float(scalar.mean(logits)) == pytest.approx(number, rel=1e-3, abs=1e-5)
    entropy = -float(jnp.sum(weights * jnp.log(jnp.maximum(weights, 1e-12))))
    assert float(scalar.error(logits, jnp.float32(number))) == pytest.approx(entropy, abs=1e-4)
    assert scalar.error(jnp.zeros(101), jnp.float32(number)) == pytest.approx(np.log(101), rel=1e-4)
    gradient = jax.grad(scalar.error)(jnp.zeros(101), jnp.float32(number))
    np.testing.assert_allclose(gradient, 1 / 101 - weights, atol=1e-5)


def test_cross_entropy_of_a_certain_target_is_minus_its_log_probability():
    logits = jnp.array([0.3, -1.0, 2.0])
    np.testing.assert_allclose(
        cross_entropy(logits, jnp.array([0.0, 0.0, 1.0])), -jax.nn.log_softmax(logits)[2], rtol=1e-6
    )


def test_squared_error():
    scalar = squared_error()
    assert scalar.size == 1 and scalar.mean(jnp.array([[3.0]])) == 3.0
    np.testing.assert_allclose(scalar.error(jnp.array([[3.0], [1.0]]), jnp.array([1.0, 1.0])), [4.0, 0.0])
