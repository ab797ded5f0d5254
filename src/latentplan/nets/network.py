"""Network(init, apply): what the rest of the project sees of flax.linen."""

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

NORMS: dict[str, Callable[..., nn.Module]] = {"layer": nn.LayerNorm, "rms": nn.RMSNorm}
"""What normalises features over their last axis, with a learned scale; "none" is none."""


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


def dense(size: int, dtype: str, name: str | None = None) -> nn.Dense:
    """A linear layer with Glorot-uniform weights, TensorFlow's default and so PlaNet's."""
    return nn.Dense(size, dtype=jnp.dtype(dtype), kernel_init=jax.nn.initializers.glorot_uniform(), name=name)
