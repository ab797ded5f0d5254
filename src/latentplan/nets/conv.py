"""The World Models convolutions (Ha & Schmidhuber 2018, figure 22): encoder and decoder for square images.

Theirs are for 64 x 64; half or twice the size takes a layer from each, or adds one, and sees the whole image, whereas
theirs leave out the last two rows and columns.

On CPU, XLA is slow on strided and transposed convolutions and slower still on their gradients. There both are
rewritten as unit-stride convolutions of half the resolution, whose kernel gradient is a matrix product;
elsewhere `lax.conv` is used. Tests hold the two against each other, values and gradients.
"""

import math
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from latentplan.nets.network import ACTIVATIONS, Network, dense, from_linen, normalise
from latentplan.types import Array

IMAGE_SIZES = (16, 32, 64, 128)
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
    x = jax.lax.pad(x, jnp.zeros((), x.dtype), fit)  # crops what no kernel reaches
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
    """The kernel that carries gradients back: `_gather` and `_spread` are each other's adjoint with it."""
    return kernel[::-1, ::-1].swapaxes(2, 3)


def _kernel_gradient(wide: Array, thin: Array, size: int) -> Array:
    """Sum over n, p of wide[n, p + tap, in] thin[n, p, out]: [size, size, in, out], by matrix products."""
    _, rows, cols, features = thin.shape

    def add_images(total: Array, images: tuple[Array, Array]) -> tuple[Array, None]:
        wide, thin = images
        patches = _patches(wide, size, rows, cols).reshape(-1, size * size * wide.shape[-1])
        product = jnp.matmul(thin.reshape(-1, features).T, patches, preferred_element_type=jnp.float32)
        return total + product, None

    few = math.gcd(len(wide), 4)  # so few images that their patches stay in the cache
    images = jax.tree.map(lambda y: y.reshape(-1, few, *y.shape[1:]), (wide, thin))
    total, _ = jax.lax.scan(add_images, jnp.zeros((features, size * size * wide.shape[-1])), images)
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


def conv2d(x: Array, kernel: Array) -> Array:
    """Convolution with stride 2 and no padding.

    Args:
        x: [N, height, width, in].
        kernel: [size, size, in, out].

    Returns:
        [N, (height - size) // 2 + 1, (width - size) // 2 + 1, out].
    """
    return jax.lax.platform_dependent(x, kernel, cpu=_conv_phases, default=_conv_lax)


def deconv2d(x: Array, kernel: Array) -> Array:
    """Transposed convolution with stride 2 and no padding: the adjoint of `conv2d`.

    Args:
        x: [N, height, width, in].
        kernel: [size, size, in, out]; output pixel 2 i + r receives x[i] kernel[r].

    Returns:
        [N, 2 (height - 1) + size, 2 (width - 1) + size, out].
    """
    return jax.lax.platform_dependent(x, kernel, cpu=_deconv_phases, default=_deconv_lax)


def conv_unit(x: Array, kernel: Array) -> Array:
    """Convolution with stride 1 and no padding.

    Args:
        x: [N, height, width, in].
        kernel: [size, size, in, out].

    Returns:
        [N, height - size + 1, width - size + 1, out].
    """
    return jax.lax.platform_dependent(x, kernel, cpu=_gather, default=_unit_conv)


def _uniform(limit: float) -> Callable[..., Array]:
    return lambda key, shape, dtype=jnp.float32: jax.random.uniform(key, shape, dtype, -limit, limit)


_CONV_INITS: dict[str, Callable[[int], tuple[Callable[..., Array], Callable[..., Array]]]] = {
    "glorot": lambda fan_in: (jax.nn.initializers.glorot_uniform(), jax.nn.initializers.zeros),  # TensorFlow's default
    "orthogonal": lambda fan_in: (jax.nn.initializers.orthogonal(2**0.5), jax.nn.initializers.zeros),
    "uniform": lambda fan_in: (_uniform(fan_in**-0.5), _uniform(fan_in**-0.5)),  # PyTorch's default
}
"""Name -> (values that one output is computed from) -> how kernel and bias start."""


class _Conv(nn.Module):
    features: int
    size: int
    convolve: Callable[[Array, Array], Array]
    dtype: str
    init_as: str = "glorot"

    @nn.compact
    def __call__(self, x: Array) -> Array:
        shape = (self.size, self.size, x.shape[-1], self.features)
        kernel_init, bias_init = _CONV_INITS[self.init_as](math.prod(shape[:-1]))
        kernel = self.param("kernel", kernel_init, shape)
        bias = self.param("bias", bias_init, (self.features,))
        dtype = jnp.dtype(self.dtype)
        return self.convolve(x.astype(dtype), kernel.astype(dtype)) + bias.astype(dtype).reshape(1, 1, 1, -1)


def _norm_act(x: Array, norm: str, activation: str, dtype: str) -> Array:
    return ACTIVATIONS[activation](normalise(x, norm, dtype))


class _Encoder(nn.Module):
    image_size: int
    channels: int
    depth: int
    activation: str
    norm: str
    dtype: str

    @nn.compact
    def __call__(self, flat: Array) -> Array:
        lead = flat.shape[:-1]
        x = flat.reshape(-1, self.image_size, self.image_size, self.channels)
        for layer in range(_num_layers(self.image_size)):
            x = _Conv(2**layer * self.depth, _kernel(self.image_size, x.shape[1]), conv2d, self.dtype)(x)
            x = _norm_act(x, self.norm, self.activation, self.dtype)
        return x.reshape(*lead, -1).astype(jnp.float32)


class _Decoder(nn.Module):
    image_size: int
    channels: int
    depth: int
    activation: str
    norm: str
    dtype: str

    @nn.compact
    def __call__(self, features: Array) -> Array:
        lead, width = features.shape[:-1], embed_size(self.image_size, self.depth)
        x = dense(width, self.dtype)(features).reshape(-1, 1, 1, width)
        for layer in range(_num_layers(self.image_size) - 2, -1, -1):
            size = 5 if layer else 6
            x = _Conv(2**layer * self.depth, size, deconv2d, self.dtype)(x)
            x = _norm_act(x, self.norm, self.activation, self.dtype)
        x = _Conv(self.channels, 6, deconv2d, self.dtype)(x)
        return x.reshape(*lead, -1).astype(jnp.float32)


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
        init_as = "orthogonal" if first else "uniform"
        for size in (7, 5, 3):
            x = nn.relu(_Conv(self.depth, size, conv2d, self.dtype, init_as)(x))
        x = _Conv(self.depth, 3, conv2d if first else conv_unit, self.dtype, init_as)(x)
        # Channels first, as PyTorch lays them out: SimNorm's groups are then positions of one channel.
        x = jnp.moveaxis(nn.relu(x) if first else x, -1, 1).reshape(*lead, -1)
        if first or x.shape[-1] != self.output_size:
            orthogonal = jax.nn.initializers.orthogonal()
            x = nn.Dense(self.output_size, dtype=jnp.dtype(self.dtype), kernel_init=orthogonal)(x)
        return x.astype(jnp.float32)


def _num_layers(image_size: int) -> int:
    return int(math.log2(image_size)) - 2


def _kernel(image_size: int, width: int) -> int:
    """4, or 5 where 4 would leave out the right and bottom edge; at 64 x 64 it is the paper's 4 throughout."""
    return 5 if width % 2 and image_size != 64 else 4


def embed_size(image_size: int, depth: int) -> int:
    """What the encoder gives: 2 x 2 positions of the last layer's channels, 32 * depth at 64 x 64."""
    return 4 * depth * 2 ** (_num_layers(image_size) - 1)


def check_image_shape(shape: tuple[int, ...]) -> None:
    """Refuses images that these convolutions do not fit.

    Args:
        shape: (height, width, channels).

    Raises:
        ValueError: the images are not square, or no `IMAGE_SIZES`.
    """
    if shape[0] != shape[1] or shape[0] not in IMAGE_SIZES:
        raise ValueError(
            f"observation_shape: expected square images of {', '.join(map(str, IMAGE_SIZES))} pixels, got {shape}; "
            "render or resize to 64 (--image-size 64)"
        )


def make_conv_encoder(
    image_size: int, channels: int, *, depth: int, activation: str, norm: str = "none", dtype: str = "float32"
) -> Network:
    """Convolutions of kernel 4 and stride 2 down to 2 x 2 pixels: at 64 x 64 four, with depth x (1, 2, 4, 8) channels.

    At other sizes the second one has kernel 5, so that no pixel is left out.

    Args:
        image_size: of the square image, one of `IMAGE_SIZES`.
        channels: of the image.
        depth: channels of the first convolution; each further one has twice as many.
        activation: a name in `ACTIVATIONS`.
        norm: a name in `NORMS`, before each activation, over channels; or "none".
        dtype: of the products.

    Returns:
        Network whose apply maps flat images [..., image_size^2 * channels] to [..., embed_size], float32.
    """
    encoder = _Encoder(image_size, channels, depth, activation, norm, dtype)
    return from_linen(encoder, image_size * image_size * channels)


def make_conv_decoder(
    input_size: int,
    image_size: int,
    channels: int,
    *,
    depth: int,
    activation: str,
    norm: str = "none",
    dtype: str = "float32",
) -> Network:
    """A linear layer, then transposed convolutions of stride 2, with kernels 5, 5, 6, 6 at 64 x 64.

    Half the size has one of kernel 5 less, twice the size one more.

    Args:
        input_size: of the feature.
        image_size: of the square image, one of `IMAGE_SIZES`.
        channels: of the image.
        depth: channels of the last layer's input; each layer before has twice as many.
        activation: a name in `ACTIVATIONS`.
        norm: a name in `NORMS`, before each activation, over channels; or "none".
        dtype: of the products.

    Returns:
        Network whose apply maps [..., input_size] to flat images [..., image_size^2 * channels], float32.
    """
    return from_linen(_Decoder(image_size, channels, depth, activation, norm, dtype), input_size)


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
