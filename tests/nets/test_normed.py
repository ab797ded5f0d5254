"""TD-MPC2's networks: simplices, dropout, ensembles."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from latentplan.nets.network import Style
from latentplan.nets.normed import _bernoulli, make_ensemble, make_normed_mlp, simnorm

X = jnp.asarray(np.random.default_rng(0).normal(size=(4, 5)), jnp.float32)


def test_simplices_are_softmaxes_of_neighbours():
    x = np.random.default_rng(1).normal(size=(3, 6)).astype("f")
    found = simnorm(jnp.asarray(x), 2)
    for row in range(3):
        for group in range(0, 6, 2):
            part = np.exp(x[row, group : group + 2])
            np.testing.assert_allclose(found[row, group : group + 2], part / part.sum(), rtol=1e-5)


@pytest.mark.parametrize("norm", ["layer", "first", "none"])
def test_zeros_predict_zero_and_free_axes_stay(norm):
    network = make_normed_mlp(5, 3, hidden=8, layers=2, zeros=True, style=Style(norm=norm))
    params = network.init(jax.random.key(0))
    assert not np.any(network.apply(params, X)) and network.apply(params, X[0]).shape == (3,)
    assert sum(name.startswith("LayerNorm") for name in params) == {"layer": 2, "first": 1, "none": 0}[norm]


def test_weights_start_as_their_style_says():
    params = make_normed_mlp(8, 3, hidden=8, layers=2, style=Style(weights="orthogonal")).init(jax.random.key(0))
    kernel = np.asarray(params["Dense_1"]["kernel"])
    np.testing.assert_allclose(kernel @ kernel.T, np.eye(8), atol=1e-5)


def test_dropout_happens_with_a_key_only_and_keeps_the_mean():
    network = make_normed_mlp(5, 64, hidden=4000, layers=1, dropout=0.25, style=Style(weights="orthogonal"))
    params = network.init(jax.random.key(0))
    without = network.apply(params, X)
    draws = jax.vmap(lambda key: network.apply(params, X, key))(jax.random.split(jax.random.key(1), 200))
    assert not np.allclose(draws[0], draws[1]) and not np.allclose(draws[0], without)
    error = np.abs(draws.mean(0) - without).mean()
    assert error < 0.25 * draws.std(0).mean()  # four standard errors of a mean of 200 are 0.28


@pytest.mark.parametrize("probability", [0.99, 0.3, 1 - 1e-9])
def test_two_draws_of_one_word_have_the_probability_and_are_apart(probability):
    drawn = np.asarray(_bernoulli(jax.random.key(0), probability, (333, 301)))
    assert drawn.shape == (333, 301) and drawn.dtype == bool
    error = 5 * np.sqrt(probability * (1 - probability) / drawn.size) + 2**-16
    np.testing.assert_allclose(drawn.mean(), probability, atol=error)
    pairs = drawn.reshape(-1)[:-1].reshape(-1, 2)
    np.testing.assert_allclose(pairs.all(-1).mean(), probability**2, atol=2 * error)


def test_an_ensemble_is_its_members_and_a_part_of_it_is_a_part():
    network = make_normed_mlp(5, 3, hidden=8, layers=2, dropout=0.5)
    ensemble = make_ensemble(network, 4)
    params = ensemble.init(jax.random.key(0))
    together = ensemble.apply(params, X)
    assert together.shape == (4, 4, 3)
    for i in range(4):
        member = jax.tree.map(lambda x, i=i: x[i], params)
        np.testing.assert_allclose(together[i], network.apply(member, X), atol=1e-6)
    assert not np.allclose(together[0], together[1])
    part = jax.tree.map(lambda x: x[jnp.array([2, 0])], params)
    np.testing.assert_allclose(ensemble.apply(part, X), together[jnp.array([2, 0])], atol=1e-6)
    same = jax.tree.map(lambda x: jnp.broadcast_to(x[:1], x.shape), params)
    dropped = ensemble.apply(same, X, jax.random.key(1))
    assert not np.allclose(dropped[0], dropped[1])  # every member drops others
