"""Network(init, apply): what the rest of the project sees of flax.linen."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from latentplan.types import Array, Key, Params

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "relu": nn.relu,
    "elu": nn.elu,
    "silu": nn.silu,
    "tanh": jnp.tanh,
    "mish": lambda x: x * jnp.tanh(nn.softplus(x)),
}

NORMS: dict[str, Callable[..., nn.Module]] = {
    "layer": nn.LayerNorm,
    "rms": functools.partial(nn.RMSNorm, epsilon=1e-4),  # Dreamer V3's
}
"""What normalises features over their last axis, with a learned scale; "none" is none."""

INITS: dict[str, Callable[..., Array]] = {
    "glorot": jax.nn.initializers.glorot_uniform(),  # TensorFlow's default, and so PlaNet's, Dreamer V1's and V2's
    "truncated": jax.nn.initializers.variance_scaling(1.0, "fan_in", "truncated_normal"),  # Dreamer V3's
}
"""How the weights of linear layers start."""


class Network(NamedTuple):
    """A network as two pure functions.

    Attributes:
        init: (key) -> params.
        apply: (params, *inputs [..., features]) -> output; leading axes are free.
    """

    init: Callable[[Key], Params]
    apply: Callable[..., Any]


def from_linen(module: nn.Module, *input_sizes: int) -> Network:
    """Wraps a linen module whose inputs are vectors.

    Args:
        module: called on `len(input_sizes)` arrays.
        input_sizes: the last axis of each input.

    Returns:
        Network.
    """

    def init(key: Key) -> Params:
        return module.init(key, *(jnp.zeros((1, size)) for size in input_sizes))["params"]

    def apply(params: Params, *inputs: Array) -> Any:
        return module.apply({"params": params}, *inputs)

    return Network(init, apply)


def dense(size: int, dtype: str, name: str | None = None, weights: str = "glorot", scale: float = 1.0) -> nn.Dense:
    """A linear layer whose weights start as `INITS` names it, times a scale."""

    def kernel_init(*args: Any) -> Array:
        return INITS[weights](*args) * scale if scale != 1.0 else INITS[weights](*args)

    return nn.Dense(size, dtype=jnp.dtype(dtype), kernel_init=kernel_init, name=name)


def normalise(x: Array, norm: str, dtype: str) -> Array:
    """What `norm` names, inside a compact module; with "none" the features themselves."""
    return x if norm == "none" else NORMS[norm](dtype=jnp.dtype(dtype))(x)
