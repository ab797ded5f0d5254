"""Recurrent cells, one step each; scanning is the models' matter."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from latentplan.nets.network import ACTIVATIONS, Network, dense, from_linen
from latentplan.types import Array


class _GRU(nn.Module):
    """r, u = sigmoid(W [x, h] + 1);  c = tanh(V [x, r h]);  h' = u h + (1 - u) c."""

    size: int
    dtype: str

    @nn.compact
    def __call__(self, x: Array, h: Array) -> Array:
        gates = nn.Dense(
            2 * self.size,
            dtype=jnp.dtype(self.dtype),
            kernel_init=jax.nn.initializers.glorot_uniform(),
            bias_init=jax.nn.initializers.ones,  # start by remembering
            name="gates",
        )(jnp.concatenate([x, h], -1))
        reset, update = jnp.split(jax.nn.sigmoid(gates), 2, -1)
        candidate = jnp.tanh(dense(self.size, self.dtype, "candidate")(jnp.concatenate([x, reset * h], -1)))
        return (update * h + (1.0 - update) * candidate).astype(jnp.float32)


class _RecurrentStep(nn.Module):
    """One hidden layer on the inputs, then the GRU."""

    size: int
    hidden: int
    layers: int
    activation: str
    dtype: str

    @nn.compact
    def __call__(self, x: Array, h: Array) -> Array:
        for _ in range(self.layers):
            x = ACTIVATIONS[self.activation](dense(self.hidden, self.dtype)(x))
        return _GRU(self.size, self.dtype, name="gru")(x, h)


def make_recurrent_step(
    input_size: int, size: int, *, hidden: int, layers: int, activation: str, dtype: str = "float32"
) -> Network:
    """The RSSM's deterministic path: an MLP on the inputs, then a GRU (Cho et al. 2014; reset before the product).

    Returns:
        Network whose apply maps (inputs [..., input_size], h [..., size]) to the next h [..., size], float32.
    """
    return from_linen(_RecurrentStep(size, hidden, layers, activation, dtype), input_size, size)
