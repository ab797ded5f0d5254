"""Free nats: the value, and the gradient on both sides of the allowance."""

import jax
import jax.numpy as jnp
import numpy as np

from latentplan import distributions
from latentplan.losses.kl import free_nats
from latentplan.types import Gaussian


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
