"""The World Models convolutions (Ha & Schmidhuber 2018, figure 22): encoder and decoder for square images.

The original is for 64 x 64; here half the size has one layer less in each network, twice the size one more. At those
sizes every pixel is covered, whereas the original ignores the last two rows and columns. Initialisation is
Glorot-uniform, whatever the style.
"""

import math
from dataclasses import replace

import jax.numpy as jnp
from flax import linen as nn

from latentplan.nets.network import Network, Style, activate, convolution, dense, from_linen
from latentplan.nets.strided import conv2d, deconv2d
from latentplan.types import Array

IMAGE_SIZES = (16, 32, 64, 128)


class _Encoder(nn.Module):
    image_size: int
    channels: int
    depth: int
    style: Style

    @nn.compact
    def __call__(self, flat: Array) -> Array:
        lead = flat.shape[:-1]
        x = flat.reshape(-1, self.image_size, self.image_size, self.channels)
        for layer in range(_num_layers(self.image_size)):
            size = _kernel(self.image_size, x.shape[1])
            x = activate(convolution(2**layer * self.depth, size, conv2d, self.style.dtype)(x), self.style)
        return x.reshape(*lead, -1).astype(jnp.float32)


class _Decoder(nn.Module):
    image_size: int
    channels: int
    depth: int
    style: Style

    @nn.compact
    def __call__(self, features: Array) -> Array:
        lead, width = features.shape[:-1], embed_size(self.image_size, self.depth)
        x = dense(width, replace(self.style, weights="glorot"))(features).reshape(-1, 1, 1, width)
        for layer in range(_num_layers(self.image_size) - 2, -1, -1):
            size = 5 if layer else 6
            x = activate(convolution(2**layer * self.depth, size, deconv2d, self.style.dtype)(x), self.style)
        x = convolution(self.channels, 6, deconv2d, self.style.dtype)(x)
        return x.reshape(*lead, -1).astype(jnp.float32)


def _num_layers(image_size: int) -> int:
    return int(math.log2(image_size)) - 2


def _kernel(image_size: int, width: int) -> int:
    """Kernel size: 4, or 5 where 4 would miss the right and bottom edges; at 64 x 64 the paper's 4 throughout."""
    return 5 if width % 2 and image_size != 64 else 4


def embed_size(image_size: int, depth: int) -> int:
    """Size of the encoder's output: 2 x 2 positions of the last layer's channels, 32 * depth at 64 x 64."""
    return 4 * depth * 2 ** (_num_layers(image_size) - 1)


def check_image_shape(shape: tuple[int, ...]) -> None:
    """Raises if these convolutions do not support the image shape.

    Args:
        shape: (height, width, channels).

    Raises:
        ValueError: the images are not square, or their size is not in `IMAGE_SIZES`.
    """
    if shape[0] != shape[1] or shape[0] not in IMAGE_SIZES:
        raise ValueError(
            f"observations: expected square images of {', '.join(map(str, IMAGE_SIZES))} pixels, got {shape}; "
            "render or resize them to 64"
        )


def make_conv_encoder(image_size: int, channels: int, *, depth: int, style: Style) -> Network:
    """Builds the encoder: convolutions of kernel 4 and stride 2, down to 2 x 2.

    At 64 x 64 there are four, with depth x (1, 2, 4, 8) channels.
    At other sizes the second one has kernel 5, so that every pixel is covered.

    Args:
        image_size: of the square image, one of `IMAGE_SIZES`.
        channels: of the image.
        depth: channels of the first convolution, doubled at each further one.
        style: of the layers; its norm is over channels.

    Returns:
        Network whose apply maps flat images [..., image_size^2 * channels] to [..., embed_size], float32.
    """
    encoder = _Encoder(image_size, channels, depth, style)
    return from_linen(encoder, image_size * image_size * channels)


def make_conv_decoder(input_size: int, image_size: int, channels: int, *, depth: int, style: Style) -> Network:
    """Builds the decoder: a linear layer, then transposed convolutions of stride 2, with kernels 5, 5, 6, 6 at 64 x 64.

    Half the size has one layer of kernel 5 fewer, twice the size one more.

    Args:
        input_size: of the feature.
        image_size: of the square image, one of `IMAGE_SIZES`.
        channels: of the image.
        depth: channels of the last layer's input, doubled at each layer before it.
        style: of the layers; its norm is over channels.

    Returns:
        Network whose apply maps [..., input_size] to flat images [..., image_size^2 * channels], float32.
    """
    return from_linen(_Decoder(image_size, channels, depth, style), input_size)
