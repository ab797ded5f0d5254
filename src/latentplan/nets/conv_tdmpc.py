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
        # Channels first, as in PyTorch, so that a SimNorm group covers positions of one channel.
        x = jnp.moveaxis(nn.relu(x) if first else x, -1, 1).reshape(*lead, -1)
        if first or x.shape[-1] != self.output_size:
            orthogonal = jax.nn.initializers.orthogonal()
            x = nn.Dense(self.output_size, dtype=jnp.dtype(self.dtype), kernel_init=orthogonal)(x)
        return x.astype(jnp.float32)

    def _convolve(self, x: Array, size: int, convolve: Callable[[Array, Array], Array]) -> Array:
        """TD-MPC initialises orthogonally, TD-MPC2 with PyTorch's defaults, for kernels and biases."""
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
    """Builds TD-MPC's or TD-MPC2's encoder: kernels 7, 5 and 3 with stride 2 and ReLU, then a fourth of size 3.

    In TD-MPC the fourth convolution also has stride 2 and ReLU and is followed by a linear layer; initialisation is
    orthogonal, with gain sqrt(2) for convolutions (`enc` and `orthogonal_init` in its `algorithm/helper.py`). In
    TD-MPC2 it has stride 1 and is the output (`conv` in its `common/layers.py`); here a linear layer follows if
    `output_size` differs from its size (16 x depth at 64 x 64). Kernels and biases are initialised as in PyTorch,
    uniform within 1 / sqrt(fan in).

    Args:
        image_size: of the square image, at least 40. TD-MPC uses 84, TD-MPC2 64.
        channels: of the image.
        output_size: of the result.
        depth: channels of every convolution; both use 32.
        version: 1 for TD-MPC's, 2 for TD-MPC2's.
        dtype: compute precision.

    Returns:
        Network whose apply maps flat images [..., image_size^2 * channels] to [..., output_size], float32.
    """
    encoder = _ShallowEncoder(image_size, channels, depth, output_size, version, dtype)
    return from_linen(encoder, image_size * image_size * channels)
