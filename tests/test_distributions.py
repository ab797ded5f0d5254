"""Densities and divergences against SciPy, closed forms and Monte Carlo; gradients of samples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from latentplan import distributions
from latentplan.types import Gaussian

RNG = np.random.default_rng(0)
P = Gaussian(RNG.normal(size=(3, 4)).astype(np.float32), RNG.uniform(0.3, 2.0, (3, 4)).astype(np.float32))
Q = Gaussian(RNG.normal(size=(3, 4)).astype(np.float32), RNG.uniform(0.3, 2.0, (3, 4)).astype(np.float32))


def as_jax(gaussian: Gaussian) -> Gaussian:
    return Gaussian(jnp.asarray(gaussian.mean), jnp.asarray(gaussian.std))


def test_log_prob_is_scipys_summed_over_the_last_axis():
    value = RNG.normal(size=(3, 4)).astype(np.float32)
    expected = stats.norm.logpdf(value, P.mean, P.std).sum(-1)
    np.testing.assert_allclose(distributions.log_prob(as_jax(P), jnp.asarray(value)), expected, rtol=1e-5)


def test_log_prob_far_in_the_tail_is_finite_and_right():
    gaussian = Gaussian(jnp.zeros(1), jnp.full(1, 0.1))
    got = distributions.log_prob(gaussian, jnp.full(1, 50.0))
    np.testing.assert_allclose(got, stats.norm.logpdf(50.0, 0.0, 0.1), rtol=1e-5)


def test_log_prob_takes_a_scalar_std_for_every_dimension():
    value = RNG.normal(size=(3, 4)).astype(np.float32)
    got = distributions.log_prob(Gaussian(jnp.asarray(P.mean), jnp.float32(0.1)), jnp.asarray(value))
    assert got.shape == (3,)
    np.testing.assert_allclose(got, stats.norm.logpdf(value, P.mean, 0.1).sum(-1), rtol=1e-5)


@pytest.mark.parametrize(
    ("p", "q", "expected"),
    [
        ((0.0, 1.0), (0.0, 1.0), 0.0),
        ((1.0, 1.0), (0.0, 1.0), 0.5),
        ((0.0, 2.0), (0.0, 1.0), 1.5 - np.log(2.0)),  # asymmetric: the other way round is 0.318
        ((0.0, 1.0), (0.0, 2.0), np.log(2.0) - 0.375),
    ],
)
def test_kl_of_one_dimension_has_the_hand_computed_value(p, q, expected):
    p, q = (Gaussian(jnp.array([m]), jnp.array([s])) for m, s in (p, q))
    np.testing.assert_allclose(distributions.kl_divergence(p, q), expected, atol=1e-6)


def test_kl_is_the_integral_of_scipys_densities():
    expected = np.zeros(3)
    for i, j in np.ndindex(3, 4):
        p, q = stats.norm(P.mean[i, j], P.std[i, j]), stats.norm(Q.mean[i, j], Q.std[i, j])
        reach = (p.mean() - 9 * p.std(), p.mean() + 9 * p.std())
        expected[i] += integrate.quad(lambda x, p=p, q=q: p.pdf(x) * (p.logpdf(x) - q.logpdf(x)), *reach)[0]
    np.testing.assert_allclose(distributions.kl_divergence(as_jax(P), as_jax(Q)), expected, rtol=1e-4)


def test_kl_is_the_mean_log_ratio_over_own_samples():
    count = 40_000
    wide = Gaussian(*(jnp.broadcast_to(x, (count, *x.shape)) for x in P))
    x = distributions.sample(wide, jax.random.key(1))
    ratios = distributions.log_prob(wide, x) - distributions.log_prob(Gaussian(Q.mean[None], Q.std[None]), x)
    error = np.std(ratios, axis=0) / np.sqrt(count)
    distance = np.abs(np.mean(ratios, axis=0) - distributions.kl_divergence(as_jax(P), as_jax(Q)))
    assert np.all(distance < 5 * error)


def test_samples_have_the_mean_the_std_and_independent_dimensions():
    count = 40_000
    gaussian = Gaussian(jnp.broadcast_to(P.mean[0], (count, 4)), jnp.broadcast_to(P.std[0], (count, 4)))
    x = np.asarray(distributions.sample(gaussian, jax.random.key(2)))
    np.testing.assert_allclose(x.mean(0), P.mean[0], atol=5 * P.std.max() / np.sqrt(count))
    np.testing.assert_allclose(x.std(0), P.std[0], rtol=0.02)
    correlation = np.corrcoef(x.T) - np.eye(4)
    assert np.abs(correlation).max() < 5 / np.sqrt(count)
    assert stats.kstest((x[:, 0] - P.mean[0, 0]) / P.std[0, 0], "norm").pvalue > 1e-4


def test_gradients_reach_mean_and_std_through_a_sample():
    key = jax.random.key(3)
    sample = lambda mean, std: distributions.sample(Gaussian(mean, std), key)  # noqa: E731
    p = as_jax(P)
    x = sample(*p)
    noise = (x - p.mean) / p.std
    to_mean, to_std = jax.grad(lambda *args: jnp.sum(sample(*args) ** 2), argnums=(0, 1))(*p)
    np.testing.assert_allclose(to_mean, 2 * x, rtol=1e-5)
    np.testing.assert_allclose(to_std, 2 * x * noise, rtol=1e-4, atol=1e-5)


def test_a_point_has_itself_as_its_only_sample():
    point = Gaussian(jnp.asarray(P.mean), jnp.zeros((3, 4)))
    np.testing.assert_array_equal(distributions.sample(point, jax.random.key(4)), P.mean)


def test_standard_normal_like_keeps_the_shape():
    normal = distributions.standard_normal_like(as_jax(P))
    np.testing.assert_array_equal(normal.mean, np.zeros((3, 4)))
    np.testing.assert_array_equal(normal.std, np.ones((3, 4)))
