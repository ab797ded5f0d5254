"""Network(init, apply): what the rest of the project sees of flax.linen."""

import functools
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


def chain(first: Network, second: Network) -> Network:
    """What the first gives, through the second.

    Args:
        first: a network.
        second: one that takes its output.

    Returns:
        Network with params "first" and "second".
    """

    def init(key: Key) -> Params:
        keys = jax.random.split(key)
        return {"first": first.init(keys[0]), "second": second.init(keys[1])}

    def apply(params: Params, *inputs: Array) -> Any:
        return second.apply(params["second"], first.apply(params["first"], *inputs))

    return Network(init, apply)


def dense(size: int, dtype: str, name: str | None = None, weights: str = "glorot", scale: float = 1.0) -> nn.Dense:
    """A linear layer whose weights start as `INITS` names it, times a scale."""

    def kernel_init(*args: Any) -> Array:
        return INITS[weights](*args) * scale if scale != 1.0 else INITS[weights](*args)

    return nn.Dense(size, dtype=jnp.dtype(dtype), kernel_init=kernel_init, name=name)


def normalise(x: Array, norm: str, dtype: str) -> Array:
    """What `norm` names, inside a compact module; with "none" the features themselves."""
    return x if norm == "none" else NORMS[norm](dtype=jnp.dtype(dtype))(x)
