"""The GRU against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from latentplan.nets.recurrent import make_recurrent_step

INPUTS, SIZE, HIDDEN = 3, 5, 4


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def numpy_step(params: dict, x: np.ndarray, h: np.ndarray, layers: int) -> np.ndarray:
    """Layers on the inputs, then TensorFlow's GRU cell: one matrix for both gates, reset before the product."""
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    for i in range(layers):
        layer = params[f"Dense_{i}"]
        x = np.maximum(x @ layer["kernel"] + layer["bias"], 0)
    gates, candidate = params["gru"]["gates"], params["gru"]["candidate"]
    both = sigmoid(np.concatenate([x, h], -1) @ gates["kernel"] + gates["bias"])
    reset, update = both[..., : h.shape[-1]], both[..., h.shape[-1] :]
    new = np.tanh(np.concatenate([x, reset * h], -1) @ candidate["kernel"] + candidate["bias"])
    return update * h + (1 - update) * new


def step(network, params, x, h):
    return network.apply(params, x[..., :-1], x[..., -1:], h)


def build(layers: int):
    network = make_recurrent_step(INPUTS - 1, 1, SIZE, hidden=HIDDEN, layers=layers, activation="relu")
    params = network.init(jax.random.key(0))
    rng = np.random.default_rng(0)  # biases too must matter
    return network, jax.tree.map(lambda x: x + jnp.asarray(rng.normal(size=x.shape), jnp.float32), params)


@pytest.mark.parametrize("layers", [0, 1, 2])
def test_one_step_is_numpys(layers):
    network, params = build(layers)
    rng = np.random.default_rng(1)
    x, h = rng.normal(size=(2, 6, INPUTS)), rng.normal(size=(2, 6, SIZE))
    got = step(network, params, jnp.asarray(x, jnp.float32), jnp.asarray(h, jnp.float32))
    assert (got.shape, got.dtype) == (h.shape, jnp.float32)
    np.testing.assert_allclose(got, numpy_step(params, x, h, layers), rtol=1e-4, atol=1e-5)


def test_the_gates_start_open_towards_the_past():
    network = make_recurrent_step(INPUTS - 1, 1, SIZE, hidden=HIDDEN, layers=1, activation="relu")
    params = network.init(jax.random.key(0))
    np.testing.assert_array_equal(params["gru"]["gates"]["bias"], np.ones(2 * SIZE))
    np.testing.assert_array_equal(params["gru"]["candidate"]["bias"], np.zeros(SIZE))


def test_an_open_update_gate_keeps_the_state_and_a_closed_one_replaces_it():
    network, params = build(1)
    x, h = jnp.ones((2, INPUTS)), jnp.full((2, SIZE), 7.0)

    def with_update_bias(bias: float):
        gates = params["gru"]["gates"]
        gates = gates | {"bias": gates["bias"].at[SIZE:].set(bias)}
        return step(network, params | {"gru": params["gru"] | {"gates": gates}}, x, h)

    np.testing.assert_allclose(with_update_bias(1e3), h)
    assert np.all(np.abs(with_update_bias(-1e3)) <= 1.0)  # only the candidate, a tanh, is left


def test_bfloat16_computes_near_float32_and_returns_float32():
    exact, params = build(1)
    network = make_recurrent_step(INPUTS - 1, 1, SIZE, hidden=HIDDEN, layers=1, activation="relu", dtype="bfloat16")
    x, h = jnp.ones((2, INPUTS)), jnp.full((2, SIZE), 0.3)
    got, expected = step(network, params, x, h), step(exact, params, x, h)
    assert got.dtype == jnp.float32
    assert np.any(np.asarray(got != expected))
    np.testing.assert_allclose(got, expected, atol=0.05)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(network.init(jax.random.key(0))))
