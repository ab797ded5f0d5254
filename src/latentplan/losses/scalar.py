"""Scalar prediction heads and their losses: plain regression, or two-hot classification over bins."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float

from latentplan.transforms import symexp, symlog, two_hot
from latentplan.types import Array


class Scalar(NamedTuple):
    """An output representation of a scalar, with its loss.

    Attributes:
        size: K, the number of network outputs.
        mean: (outputs [..., K]) -> [...], the predicted scalar.
        error: (outputs [..., K], target [...]) -> [...], the loss.
    """

    size: int
    mean: Callable[[Array], Array]
    error: Callable[[Array, Array], Array]


def squared_error() -> Scalar:
    """One output, the prediction itself, with a squared error, as in TD-MPC."""
    return Scalar(1, lambda outputs: outputs[..., 0], lambda outputs, target: (outputs[..., 0] - target) ** 2)


def two_hot_symlog(low: float, high: float, num_bins: int) -> Scalar:
    """Class probabilities over bins of symlog values; the error is the cross-entropy with the two nearest bins.

    The prediction is symexp(sum_k p_k b_k), with b the evenly spaced bins (TD-MPC2, arXiv 2310.16828, section 3.1; its
    code in `common/math.py`). Targets outside the bins are clipped to the nearest one.

    Args:
        low: first bin, a symlog value.
        high: last bin.
        num_bins: K, at least 2. TD-MPC2: 101 from -10 to 10.

    Returns:
        Scalar of K outputs.
    """
    bins = jnp.linspace(low, high, num_bins, dtype=jnp.float32)

    def mean(outputs: Array) -> Array:
        return symexp(jax.nn.softmax(outputs, -1) @ bins)

    def error(outputs: Array, target: Array) -> Array:
        return cross_entropy(outputs, two_hot(symlog(target), bins))

    return Scalar(num_bins, mean, error)


def cross_entropy(logits: Float[Array, "*#batch K"], target: Float[Array, "*#batch K"]) -> Float[Array, "..."]:
    """-sum_k target_k log softmax(logits)_k, in nats."""
    return -jnp.sum(target * jax.nn.log_softmax(logits, -1), -1)
