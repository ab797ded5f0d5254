"""Distributions as records of arrays. The only file that imports distrax."""

import distrax
import jax.numpy as jnp

from latentplan.types import Array, Gaussian, Key


def _independent(gaussian: Gaussian) -> distrax.Independent:
    return distrax.Independent(distrax.Normal(gaussian.mean, gaussian.std), reinterpreted_batch_ndims=1)


def sample(gaussian: Gaussian, key: Key) -> Array:
    """Draws mean + std * noise, so gradients reach mean and std (reparameterised).

    Args:
        gaussian: over [..., S].
        key: one key for the whole batch.

    Returns:
        [..., S].
    """
    return _independent(gaussian).sample(seed=key)


def log_prob(gaussian: Gaussian, value: Array) -> Array:
    """Log density in nats, summed over the last axis.

    Args:
        gaussian: over [..., S]; mean and std broadcast against each other.
        value: [..., S].

    Returns:
        [...].
    """
    return _independent(gaussian).log_prob(value)


def kl_divergence(p: Gaussian, q: Gaussian) -> Array:
    """KL(p || q) in nats, summed over the last axis.

    Args:
        p: over [..., S].
        q: over [..., S].

    Returns:
        [...], non-negative.
    """
    return _independent(p).kl_divergence(_independent(q))


def standard_normal_like(gaussian: Gaussian) -> Gaussian:
    """N(0, 1) of the same shape: PlaNet's global prior."""
    return Gaussian(jnp.zeros_like(gaussian.mean), jnp.ones_like(gaussian.std))
