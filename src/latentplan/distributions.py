"""Distributions as records of arrays. The only file that imports distrax."""

import functools
from collections.abc import Mapping
from typing import NamedTuple

import distrax
import jax
import jax.numpy as jnp
from jax.scipy.stats import norm
from jaxtyping import Float

from latentplan.transforms import two_hot
from latentplan.types import Array, Key, Prediction

_LEAST = 2.0**-23
_EDGE = 1e-6  # squashed values are clipped this far from -1 and 1 before their density is evaluated


class Gaussian(NamedTuple):
    """A diagonal Gaussian over the last axis.

    Attributes:
        mean: [..., S].
        std: [..., S], positive.
    """

    mean: Array
    std: Array


class OneHot(NamedTuple):
    """S independent one-hot vectors of C classes; a value is their concatenation, [..., S * C].

    Attributes:
        logits: [..., S, C], up to a constant per vector.
    """

    logits: Array


class TanhGaussian(NamedTuple):
    """tanh of a diagonal Gaussian over the last axis.

    Attributes:
        mean: [..., A], before tanh.
        std: [..., A], positive.
    """

    mean: Array
    std: Array


class TruncatedGaussian(NamedTuple):
    """A diagonal Gaussian over the last axis, truncated to [-1, 1].

    Attributes:
        mean: [..., A], before truncation, in [-1, 1].
        std: [..., A], positive.
    """

    mean: Array
    std: Array


class TwoHot(NamedTuple):
    """A scalar represented by class probabilities over bins.

    Attributes:
        logits: [..., K].
        bins: [K], increasing, in the number's units.
    """

    logits: Array
    bins: Array

    @property
    def mean(self) -> Array:
        """[..., 1]. Opposite bins are summed in pairs: uniform weights over symmetric bins give exactly zero."""
        weighted = jax.nn.softmax(self.logits, -1) * jnp.broadcast_to(self.bins, self.logits.shape)
        half = (weighted + weighted[..., ::-1]) / 2
        return jnp.sum(half, -1, keepdims=True)


Distribution = Gaussian | OneHot | TanhGaussian | TruncatedGaussian | TwoHot


def _distrax(distribution: Distribution | Prediction) -> distrax.Distribution:
    """The equivalent distrax distribution; an event spans the last axis, or the last two for one-hot vectors."""
    match distribution:
        case Gaussian(mean, std):
            return distrax.Independent(distrax.Normal(mean, std), reinterpreted_batch_ndims=1)
        case TanhGaussian(mean, std):
            normal = distrax.Normal(mean, std)
            return distrax.Independent(distrax.Transformed(normal, distrax.Tanh()), reinterpreted_batch_ndims=1)
        case OneHot(logits):
            categorical = distrax.OneHotCategorical(logits, dtype=jnp.float32)
            return distrax.Independent(categorical, reinterpreted_batch_ndims=1)
    raise TypeError(f"distribution: expected Gaussian, TanhGaussian or OneHot, got {type(distribution).__name__}")


def sample(distribution: Distribution, key: Key) -> Float[Array, "*batch S"]:
    """Draws a sample through which gradients reach the distribution's parameters.

    Gaussians are reparameterised; one-hot samples take the gradient of their probabilities (straight-through: Bengio et
    al. 2013; Dreamer V2, algorithm 1).

    Args:
        distribution: over [..., S].
        key: one key for the whole batch.

    Returns:
        [..., S]; one-hot vectors concatenated.
    """
    if isinstance(distribution, TruncatedGaussian):
        mean, std = distribution
        low, high = (jax.lax.erf((edge - mean) / (std * 2.0**0.5)) for edge in (-1.0, 1.0))
        share = low + (high - low) * jax.random.uniform(key, mean.shape, mean.dtype)
        share = jnp.clip(share, -1.0 + _LEAST, 1.0 - _LEAST)  # at -1 itself the gradient is NaN
        drawn = mean + std * 2.0**0.5 * jax.lax.erf_inv(share)
        return drawn + jax.lax.stop_gradient(jnp.clip(drawn, -1.0, 1.0) - drawn)
    drawn = _distrax(distribution).sample(seed=key)
    if isinstance(distribution, OneHot):
        probs = jax.nn.softmax(distribution.logits, -1)
        drawn = jax.lax.stop_gradient(drawn) + probs - jax.lax.stop_gradient(probs)
        return drawn.reshape(*drawn.shape[:-2], -1)
    return drawn


def mode(distribution: Distribution) -> Float[Array, "*batch S"]:
    """The most likely value; tanh(mean) of a squashed Gaussian, which is its median.

    Args:
        distribution: over [..., S].

    Returns:
        [..., S].
    """
    match distribution:
        case TanhGaussian(mean, _):
            return jnp.tanh(mean)
        case OneHot(logits):
            hot = jax.nn.one_hot(jnp.argmax(logits, -1), logits.shape[-1], dtype=logits.dtype)
            return hot.reshape(*hot.shape[:-2], -1)
    return distribution.mean


def log_prob(distribution: Distribution | Prediction, value: Float[Array, "*#batch S"]) -> Float[Array, "..."]:
    """Log density, or log probability, in nats, summed over the last axis.

    Args:
        distribution: over [..., S]; a Gaussian's mean and std broadcast against each other.
        value: [..., S]. For a `TwoHot`, [..., 1]: minus the cross-entropy with the two nearest bins.

    Returns:
        [...].
    """
    match distribution:
        case OneHot(logits):
            return _distrax(distribution).log_prob(value.reshape(*value.shape[:-1], *logits.shape[-2:]))
        case TanhGaussian():
            return _distrax(distribution).log_prob(jnp.clip(value, -1.0 + _EDGE, 1.0 - _EDGE))
        case TruncatedGaussian(mean, std):
            mass = norm.cdf((1.0 - mean) / std) - norm.cdf((-1.0 - mean) / std)
            return jnp.sum(norm.logpdf(value, mean, std) - jnp.log(mass), -1)
        case TwoHot(logits, bins):
            return jnp.sum(two_hot(value[..., 0], bins) * jax.nn.log_softmax(logits, -1), -1)
    return _distrax(distribution).log_prob(value)


def joint_log_prob(
    distributions: Mapping[str, Prediction], values: Mapping[str, Float[Array, "..."]]
) -> Float[Array, "..."]:
    """Log density of several independent values: the sum over names of `log_prob`.

    Args:
        distributions: by name, over [..., S].
        values: by the same names, [..., S].

    Returns:
        [...], in nats.
    """
    return functools.reduce(jnp.add, [log_prob(one, values[name]) for name, one in distributions.items()])


def entropy(distribution: Gaussian | OneHot | TruncatedGaussian) -> Float[Array, "..."]:
    """In nats, summed over the last axis: [...]."""
    if not isinstance(distribution, TruncatedGaussian):
        return _distrax(distribution).entropy()
    mean, std = distribution
    low, high = (-1.0 - mean) / std, (1.0 - mean) / std
    mass = norm.cdf(high) - norm.cdf(low)
    bent = (low * norm.pdf(low) - high * norm.pdf(high)) / (2.0 * mass)
    return jnp.sum(0.5 * jnp.log(2.0 * jnp.pi * jnp.e) + jnp.log(std * mass) + bent, -1)


def kl_divergence(p: Gaussian | OneHot, q: Gaussian | OneHot) -> Float[Array, "..."]:
    """KL(p || q) in nats, summed over the last axis, and over all one-hot vectors.

    Args:
        p: over [..., S].
        q: of the same kind, over [..., S].

    Returns:
        [...], non-negative.
    """
    return _distrax(p).kl_divergence(_distrax(q))


def mix_uniform(logits: Float[Array, "*batch C"], share: float) -> Float[Array, "*batch C"]:
    """Log-probabilities mixed with the uniform distribution, so that none is zero (Dreamer V3: 1 %).

    Args:
        logits: [..., C].
        share: weight of the uniform distribution, from 0 to 1; 0 leaves the logits unchanged.

    Returns:
        [..., C].
    """
    if not share:
        return logits
    return jnp.log((1.0 - share) * jax.nn.softmax(logits, -1) + share / logits.shape[-1])


def standard_normal_like(gaussian: Gaussian) -> Gaussian:
    """N(0, 1) of the same shape: PlaNet's global prior."""
    return Gaussian(jnp.zeros_like(gaussian.mean), jnp.ones_like(gaussian.std))
