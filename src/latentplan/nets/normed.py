"""TD-MPC's and TD-MPC2's networks: layer normalisation before activations, simplicial outputs, dropout, ensembles."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Float

from latentplan.nets.network import ACTIVATIONS, INITS, Network, Style
from latentplan.types import Array, Key, Params

TDMPC2_STYLE = Style(activation="mish", norm="layer", weights="normal")


class _NormedMLP(nn.Module):
    output_size: int
    hidden: int
    layers: int
    style: Style
    dropout: float
    simplex: int
    zeros: bool

    @nn.compact
    def __call__(self, x: Array, dropout_key: Key | None = None) -> Array:
        dtype, init, norm = jnp.dtype(self.style.dtype), INITS[self.style.weights], self.style.norm
        for layer in range(self.layers):
            x = nn.Dense(self.hidden, dtype=dtype, kernel_init=init)(x)
            if layer == 0 and self.dropout and dropout_key is not None:
                kept = _bernoulli(dropout_key, 1 - self.dropout, x.shape)
                x = jnp.where(kept, x / (1 - self.dropout), 0.0).astype(dtype)
            if norm == "layer" or (norm == "first" and layer == 0):
                x = nn.LayerNorm(1e-5, dtype=dtype)(x)
            x = ACTIVATIONS["tanh" if norm == "first" and layer == 0 else self.style.activation](x)
        kernel_init = jax.nn.initializers.zeros if self.zeros else init
        x = nn.Dense(self.output_size, dtype=dtype, kernel_init=kernel_init)(x)
        if self.simplex:
            x = simnorm(nn.LayerNorm(1e-5, dtype=dtype)(x).astype(jnp.float32), self.simplex)
        return x.astype(jnp.float32)


def _bernoulli(key: Key, probability: float, shape: tuple[int, ...]) -> Array:
    """Bernoulli samples, bool [shape], two per random word for speed; the probability is a multiple of 2^-16."""
    words = jax.random.bits(key, (math.ceil(math.prod(shape) / 2),), "uint32")
    levels = jax.lax.bitcast_convert_type(words, jnp.uint16).reshape(-1)[: math.prod(shape)]
    return (levels < min(round(probability * 2**16), 2**16 - 1)).reshape(shape)


def simnorm(x: Float[Array, "*batch L"], size: int) -> Float[Array, "*batch L"]:
    """Softmax over groups of `size` neighbours (simplicial normalisation: Lavoie et al. 2022; TD-MPC2 section 3.1).

    Args:
        x: [..., n * size].
        size: V. TD-MPC2 uses 8.

    Returns:
        [..., n * size]; each group is non-negative and sums to one.
    """
    return jax.nn.softmax(x.reshape(*x.shape[:-1], -1, size), -1).reshape(x.shape)


def make_normed_mlp(
    input_size: int,
    output_size: int,
    *,
    hidden: int,
    layers: int,
    style: Style = TDMPC2_STYLE,
    dropout: float = 0.0,
    simplex: int = 0,
    zeros: bool = False,
) -> Network:
    """Builds an MLP: hidden layers of linear, LayerNorm, activation; linear output (TD-MPC2 `common/layers.py`).

    With weights "orthogonal" and norm "none", or "first" for Q-functions, it is TD-MPC's (`algorithm/helper.py`).

    Args:
        input_size: of the input's last axis.
        output_size: of the output's.
        hidden: units per hidden layer.
        layers: hidden layers.
        style: of the layers. Its norm is "layer" (before every activation), "none", or "first": a LayerNorm and tanh
            after the first hidden layer only.
        dropout: dropout rate of the first layer, applied if a key is given.
        simplex: V; outputs go through LayerNorm and `simnorm` in groups of V. 0: plain outputs.
        zeros: whether to initialise the output layer to zero, for initial predictions of zero.

    Returns:
        Network whose apply is (params, x [..., input_size], dropout_key=None) -> [..., output_size], float32.
    """
    module = _NormedMLP(output_size, hidden, layers, style, dropout, simplex, zeros)

    def init(key: Key) -> Params:
        return module.init(key, jnp.zeros((1, input_size), jnp.float32))["params"]

    def apply(params: Params, x: Array, dropout_key: Key | None = None) -> Any:
        return module.apply({"params": params}, x, dropout_key)

    return Network(init, apply)


def make_ensemble(network: Network, size: int) -> Network:
    """Builds an ensemble by `vmap` over the parameters of its members.

    Args:
        network: one member, which may take a key as its last input.
        size: M, the number of members.

    Returns:
        Network whose params have a leading axis M and whose apply is (params, x [...], key=None) -> [M, ...]. To apply
        some members only, pass a slice of the params.
    """

    def init(key: Key) -> Params:
        return jax.vmap(network.init)(jax.random.split(key, size))

    def apply(params: Params, x: Array, key: Key | None = None) -> Array:
        if key is None:
            return jax.vmap(network.apply, (0, None))(params, x)
        keys = jax.random.split(key, len(jax.tree.leaves(params)[0]))
        return jax.vmap(network.apply, (0, None, 0))(params, x, keys)

    return Network(init, apply)
