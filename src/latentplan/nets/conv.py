"""The World Models convolutions (Ha & Schmidhuber 2018, figure 22): encoder and decoder for 64 x 64 images.

On CPU, XLA runs the gradients of strided and transposed convolutions several times slower than the
matrix products they amount to, so there both are written as such; elsewhere `lax.conv*` is used.
Tests hold the two against each other.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn

from latentplan.nets.network import ACTIVATIONS, Network, dense, from_linen
from latentplan.types import Array

IMAGE_SIZE = 64
_DIMENSIONS = ("NHWC", "HWIO", "NHWC")


def _conv_lax(x: Array, kernel: Array) -> Array:
    return jax.lax.conv_general_dilated(x, kernel, (2, 2), "VALID", dimension_numbers=_DIMENSIONS)


def _conv_matmul(x: Array, kernel: Array) -> Array:
    """Space to depth, then a stride-1 convolution of half the size as one matrix product over patches."""
    n, height, width, channels = x.shape
    size, _, _, features = kernel.shape
    half = (size + 1) // 2
    kernel = jnp.pad(kernel, ((0, 2 * half - size), (0, 2 * half - size), (0, 0), (0, 0)))
    rows, cols = (height - size) // 2 + 1, (width - size) // 2 + 1
    deep_rows, deep_cols = rows + half - 1, cols + half - 1
    fit = ((0, 0), (0, 2 * deep_rows - height), (0, 2 * deep_cols - width), (0, 0))
    x = jax.lax.pad(x, jnp.zeros((), x.dtype), [(*edge, 0) for edge in fit])  # crops where negative
    x = x.reshape(n, deep_rows, 2, deep_cols, 2, channels).transpose(0, 1, 3, 2, 4, 5)
    x = x.reshape(n, deep_rows, deep_cols, 4 * channels)
    patches = jnp.concatenate(
        [x[:, i : i + rows, j : j + cols] for i in range(half) for j in range(half)], axis=-1
    )
    kernel = kernel.reshape(half, 2, half, 2, channels, features).transpose(0, 2, 1, 3, 4, 5)
    return patches @ kernel.reshape(-1, features)


def _deconv_lax(x: Array, kernel: Array) -> Array:
    size = kernel.shape[0]
    return jax.lax.conv_general_dilated(
        x, kernel[::-1, ::-1], (1, 1), [(size - 1, size - 1)] * 2, (2, 2), dimension_numbers=_DIMENSIONS
    )


def _deconv_matmul(x: Array, kernel: Array) -> Array:
    """One matrix product per image, then the overlapping kernel-sized outputs are added up."""
    n, height, width, channels = x.shape
    size, _, _, features = kernel.shape
    half = (size + 1) // 2
    padded = jnp.pad(kernel, ((0, 2 * half - size), (0, 2 * half - size), (0, 0), (0, 0)))
    # columns ordered [tap row, tap col, phase row, phase col, feature]: each tap's slice is contiguous
    columns = padded.reshape(half, 2, half, 2, channels, features).transpose(4, 0, 2, 1, 3, 5)
    taps = (x.reshape(-1, channels) @ columns.reshape(channels, -1)).reshape(
        n, height, width, half, half, 4 * features
    )
    total = jnp.zeros((), x.dtype)
    for i in range(half):
        for j in range(half):
            edge = ((0, 0), (i, half - 1 - i), (j, half - 1 - j), (0, 0))
            total = total + jnp.pad(taps[:, :, :, i, j], edge)
    rows, cols = height + half - 1, width + half - 1
    image = total.reshape(n, rows, cols, 2, 2, features).transpose(0, 1, 3, 2, 4, 5)
    image = image.reshape(n, 2 * rows, 2 * cols, features)
    return image[:, : 2 * (height - 1) + size, : 2 * (width - 1) + size]


def conv2d(x: Array, kernel: Array) -> Array:
    """Convolution with stride 2 and no padding.

    Args:
        x: [N, height, width, in].
        kernel: [size, size, in, out].

    Returns:
        [N, (height - size) // 2 + 1, (width - size) // 2 + 1, out].
    """
    return jax.lax.platform_dependent(x, kernel, cpu=_conv_matmul, default=_conv_lax)


def deconv2d(x: Array, kernel: Array) -> Array:
    """Transposed convolution with stride 2 and no padding: the adjoint of `conv2d`.

    Args:
        x: [N, height, width, in].
        kernel: [size, size, in, out]; output pixel 2 i + r receives x[i] kernel[r].

    Returns:
        [N, 2 (height - 1) + size, 2 (width - 1) + size, out].
    """
    return jax.lax.platform_dependent(x, kernel, cpu=_deconv_matmul, default=_deconv_lax)


class _Conv(nn.Module):
    features: int
    size: int
    transposed: bool
    dtype: str

    @nn.compact
    def __call__(self, x: Array) -> Array:
        shape = (self.size, self.size, x.shape[-1], self.features)
        kernel = self.param("kernel", jax.nn.initializers.glorot_uniform(), shape)
        bias = self.param("bias", jax.nn.initializers.zeros, (self.features,))
        dtype = jnp.dtype(self.dtype)
        apply = deconv2d if self.transposed else conv2d
        return apply(x.astype(dtype), kernel.astype(dtype)) + bias.astype(dtype)


class _Encoder(nn.Module):
    channels: int
    depth: int
    activation: str
    dtype: str

    @nn.compact
    def __call__(self, flat: Array) -> Array:
        lead = flat.shape[:-1]
        x = flat.reshape(-1, IMAGE_SIZE, IMAGE_SIZE, self.channels)
        for scale in (1, 2, 4, 8):
            x = ACTIVATIONS[self.activation](_Conv(scale * self.depth, 4, False, self.dtype)(x))
        return x.reshape(*lead, -1).astype(jnp.float32)


class _Decoder(nn.Module):
    channels: int
    depth: int
    activation: str
    dtype: str

    @nn.compact
    def __call__(self, features: Array) -> Array:
        lead = features.shape[:-1]
        x = dense(32 * self.depth, self.dtype)(features).reshape(-1, 1, 1, 32 * self.depth)
        for scale, size in ((4, 5), (2, 5), (1, 6)):
            x = ACTIVATIONS[self.activation](_Conv(scale * self.depth, size, True, self.dtype)(x))
        x = _Conv(self.channels, 6, True, self.dtype)(x)
        return x.reshape(*lead, -1).astype(jnp.float32)


def make_conv_encoder(channels: int, *, depth: int, activation: str, dtype: str = "float32") -> Network:
    """Four convolutions, kernel 4, stride 2, with depth x (1, 2, 4, 8) channels.

    Returns:
        Network whose apply maps flat images [..., 64 * 64 * channels] to [..., 32 * depth], float32.
    """
    return from_linen(_Encoder(channels, depth, activation, dtype), IMAGE_SIZE * IMAGE_SIZE * channels)


def make_conv_decoder(
    input_size: int, channels: int, *, depth: int, activation: str, dtype: str = "float32"
) -> Network:
    """A linear layer and four transposed convolutions, kernels 5, 5, 6, 6, stride 2.

    Returns:
        Network whose apply maps [..., input_size] to flat images [..., 64 * 64 * channels], float32.
    """
    return from_linen(_Decoder(channels, depth, activation, dtype), input_size)
