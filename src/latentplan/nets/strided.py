"""Convolutions of stride 1 and 2, transposed convolutions, and their gradients.

On CPU, XLA is slow on strided and transposed convolutions and slower still on their gradients, so there both are
rewritten as unit-stride convolutions at half the resolution, whose kernel gradient is a matrix product; elsewhere
`lax.conv` is used. Tests compare values and gradients of the two.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Float

from latentplan.types import Array

_DIMENSIONS = ("NHWC", "HWIO", "NHWC")


def _conv_lax(x: Array, kernel: Array) -> Array:
    return jax.lax.conv_general_dilated(x, kernel, (2, 2), "VALID", dimension_numbers=_DIMENSIONS)


def _conv_phases(x: Array, kernel: Array) -> Array:
    """Space to depth, then a unit-stride convolution."""
    n, height, width, channels = x.shape
    size, features = kernel.shape[0], kernel.shape[-1]
    phases = _split_phases(kernel).transpose(0, 2, 1, 3, 4, 5)
    half = phases.shape[0]
    rows, cols = (height - size) // 2 + half, (width - size) // 2 + half
    fit = [(0, 0, 0), (0, 2 * rows - height, 0), (0, 2 * cols - width, 0), (0, 0, 0)]
    x = jax.lax.pad(x, jnp.zeros((), x.dtype), fit)  # crops pixels that no kernel covers
    x = x.reshape(n, rows, 2, cols, 2, channels).transpose(0, 1, 3, 2, 4, 5)
    x = x.reshape(n, rows, cols, 4 * channels)
    return _gather(x, phases.reshape(half, half, 4 * channels, features))


def _split_phases(kernel: Array) -> Array:
    """[size, size, in, out] -> [half, 2, half, 2, in, out]; odd sizes are padded with zeros."""
    size, _, channels, features = kernel.shape
    half = (size + 1) // 2
    kernel = jnp.pad(kernel, ((0, 2 * half - size), (0, 2 * half - size), (0, 0), (0, 0)))
    return kernel.reshape(half, 2, half, 2, channels, features)


def _patches(x: Array, size: int, rows: int, cols: int) -> Array:
    return jnp.concatenate([x[:, i : i + rows, j : j + cols] for i in range(size) for j in range(size)], -1)


def _unit_conv(x: Array, kernel: Array, padding: int = 0) -> Array:
    edge = (padding, padding)
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), (edge, edge), dimension_numbers=_DIMENSIONS)


def _adjoint(kernel: Array) -> Array:
    """The adjoint kernel, with which `_gather` and `_spread` are each other's adjoint."""
    return kernel[::-1, ::-1].swapaxes(2, 3)


def _kernel_gradient(wide: Array, thin: Array, size: int) -> Array:
    """Sum over n, p of wide[n, p + tap, in] thin[n, p, out]: [size, size, in, out], by matrix products."""
    _, rows, cols, features = thin.shape

    def add_images(total: Array, images: tuple[Array, Array]) -> tuple[Array, None]:
        wide, thin = images
        patches = _patches(wide, size, rows, cols).reshape(-1, size * size * wide.shape[-1])
        product = jnp.matmul(thin.reshape(-1, features).T, patches, preferred_element_type=jnp.float32)
        return total + product, None

    few = math.gcd(len(wide), 4)  # a few images at a time, so that their patches fit into the cache
    images = jax.tree.map(lambda y: y.reshape(-1, few, *y.shape[1:]), (wide, thin))
    total, _ = jax.lax.scan(add_images, jnp.zeros((features, size * size * wide.shape[-1]), wide.dtype), images)
    return total.T.reshape(size, size, -1, features)


@jax.custom_vjp
def _gather(x: Array, kernel: Array) -> Array:
    """A unit-stride convolution without padding. Reverse mode only."""
    return _unit_conv(x, kernel)


def _gather_forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return _gather(x, kernel), (x, kernel)


def _gather_backward(saved: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    x, kernel = saved
    to_kernel = _kernel_gradient(x, gradient, len(kernel)).astype(kernel.dtype)
    return _spread(gradient, _adjoint(kernel)), to_kernel


_gather.defvjp(_gather_forward, _gather_backward)


@jax.custom_vjp
def _spread(x: Array, kernel: Array) -> Array:
    """A unit-stride convolution with full padding. Reverse mode only."""
    return _unit_conv(x, kernel, padding=len(kernel) - 1)


def _spread_forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return _spread(x, kernel), (x, kernel)


def _spread_backward(saved: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    x, kernel = saved
    to_adjoint = _kernel_gradient(gradient, x, len(kernel)).astype(kernel.dtype)
    return _gather(gradient, _adjoint(kernel)), _adjoint(to_adjoint)


_spread.defvjp(_spread_forward, _spread_backward)


def _deconv_lax(x: Array, kernel: Array) -> Array:
    size = kernel.shape[0]
    return jax.lax.conv_general_dilated(
        x, kernel[::-1, ::-1], (1, 1), [(size - 1, size - 1)] * 2, (2, 2), dimension_numbers=_DIMENSIONS
    )


def _deconv_phases(x: Array, kernel: Array) -> Array:
    """The four output phases as channels of a unit-stride convolution, then depth to space."""
    n, height, width, channels = x.shape
    size, _, _, features = kernel.shape
    if height == width == 1:
        product = x.reshape(n, channels) @ kernel.transpose(2, 0, 1, 3).reshape(channels, -1)
        return product.reshape(n, size, size, features)
    phases = _split_phases(kernel).transpose(0, 2, 4, 1, 3, 5)
    half = phases.shape[0]
    phases = phases[::-1, ::-1].reshape(half, half, channels, 4 * features)
    image = _spread(x, phases)
    rows, cols = height + half - 1, width + half - 1
    image = image.reshape(n, rows, cols, 2, 2, features).transpose(0, 1, 3, 2, 4, 5)
    image = image.reshape(n, 2 * rows, 2 * cols, features)
    return image[:, : 2 * (height - 1) + size, : 2 * (width - 1) + size]


def conv2d(
    x: Float[Array, "B height width in"], kernel: Float[Array, "size size in out"]
) -> Float[Array, "B rows cols out"]:
    """Convolution with stride 2 and no padding.

    Args:
        x: [B, height, width, in].
        kernel: [size, size, in, out].

    Returns:
        [B, (height - size) // 2 + 1, (width - size) // 2 + 1, out].
    """
    return jax.lax.platform_dependent(x, kernel, cpu=_conv_phases, default=_conv_lax)


def deconv2d(
    x: Float[Array, "B height width in"], kernel: Float[Array, "size size in out"]
) -> Float[Array, "B rows cols out"]:
    """Transposed convolution with stride 2 and no padding: the adjoint of `conv2d`.

    Args:
        x: [B, height, width, in].
        kernel: [size, size, in, out]; output pixel 2 i + r receives x[i] kernel[r].

    Returns:
        [B, 2 (height - 1) + size, 2 (width - 1) + size, out].
    """
    return jax.lax.platform_dependent(x, kernel, cpu=_deconv_phases, default=_deconv_lax)


def conv_unit(
    x: Float[Array, "B height width in"], kernel: Float[Array, "size size in out"]
) -> Float[Array, "B rows cols out"]:
    """Convolution with stride 1 and no padding.

    Args:
        x: [B, height, width, in].
        kernel: [size, size, in, out].

    Returns:
        [B, height - size + 1, width - size + 1, out].
    """
    return jax.lax.platform_dependent(x, kernel, cpu=_gather, default=_unit_conv)
