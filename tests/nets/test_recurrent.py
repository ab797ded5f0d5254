"""The recurrent cells against NumPy, and the block-diagonal one against a dense one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from latentplan.nets.network import Style
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
    network = make_recurrent_step(INPUTS - 1, 1, SIZE, hidden=HIDDEN, layers=layers, style=Style())
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
    network = make_recurrent_step(INPUTS - 1, 1, SIZE, hidden=HIDDEN, layers=1, style=Style())
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
    network = make_recurrent_step(INPUTS - 1, 1, SIZE, hidden=HIDDEN, layers=1, style=Style(dtype="bfloat16"))
    x, h = jnp.ones((2, INPUTS)), jnp.full((2, SIZE), 0.3)
    got, expected = step(network, params, x, h), step(exact, params, x, h)
    assert got.dtype == jnp.float32
    assert np.any(np.asarray(got != expected))
    np.testing.assert_allclose(got, expected, atol=0.05)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(network.init(jax.random.key(0))))


def randomised(network):
    rng = np.random.default_rng(0)
    params = network.init(jax.random.key(0))
    return jax.tree.map(lambda x: x + jnp.asarray(rng.normal(size=x.shape), jnp.float32), params)


def test_the_normed_cell_is_numpys():
    """Dreamer V2's: one LayerNorm over all three parts, the reset after the product, an update gate biased by -1."""
    network = make_recurrent_step(
        INPUTS - 1, 1, SIZE, hidden=HIDDEN, layers=0, style=Style(activation="elu"), cell="normed"
    )
    params = randomised(network)
    rng = np.random.default_rng(1)
    x, h = rng.normal(size=(6, INPUTS)), rng.normal(size=(6, SIZE))
    cell = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params["gru"])
    parts = np.concatenate([x, h], -1) @ cell["parts"]["kernel"] + cell["parts"]["bias"]
    parts = (parts - parts.mean(-1, keepdims=True)) / np.sqrt(parts.var(-1, keepdims=True) + 1e-3)
    reset, candidate, update = np.split(parts * cell["norm"]["scale"] + cell["norm"]["bias"], 3, -1)
    update = sigmoid(update - 1)
    expected = update * np.tanh(sigmoid(reset) * candidate) + (1 - update) * h
    got = step(network, params, jnp.asarray(x, jnp.float32), jnp.asarray(h, jnp.float32))
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


def block_diagonal(kernel):
    blocks, rows, columns = kernel.shape
    whole = np.zeros((blocks * rows, blocks * columns))
    for i, block in enumerate(kernel):
        whole[i * rows : (i + 1) * rows, i * columns : (i + 1) * columns] = block
    return whole


def test_the_block_cell_is_a_dense_one_with_block_diagonal_matrices():
    """Dreamer V3's `_core`, with its groups written out as whole matrices."""
    blocks, size, hidden, stoch, action_size = 2, 6, 4, 3, 2
    network = make_recurrent_step(
        stoch,
        action_size,
        size,
        hidden=hidden,
        layers=1,
        style=Style(activation="silu", norm="rms"),
        cell="block",
        blocks=blocks,
    )
    params = randomised(network)
    exact = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    rng = np.random.default_rng(1)
    s, a, h = rng.normal(size=(5, stoch)), 2 * rng.normal(size=(5, action_size)), rng.normal(size=(5, size))

    def activate(x, name):
        x = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-4) * exact[name]["scale"]
        return x * sigmoid(x)

    inputs = [h, s, a / np.maximum(1, np.abs(a))]
    linear = lambda x, p: x @ p["kernel"] + p["bias"]  # noqa: E731
    shared = [activate(linear(x, exact[f"Dense_{i}"]), f"RMSNorm_{i}") for i, x in enumerate(inputs)]
    groups = [np.concatenate([part, *shared], -1) for part in np.split(h, blocks, -1)]
    x = np.concatenate(groups, -1) @ block_diagonal(exact["hidden"]["kernel"]) + exact["hidden"]["bias"]
    x = activate(x, "RMSNorm_3") @ block_diagonal(exact["gru"]["kernel"]) + exact["gru"]["bias"]
    width = size // blocks  # each block holds its own reset, candidate and update
    parts = x.reshape(5, blocks, 3, width)
    reset, candidate, update = (parts[:, :, i].reshape(5, size) for i in range(3))
    update = sigmoid(update - 1)
    expected = update * np.tanh(sigmoid(reset) * candidate) + (1 - update) * h
    got = network.apply(params, *(jnp.asarray(x, jnp.float32) for x in (s, a, h)))
    np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-4)


def test_blocks_that_do_not_divide_the_state_are_refused():
    with pytest.raises(ValueError, match=r"size: expected a multiple of blocks = 4, got 6"):
        make_recurrent_step(3, 2, 6, hidden=4, layers=1, style=Style(activation="silu"), cell="block", blocks=4)
