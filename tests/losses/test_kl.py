"""Free nats: the value, and the gradient on both sides of the allowance."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from latentplan import distributions
from latentplan.distributions import Gaussian, OneHot
from latentplan.losses.kl import annealed, balanced, free_nats, free_nats_floor


def test_only_what_exceeds_the_allowance_counts_and_per_step():
    kl = jnp.array([[0.0, 2.9], [3.5, 10.0]])
    np.testing.assert_allclose(free_nats(kl, 3.0), [[0.0, 0.0], [0.5, 7.0]], rtol=1e-6)


def test_no_allowance_leaves_the_kl_as_it_is():
    kl = jnp.array([0.1, 2.0, 7.5])
    np.testing.assert_array_equal(free_nats(kl, 0.0), kl)


def test_gradient_is_zero_below_the_allowance_and_one_above():
    gradient = jax.vmap(jax.grad(lambda kl: free_nats(kl, 3.0)))(jnp.array([0.5, 2.99, 3.01, 8.0]))
    np.testing.assert_array_equal(gradient, [0.0, 0.0, 1.0, 1.0])


def test_below_the_allowance_neither_posterior_nor_prior_gets_a_gradient_and_above_both_do():
    def loss(gaussians, shift):
        posterior, prior = gaussians
        posterior = posterior._replace(mean=posterior.mean + shift)
        return jnp.sum(free_nats(distributions.kl_divergence(posterior, prior), 1.0))

    pair = (Gaussian(jnp.zeros((1, 2)), jnp.ones((1, 2))), Gaussian(jnp.full((1, 2), 0.1), jnp.full((1, 2), 1.1)))
    for leaf in jax.tree.leaves(jax.grad(loss)(pair, 0.0)):
        np.testing.assert_array_equal(leaf, 0.0)
    for leaf in jax.tree.leaves(jax.grad(loss)(pair, 3.0)):
        assert np.all(np.asarray(leaf) != 0.0)


def test_the_balanced_kl_teaches_each_side_by_its_weight():
    """Dreamer V2 algorithm 2: 0.8 and 0.2 of the plain KL's gradients, side by side."""
    p, q = (OneHot(jnp.asarray(np.random.default_rng(i).normal(size=(5, 2, 3)), jnp.float32)) for i in (0, 1))
    kl = distributions.kl_divergence

    def weighed(p, q):
        dynamics, representation = balanced(kl, p, q)
        return jnp.sum(0.8 * dynamics + 0.2 * representation)

    plain = jax.grad(lambda p, q: jnp.sum(kl(p, q)), (0, 1))(p, q)
    found = jax.grad(weighed, (0, 1))(p, q)
    np.testing.assert_allclose(found[0].logits, 0.2 * plain[0].logits, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(found[1].logits, 0.8 * plain[1].logits, rtol=1e-5, atol=1e-7)
    for each in balanced(kl, p, q):
        np.testing.assert_allclose(each, kl(p, q), rtol=1e-6)


def test_free_nats_of_the_mean_or_of_every_step():
    kl = jnp.array([0.5, 3.5])
    np.testing.assert_allclose(free_nats_floor(kl, 1.0, averaged=True), 2.0)  # the mean is above it
    np.testing.assert_allclose(free_nats_floor(kl, 1.0, averaged=False), 2.25)  # (1 + 3.5) / 2
    np.testing.assert_allclose(free_nats_floor(kl, 3.0, averaged=True), 3.0)
    np.testing.assert_array_equal(jax.grad(lambda x: free_nats_floor(x, 3.0, averaged=True))(kl), [0.0, 0.0])
    np.testing.assert_array_equal(jax.grad(lambda x: free_nats_floor(x, 1.0, averaged=False))(kl), [0.0, 0.5])


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [0.5, 0.5, 0.5, 0.5, 0.5, 0.5]),
        ("linear", [0.0, 0.125, 0.25, 0.5, 0.5, 0.5]),
        ("cyclical", [0.0, 0.25, 0.5, 0.0, 0.25, 0.5]),
    ],
)
def test_the_kls_weight_follows_its_schedule(schedule, expected):
    found = [float(annealed(0.5, schedule, 100, updates)) for updates in (0, 25, 50, 100, 125, 175)]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
