"""Feed-forward networks and their Gaussian heads."""

import jax.numpy as jnp
from flax import linen as nn

from latentplan.nets.network import ACTIVATIONS, Network, dense, from_linen
from latentplan.types import Array, Gaussian


def _softplus(x: Array) -> Array:
    """log(1 + e^x) to float32's last bits of 1: `jax.nn.softplus` keeps more below e^-16, at twice the time on CPU."""
    return jnp.maximum(x, 0.0) + jnp.log(1.0 + jnp.exp(jnp.minimum(x, -x)))  # slope 1/2 at zero


class _MLP(nn.Module):
    output_size: int | None
    hidden: int
    layers: int
    activation: str
    dtype: str

    @nn.compact
    def __call__(self, x: Array) -> Array:
        for _ in range(self.layers):
            x = ACTIVATIONS[self.activation](dense(self.hidden, self.dtype)(x))
        if self.output_size is None:
            return x
        return dense(self.output_size, self.dtype)(x).astype(jnp.float32)


class _GaussianMLP(nn.Module):
    output_size: int
    hidden: int
    layers: int
    activation: str
    min_std: float
    dtype: str

    @nn.compact
    def __call__(self, x: Array) -> Gaussian:
        x = _MLP(None, self.hidden, self.layers, self.activation, self.dtype)(x)
        mean = dense(self.output_size, self.dtype, "mean")(x).astype(jnp.float32)
        std = dense(self.output_size, self.dtype, "std")(x).astype(jnp.float32)
        return Gaussian(mean, _softplus(std) + self.min_std)


def make_mlp(
    input_size: int, output_size: int, *, hidden: int, layers: int, activation: str, dtype: str = "float32"
) -> Network:
    """`layers` hidden layers and a linear output: [..., input_size] -> [..., output_size], float32."""
    return from_linen(_MLP(output_size, hidden, layers, activation, dtype), input_size)


def make_gaussian_mlp(
    input_size: int,
    output_size: int,
    *,
    hidden: int,
    layers: int,
    activation: str,
    min_std: float,
    dtype: str = "float32",
) -> Network:
    """An MLP to a diagonal Gaussian with std = softplus(x) + min_std (PlaNet appendix A).

    Returns:
        Network whose apply maps [..., input_size] to Gaussian [..., output_size], float32.
    """
    module = _GaussianMLP(output_size, hidden, layers, activation, min_std, dtype)
    return from_linen(module, input_size)
