"""Dreamer V3's convolutions against NumPy loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from latentplan.models.world_model import WorldModelConfig, make_world_model
from latentplan.nets.conv_dreamer_v3 import embed_size, make_pooled_encoder, make_repeating_decoder
from latentplan.nets.network import Style
from latentplan.types import EnvSpec

SIZE, CHANNELS, DEPTH = 16, 3, 2
STYLE = Style(activation="silu", norm="rms", weights="truncated")


def exact(params):
    return jax.tree.map(lambda x: np.asarray(x, np.float64), params)


def randomised(network):
    rng = np.random.default_rng(0)
    params = network.init(jax.random.key(0))
    return jax.tree.map(lambda x: x + jnp.asarray(0.2 * rng.normal(size=x.shape), jnp.float32), params)


def convolve(x, p):
    """Kernel 5, edges padded with zeros: [h, w, in] -> [h, w, out]."""
    height, width, _ = x.shape
    padded = np.pad(x, ((2, 2), (2, 2), (0, 0)))
    out = np.zeros((height, width, p["kernel"].shape[-1]))
    for i, j in np.ndindex(height, width):
        out[i, j] = np.einsum("abc,abco->o", padded[i : i + 5, j : j + 5], p["kernel"]) + p["bias"]
    return out


def activate(x, p):
    x = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-4) * p["scale"]
    return x / (1 + np.exp(-x))


def test_the_encoder_is_numpys():
    network = make_pooled_encoder(SIZE, CHANNELS, depth=DEPTH, style=STYLE)
    params = randomised(network)
    image = np.random.default_rng(1).uniform(-0.5, 0.5, (SIZE, SIZE, CHANNELS))
    x, p = image, exact(params)
    for i in range(4):
        x = convolve(x, p[f"_SameConv_{i}"])
        x = np.maximum.reduce([x[a::2, b::2] for a in (0, 1) for b in (0, 1)])
        x = activate(x, p[f"RMSNorm_{i}"])
    assert x.shape == (1, 1, 4 * DEPTH) and embed_size(SIZE, DEPTH) == 4 * DEPTH
    got = network.apply(params, jnp.asarray(image.reshape(-1), jnp.float32))
    np.testing.assert_allclose(got, x.reshape(-1), rtol=1e-3, atol=1e-4)


def test_the_decoder_is_numpys():
    stoch, deter, hidden, size = 3, 16, 4, 32
    network = make_repeating_decoder(stoch, deter, size, CHANNELS, depth=DEPTH, hidden=hidden, style=STYLE)
    params = randomised(network)
    feature = np.random.default_rng(1).normal(size=stoch + deter)
    p = exact(params)
    side, channels = 2, 4 * DEPTH
    groups = np.split(feature[stoch:], 8)
    kernel, bias = p["BlockLinear_0"]["kernel"], p["BlockLinear_0"]["bias"].reshape(8, -1)
    parts = [(x @ kernel[g] + bias[g]).reshape(side, side, channels // 8) for g, x in enumerate(groups)]
    linear = lambda x, q: x @ q["kernel"] + q["bias"]  # noqa: E731
    y = linear(activate(linear(feature[:stoch], p["Dense_0"]), p["RMSNorm_0"]), p["Dense_1"])
    x = activate(np.concatenate(parts, -1) + y.reshape(side, side, channels), p["RMSNorm_1"])
    for i in range(4):
        x = convolve(np.kron(x, np.ones((2, 2, 1))), p[f"_SameConv_{i}"])
        x = activate(x, p[f"RMSNorm_{i + 2}"]) if i < 3 else 1 / (1 + np.exp(-x)) - 0.5
    got = network.apply(params, jnp.asarray(feature, jnp.float32))
    np.testing.assert_allclose(got, x.reshape(-1), rtol=1e-3, atol=1e-4)


def test_leading_axes_are_free_and_values_are_a_pictures():
    decoder = make_repeating_decoder(3, 16, SIZE, CHANNELS, depth=DEPTH, hidden=4, style=STYLE)
    params = randomised(decoder)
    features = jnp.asarray(np.random.default_rng(1).normal(size=(2, 3, 19)), jnp.float32)
    images = decoder.apply(params, features)
    assert images.shape == (2, 3, SIZE * SIZE * CHANNELS) and np.abs(images).max() <= 0.5
    np.testing.assert_allclose(images[1, 2], decoder.apply(params, features[1, 2]), atol=1e-6)


@pytest.mark.parametrize(
    ("size", "sizes", "field"), [(40, {}, "observations: expected"), (64, {"conv_depth": 3}, "conv_depth")]
)
def test_what_does_not_fit_is_refused(size, sizes, field):
    spec = EnvSpec.single((size, size, 3), "uint8", action_size=2, action_repeat=1, max_decisions=None)
    with pytest.raises(ValueError, match=field):
        make_world_model(WorldModelConfig(conv="dreamer_v3", **sizes), spec)
