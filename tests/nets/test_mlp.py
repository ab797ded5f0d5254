"""Feed-forward networks against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from latentplan.nets.mlp import _softplus, make_gaussian_mlp, make_mlp
from latentplan.nets.network import ACTIVATIONS, Style, mish

SIZES = {"hidden": 6, "style": Style()}
NUMPY_ACTIVATIONS = {
    "relu": lambda x: np.maximum(x, 0),
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "tanh": np.tanh,
    "mish": lambda x: x * np.tanh(np.log1p(np.exp(x))),
}


def with_biases(params):
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda x: x + jnp.asarray(0.5 * rng.normal(size=x.shape), jnp.float32), params)


def linear(layer, x):
    return x @ np.asarray(layer["kernel"], np.float64) + np.asarray(layer["bias"], np.float64)


def draw(*shape):
    return np.random.default_rng(1).normal(size=shape)


def test_every_activation_has_its_numpy_twin():
    assert set(ACTIVATIONS) == set(NUMPY_ACTIVATIONS)


@pytest.mark.parametrize("activation", sorted(NUMPY_ACTIVATIONS))
@pytest.mark.parametrize("layers", [0, 2])
def test_mlp_is_numpys_with_a_linear_output(layers, activation):
    network = make_mlp(3, 2, hidden=6, layers=layers, style=Style(activation=activation))
    params = with_biases(network.init(jax.random.key(0)))
    x = y = draw(4, 5, 3)
    for i in range(layers):
        y = NUMPY_ACTIVATIONS[activation](linear(params[f"Dense_{i}"], y))
    y = linear(params[f"Dense_{layers}"], y)
    got = network.apply(params, jnp.asarray(x, jnp.float32))
    np.testing.assert_allclose(got, y, rtol=1e-4, atol=1e-5)
    assert np.min(got) < 0


def test_mish_and_its_slope_are_numpys_far_from_zero_too():
    x = np.concatenate([np.linspace(-100, 100, 401), np.linspace(-3, 3, 61)])
    u = np.exp(x)
    expected = x * np.tanh(np.log1p(u))
    slope = np.tanh(np.log1p(u)) + x * u / (1 + u) / np.cosh(np.log1p(u)) ** 2
    values, slopes = jax.vmap(jax.value_and_grad(mish))(jnp.asarray(x, jnp.float32))
    np.testing.assert_allclose(values, expected, rtol=2e-6, atol=1e-9)
    np.testing.assert_allclose(slopes, slope, rtol=1e-5, atol=1e-6)
    middle, low, high = (jnp.asarray(x) for x in (0.5, 0.49, 0.51))
    _, moved = jax.jvp(jax.grad(mish), (middle,), (jnp.ones(()),))  # second derivatives pass, too
    np.testing.assert_allclose(moved, (jax.grad(mish)(high) - jax.grad(mish)(low)) / 0.02, rtol=1e-3)


def test_gaussian_mlp_is_numpys_with_a_softplus_std_above_its_floor():
    network = make_gaussian_mlp(3, 2, layers=1, min_std=0.1, **SIZES)
    params = with_biases(network.init(jax.random.key(0)))
    x = 3 * draw(4, 5, 3)
    y = NUMPY_ACTIVATIONS["relu"](linear(params["_MLP_0"]["Dense_0"], x))
    got = network.apply(params, jnp.asarray(x, jnp.float32))
    np.testing.assert_allclose(got.mean, linear(params["mean"], y), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(got.std, np.log1p(np.exp(linear(params["std"], y))) + 0.1, rtol=1e-4, atol=1e-5)


def test_the_std_reaches_its_floor_but_not_below_even_for_huge_inputs():
    network = make_gaussian_mlp(3, 2, layers=0, min_std=0.25, **SIZES)
    params = with_biases(network.init(jax.random.key(0)))
    std = network.apply(params, jnp.asarray(1e4 * draw(50, 3), jnp.float32)).std
    assert np.min(std) == 0.25
    assert np.all(np.isfinite(std))


def test_weights_are_glorot_uniform_and_biases_zero():
    params = make_mlp(300, 200, hidden=6, layers=0, style=Style()).init(jax.random.key(0))["Dense_0"]
    limit = np.sqrt(6 / 500)
    assert np.abs(params["kernel"]).max() <= limit
    np.testing.assert_allclose(np.std(params["kernel"]), limit / np.sqrt(3), rtol=0.02)
    np.testing.assert_array_equal(params["bias"], 0.0)


@pytest.mark.parametrize("make", [make_mlp, make_gaussian_mlp])
def test_bfloat16_is_for_computing_only(make):
    extra = {"min_std": 0.1} if make is make_gaussian_mlp else {}
    network, exact = (
        make(3, 2, hidden=6, layers=1, style=Style(dtype=dtype), **extra) for dtype in ("bfloat16", "float32")
    )
    params = network.init(jax.random.key(0))
    x = jnp.asarray(draw(8, 3), jnp.float32)
    got, expected = network.apply(params, x), exact.apply(params, x)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves((params, got)))
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, atol=0.05)
        assert np.any(np.asarray(a != b))


def test_std_is_softplus_in_value_and_slope():
    x = jnp.concatenate([jnp.linspace(-30.0, 30.0, 4001), jnp.zeros(1)])
    np.testing.assert_allclose(_softplus(x), jax.nn.softplus(x), rtol=1e-6, atol=1e-7)
    slope = jax.vmap(jax.grad(_softplus))(x)
    np.testing.assert_allclose(slope, jax.nn.sigmoid(x), rtol=1e-5, atol=1e-7)
