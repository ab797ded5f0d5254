"""TD-MPC's and TD-MPC2's convolutions: a shallow encoder of square images."""

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from latentplan.nets.network import Network, convolution, from_linen
from latentplan.nets.strided import conv2d, conv_unit
from latentplan.types import Array


class _ShallowEncoder(nn.Module):
    image_size: int
    channels: int
    depth: int
    output_size: int
    version: int
    dtype: str

    @nn.compact
    def __call__(self, flat: Array) -> Array:
        lead, first = flat.shape[:-1], self.version == 1
        x = flat.reshape(-1, self.image_size, self.image_size, self.channels)
        for size in (7, 5, 3):
            x = nn.relu(self._convolve(x, size, conv2d))
        x = self._convolve(x, 3, conv2d if first else conv_unit)
        # Channels first, as PyTorch lays them out: SimNorm's groups are then positions of one channel.
        x = jnp.moveaxis(nn.relu(x) if first else x, -1, 1).reshape(*lead, -1)
        if first or x.shape[-1] != self.output_size:
            orthogonal = jax.nn.initializers.orthogonal()
            x = nn.Dense(self.output_size, dtype=jnp.dtype(self.dtype), kernel_init=orthogonal)(x)
        return x.astype(jnp.float32)

    def _convolve(self, x: Array, size: int, convolve: Callable[[Array, Array], Array]) -> Array:
        """TD-MPC starts orthogonal, TD-MPC2 as PyTorch does, kernels and biases."""
        if self.version == 1:
            inits = {"kernel_init": jax.nn.initializers.orthogonal(2**0.5)}
        else:
            uniform = _uniform((size * size * x.shape[-1]) ** -0.5)
            inits = {"kernel_init": uniform, "bias_init": uniform}
        return convolution(self.depth, size, convolve, self.dtype, **inits)(x)


def _uniform(limit: float) -> Callable[..., Array]:
    return lambda key, shape, dtype=jnp.float32: jax.random.uniform(key, shape, dtype, -limit, limit)


def make_shallow_encoder(
    image_size: int,
    channels: int,
    output_size: int,
    *,
    depth: int,
    version: Literal[1, 2] = 2,
    dtype: str = "float32",
) -> Network:
    """TD-MPC's and TD-MPC2's convolutions: kernels 7, 5 and 3 with stride 2 and ReLU, then one of 3.

    TD-MPC's last one has stride 2 and ReLU, too, and a linear layer follows; weights start orthogonal, the
    convolutions' times sqrt(2) (`enc` and `orthogonal_init` in its `algorithm/helper.py`). TD-MPC2's last one has
    stride 1 and nothing behind it (`conv` in its `common/layers.py`), but here a linear layer where its 16 x depth
    outputs at 64 x 64 are not the size that is asked for; kernels and biases start as PyTorch has them, uniform within
    1 / sqrt(fan in).

    Args:
        image_size: of the square image, at least 40. TD-MPC has 84, TD-MPC2 64.
        channels: of the image.
        output_size: of the result.
        depth: channels of every convolution; both have 32.
        version: 1 for TD-MPC's, 2 for TD-MPC2's.
        dtype: of the products.

    Returns:
        Network whose apply maps flat images [..., image_size^2 * channels] to [..., output_size], float32.
    """
    encoder = _ShallowEncoder(image_size, channels, depth, output_size, version, dtype)
    return from_linen(encoder, image_size * image_size * channels)
