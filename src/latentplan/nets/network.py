"""Network(init, apply): what the rest of the project sees of flax.linen."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from latentplan.types import Array, Key, Params

_LARGE = 20.0  # from here on tanh(softplus(x)) is 1 to float32's last bit


@jax.custom_jvp
def mish(x: Array) -> Array:
    """Mish, x tanh(log(1 + e^x)) (Misra 2019), by one exponential: tanh(log(1 + u)) = n / (n + 2), n = u (u + 2).

    Its slope is written out, since the one that is derived from this form costs more than the activation.

    Args:
        x: [...], any float type.

    Returns:
        [...].
    """
    u = jnp.exp(jnp.minimum(x, _LARGE))
    n = u * (u + 2)
    return x * n / (n + 2)


@mish.defjvp
def _mish_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    """The slope: tanh(.) + x (1 - tanh(.)^2) sigmoid(x), and 1 - tanh(.)^2 = 4 (1 + u)^2 / (n + 2)^2."""
    (x,), (dx,) = primals, tangents
    u = jnp.exp(jnp.minimum(x, _LARGE))
    n = u * (u + 2)
    share = 1 / (n + 2)
    return x * n * share, (n * share + 4 * x * u * (1 + u) * share * share) * dx


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "relu": nn.relu,
    "elu": nn.elu,
    "silu": nn.silu,
    "tanh": jnp.tanh,
    "mish": mish,
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
