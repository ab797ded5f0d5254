"""Value and image transforms: pure, elementwise, without parameters."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Float, UInt8

from latentplan.types import Array, Key


def symlog(x: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    """sign(x) ln(1 + |x|): squashes large values, identity near zero (Hafner et al. 2023, eq. 9)."""
    return jnp.log1p(jnp.maximum(x, 0.0)) - jnp.log1p(jnp.maximum(-x, 0.0))  # slope 1 at zero


def symexp(x: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    """sign(x) (exp|x| - 1), the inverse of `symlog`."""
    return jnp.expm1(jnp.maximum(x, 0.0)) - jnp.expm1(jnp.maximum(-x, 0.0))


def symexp_bins(limit: float, num_bins: int) -> Float[Array, "K"]:
    """Bins evenly spaced on a symlog scale and exactly symmetric about zero (Dreamer V3, `heads.py`).

    Args:
        limit: largest symlog value. Dreamer V3 has 20.
        num_bins: K, odd.

    Returns:
        [K], increasing, from symexp(-limit) to symexp(limit).
    """
    lower = symexp(jnp.linspace(-limit, 0.0, (num_bins + 1) // 2, dtype=jnp.float32))
    return jnp.concatenate([lower, -lower[-2::-1]])  # mirrored: rounding errors alone would make the bins' mean nonzero


def two_hot(value: Float[Array, "*batch"], bins: Float[Array, "K"]) -> Float[Array, "*batch K"]:
    """Weights of the two bins nearest to a value, with the value as mean (Bellemare et al. 2017; Dreamer V3, eq. 10).

    Args:
        value: clipped to the bins' range; NaN gives NaN.
        bins: increasing.

    Returns:
        Non-negative, summing to one.
    """
    value = jnp.clip(value, bins[0], bins[-1])
    above = jnp.clip(jnp.searchsorted(bins, value, side="right"), 1, len(bins) - 1)
    share = (value - bins[above - 1]) / (bins[above] - bins[above - 1])
    weights = jax.nn.one_hot(above - 1, len(bins), dtype=share.dtype) * (1 - share)[..., None]
    return weights + jax.nn.one_hot(above, len(bins), dtype=share.dtype) * share[..., None]


def quantise(image: UInt8[Array, "*batch h w c"], bits: int) -> Float[Array, "*batch h w c"]:
    """Reduces an image's bit depth: floor(x / 2^(8 - bits)) / 2^bits - 0.5.

    Args:
        image: [..., height, width, channels], uint8.
        bits: 1 to 8. PlaNet uses 5 (appendix A).

    Returns:
        float32 in [-0.5, 0.5), on a grid of step 2^-bits.
    """
    levels = jnp.floor(image.astype(jnp.float32) / 2 ** (8 - bits))
    return levels / 2**bits - 0.5


def dequantise(image: UInt8[Array, "*batch h w c"], bits: int, key: Key) -> Float[Array, "*batch h w c"]:
    """`quantise` plus uniform noise of one grid step, so that a density can be fitted.

    Args:
        image: [..., height, width, channels], uint8.
        bits: 1 to 8.
        key: for U(0, 2^-bits) (PlaNet appendix A; Kingma & Dhariwal 2018), drawn on a grid of 256 levels: four
            from each random word, since for pixels the generator's time counts.

    Returns:
        float32 in (-0.5, 0.5).
    """
    words = jax.random.bits(key, (math.ceil(image.size / 4),), "uint32")
    levels = jax.lax.bitcast_convert_type(words, jnp.uint8).reshape(-1)[: image.size].reshape(image.shape)
    return quantise(image, bits) + (levels.astype(jnp.float32) + 0.5) / 2 ** (8 + bits)


def to_display(image: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    """Maps images from the model's [-0.5, 0.5) to [0, 1], clipped."""
    return jnp.clip(image + 0.5, 0.0, 1.0)


def random_shift(image: UInt8[Array, "*batch h w c"], pad: int, key: Key) -> UInt8[Array, "*batch h w c"]:
    """Shifts every image by up to `pad` pixels each way, padding with its edge (Yarats et al. 2021, DrQ-v2).

    Args:
        image: [..., height, width, channels].
        pad: in pixels. TD-MPC2 has 3 at 64 x 64.
        key: for shifts uniform in -pad..pad, independent per image.

    Returns:
        The same shape and type.
    """
    flat = image.reshape(-1, *image.shape[-3:])
    padded = jnp.pad(flat, ((0, 0), (pad, pad), (pad, pad), (0, 0)), "edge")
    starts = jax.random.randint(key, (len(flat), 2), 0, 2 * pad + 1)
    crop = lambda x, start: jax.lax.dynamic_slice(x, (*start, 0), image.shape[-3:])  # noqa: E731
    return jax.vmap(crop)(padded, starts).reshape(image.shape)
