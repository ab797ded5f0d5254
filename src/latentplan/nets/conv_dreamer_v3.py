"""Dreamer V3's convolutions (Nature 2025; `rssm.py`): kernel 5, max pooling down, nearest-neighbour upsampling."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from latentplan.nets.network import INITS, Network, Style, activate, dense, from_linen
from latentplan.nets.recurrent import BlockLinear
from latentplan.nets.strided import conv_unit
from latentplan.types import Array

_KERNEL, _SCALES, _BLOCKS = 5, (2, 3, 4, 4), 8
SIDE = 2 ** len(_SCALES)  # image sizes are multiples of it


class _SameConv(nn.Module):
    features: int
    style: Style

    @nn.compact
    def __call__(self, x: Array) -> Array:
        kernel = self.param(
            "kernel", INITS[self.style.weights], (_KERNEL, _KERNEL, x.shape[-1], self.features), jnp.float32
        )
        bias = self.param("bias", jax.nn.initializers.zeros, (self.features,), jnp.float32)
        dtype, edge = jnp.dtype(self.style.dtype), (_KERNEL // 2, _KERNEL // 2)
        x = jnp.pad(x.astype(dtype), ((0, 0), edge, edge, (0, 0)))
        return conv_unit(x, kernel.astype(dtype)) + bias.astype(dtype).reshape(1, 1, 1, -1)


class _Encoder(nn.Module):
    image_size: int
    channels: int
    depth: int
    style: Style

    @nn.compact
    def __call__(self, flat: Array) -> Array:
        x = flat.reshape(-1, self.image_size, self.image_size, self.channels)
        for scale in _SCALES:
            x = _SameConv(scale * self.depth, self.style)(x)
            n, height, width, features = x.shape
            x = x.reshape(n, height // 2, 2, width // 2, 2, features).max((2, 4))
            x = activate(x, self.style)
        return x.reshape(*flat.shape[:-1], -1).astype(jnp.float32)


class _Decoder(nn.Module):
    stoch_size: int
    image_size: int
    channels: int
    depth: int
    hidden: int
    style: Style

    @nn.compact
    def __call__(self, features: Array) -> Array:
        lead, side, depths = features.shape[:-1], self.image_size // SIDE, [s * self.depth for s in _SCALES]
        features = features.reshape(-1, features.shape[-1])
        stoch, deter = jnp.split(features, [self.stoch_size], -1)
        size = side * side * depths[-1]
        x = BlockLinear(size, _BLOCKS, self.style)(deter)
        x = x.reshape(-1, _BLOCKS, side, side, depths[-1] // _BLOCKS).transpose(0, 2, 3, 1, 4)
        x = x.reshape(-1, side, side, depths[-1])
        y = activate(dense(2 * self.hidden, self.style)(stoch), self.style)
        y = dense(size, self.style)(y).reshape(x.shape)
        x = activate(x + y, self.style)
        for depth in depths[-2::-1]:
            x = activate(_SameConv(depth, self.style)(_repeat(x)), self.style)
        x = _SameConv(self.channels, self.style)(_repeat(x)).astype(jnp.float32)
        return (jax.nn.sigmoid(x) - 0.5).reshape(*lead, -1)


def _repeat(x: Array) -> Array:
    """Nearest-neighbour upsampling by 2 x 2."""
    return x.repeat(2, 1).repeat(2, 2)


def embed_size(image_size: int, depth: int) -> int:
    """Size of the encoder's output: (image_size / 16)^2 positions with 4 x depth channels."""
    return (image_size // SIDE) ** 2 * _SCALES[-1] * depth


def make_pooled_encoder(image_size: int, channels: int, *, depth: int, style: Style) -> Network:
    """Builds the encoder: four blocks of convolution (kernel 5), 2 x 2 max pooling, norm and activation.

    Args:
        image_size: of the square image, a multiple of 16.
        channels: of the image.
        depth: channel multiplier; the convolutions have 2, 3, 4 and 4 times as many channels.
        style: of the layers; its norm is over channels.

    Returns:
        Network whose apply maps flat images [..., image_size^2 * channels] to [..., embed_size], float32.
    """
    encoder = _Encoder(image_size, channels, depth, style)
    return from_linen(encoder, image_size * image_size * channels)


def make_repeating_decoder(
    stoch_size: int,
    deter_size: int,
    image_size: int,
    channels: int,
    *,
    depth: int,
    hidden: int,
    style: Style,
) -> Network:
    """Builds the decoder: linear layers to (image_size / 16)^2 positions, then four blocks of upsampling + convolution.

    Args:
        stoch_size: of the feature's first part, which two linear layers map to the positions.
        deter_size: of its second part, which a block-diagonal layer of 8 blocks maps to the positions.
        image_size: of the square image, a multiple of 16.
        channels: of the image.
        depth: as in the encoder; a multiple of 2, so that its channels can be divided among 8 blocks.
        hidden: half the width of the hidden layer on the first part.
        style: of the layers; its norm is over channels.

    Returns:
        Network whose apply maps [..., stoch_size + deter_size] to flat images in [-0.5, 0.5], float32.
    """
    decoder = _Decoder(stoch_size, image_size, channels, depth, hidden, style)
    return from_linen(decoder, stoch_size + deter_size)
