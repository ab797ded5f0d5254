"""The functional interface to flax.linen: `Network(init, apply)`, layer styles, and combinators."""

import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Float

from latentplan.config import OneOf
from latentplan.types import Array, Key, Params

_LARGE = 20.0  # above it tanh(softplus(x)) rounds to 1 in float32


@jax.custom_jvp
def mish(x: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    """Mish, x tanh(log(1 + e^x)) (Misra 2019), with one exponential: tanh(log(1 + u)) = n / (n + 2), n = u (u + 2).

    Its derivative is given explicitly, since automatic differentiation of this form costs more than the activation.

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
    """The derivative: tanh(.) + x (1 - tanh(.)^2) sigmoid(x), and 1 - tanh(.)^2 = 4 (1 + u)^2 / (n + 2)^2."""
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
"""Normalisation layers over the last axis, with a learned scale; "none" for no normalisation."""

INITS: dict[str, Callable[..., Array]] = {
    "glorot": jax.nn.initializers.glorot_uniform(),  # TensorFlow's default, and so PlaNet's, Dreamer V1's and V2's
    "truncated": jax.nn.initializers.variance_scaling(1.0, "fan_in", "truncated_normal"),  # Dreamer V3's
    "normal": jax.nn.initializers.normal(0.02),  # TD-MPC2's
    "orthogonal": jax.nn.initializers.orthogonal(),  # TD-MPC's
}
"""Weight initialisation of linear layers."""


@dataclass(frozen=True, kw_only=True)
class Style:
    """Settings that all layers of a network share.

    Attributes:
        activation: a name in `ACTIVATIONS`.
        norm: normalisation before each activation, a name in `NORMS` or "none".
        weights: weight initialisation, a name in `INITS`.
        dtype: compute precision, "float32" or "bfloat16"; parameters are float32.
    """

    activation: str = "relu"
    norm: str = "none"
    weights: str = "glorot"
    dtype: str = "float32"


Activation = Annotated[str, OneOf(ACTIVATIONS)]
Norm = Annotated[str, OneOf(NORMS, "none")]
Weights = Annotated[str, OneOf(INITS)]


class Network(NamedTuple):
    """A network as two pure functions.

    Attributes:
        init: (key) -> params.
        apply: (params, *inputs [..., features]) -> output, with any leading axes.
    """

    init: Callable[[Key], Params]
    apply: Callable[..., Any]


def from_linen(module: nn.Module, *input_sizes: int) -> Network:
    """Wraps a linen module whose inputs are vectors.

    Args:
        module: a module that takes `len(input_sizes)` arrays.
        input_sizes: the last axis of each input.

    Returns:
        Network.
    """

    def init(key: Key) -> Params:
        return module.init(key, *(jnp.zeros((1, size), jnp.float32) for size in input_sizes))["params"]

    def apply(params: Params, *inputs: Array) -> Any:
        return module.apply({"params": params}, *inputs)

    return Network(init, apply)


def chain(first: Network, second: Network) -> Network:
    """Composes two networks: second(first(x)).

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


def each(networks: Mapping[str, Network]) -> Network:
    """Applies one network per name to a dictionary of inputs.

    Args:
        networks: by name.

    Returns:
        Network whose apply maps inputs by name to outputs by name. Its params are keyed by name, too; with a single
        network they are that network's own.
    """
    if len(networks) == 1:
        ((name, network),) = networks.items()
        return Network(network.init, lambda params, inputs: {name: network.apply(params, inputs[name])})

    def init(key: Key) -> Params:
        keys = split_by_name(key, networks)
        return {name: network.init(keys[name]) for name, network in networks.items()}

    def apply(params: Params, inputs: Mapping[str, Array]) -> dict[str, Any]:
        return {name: network.apply(params[name], inputs[name]) for name, network in networks.items()}

    return Network(init, apply)


def split_by_name(key: Key, names: Iterable[str]) -> dict[str, Key]:
    """One key per name; a single name gets the key itself."""
    names = tuple(names)
    return {names[0]: key} if len(names) == 1 else dict(zip(names, jax.random.split(key, len(names)), strict=True))


def dense(size: int, style: Style, name: str | None = None, scale: float = 1.0) -> nn.Dense:
    """A linear layer with the style's initialisation and precision.

    Args:
        size: of the output's last axis.
        style: its weights and dtype are used.
        name: of the layer in the parameters; None lets linen number it.
        scale: factor of the initial weights.

    Returns:
        The linen module.
    """
    init = INITS[style.weights]
    scaled = init if scale == 1.0 else lambda *args: init(*args) * scale
    return nn.Dense(size, dtype=jnp.dtype(style.dtype), kernel_init=scaled, name=name)


def activate(x: Float[Array, "*batch F"], style: Style) -> Float[Array, "*batch F"]:
    """Normalisation, then activation, inside a compact module: [..., features] -> [..., features]."""
    if style.norm != "none":
        x = NORMS[style.norm](dtype=jnp.dtype(style.dtype))(x)
    return ACTIVATIONS[style.activation](x)


class _Conv(nn.Module):
    features: int
    size: int
    convolve: Callable[[Array, Array], Array]
    dtype: str
    kernel_init: Callable[..., Array]
    bias_init: Callable[..., Array]

    @nn.compact
    def __call__(self, x: Array) -> Array:
        shape = (self.size, self.size, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32)
        bias = self.param("bias", self.bias_init, (self.features,), jnp.float32)
        dtype = jnp.dtype(self.dtype)
        return self.convolve(x.astype(dtype), kernel.astype(dtype)) + bias.astype(dtype).reshape(1, 1, 1, -1)


def convolution(
    features: int,
    size: int,
    convolve: Callable[[Array, Array], Array],
    dtype: str,
    *,
    kernel_init: Callable[..., Array] = INITS["glorot"],
    bias_init: Callable[..., Array] = jax.nn.initializers.zeros,
) -> nn.Module:
    """A convolution with a bias.

    Args:
        features: channels of the output.
        size: of the square kernel.
        convolve: (images [B, height, width, in], kernel [size, size, in, features]) -> images; see `strided`.
        dtype: compute precision.
        kernel_init: initialisation of the kernel.
        bias_init: of the bias.

    Returns:
        The linen module.
    """
    return _Conv(features, size, convolve, dtype, kernel_init, bias_init)
