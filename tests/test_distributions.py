"""Densities and divergences against SciPy, closed forms and Monte Carlo; gradients of samples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from latentplan import distributions
from latentplan.distributions import Gaussian, OneHot, TanhGaussian, TruncatedGaussian, TwoHot
from latentplan.transforms import symexp, symexp_bins

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


# One-hot vectors

LOGITS = RNG.normal(size=(3, 2, 4)).astype(np.float32)
OTHER = RNG.normal(size=(3, 2, 4)).astype(np.float32)


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def test_one_hot_probabilities_entropies_and_divergences_are_scipys():
    p, q = OneHot(jnp.asarray(LOGITS)), OneHot(jnp.asarray(OTHER))
    choice = RNG.integers(0, 4, (3, 2))
    value = np.eye(4, dtype=np.float32)[choice].reshape(3, 8)
    expected = np.log(np.take_along_axis(softmax(LOGITS), choice[..., None], -1)).sum((-1, -2))
    np.testing.assert_allclose(distributions.log_prob(p, jnp.asarray(value)), expected, rtol=1e-5)
    expected = stats.entropy(softmax(LOGITS), axis=-1).sum(-1)
    np.testing.assert_allclose(distributions.entropy(p), expected, rtol=1e-5)
    expected = stats.entropy(softmax(LOGITS), softmax(OTHER), axis=-1).sum(-1)
    np.testing.assert_allclose(distributions.kl_divergence(p, q), expected, rtol=1e-4)


def test_one_hot_draws_have_their_probabilities_and_the_mode_is_the_likeliest():
    many = OneHot(jnp.broadcast_to(LOGITS[0], (20_000, 2, 4)))
    drawn = np.asarray(distributions.sample(many, jax.random.key(0))).reshape(-1, 2, 4)
    np.testing.assert_allclose(np.sort(drawn, -1), np.broadcast_to([0, 0, 0, 1], drawn.shape), atol=1e-6)
    np.testing.assert_allclose(drawn.mean(0), softmax(LOGITS[0]), atol=0.02)
    mode = distributions.mode(OneHot(jnp.asarray(LOGITS))).reshape(3, 2, 4)
    np.testing.assert_array_equal(mode.argmax(-1), LOGITS.argmax(-1))


def test_one_hot_samples_pass_the_gradient_of_their_probabilities():
    weights = jnp.asarray(RNG.normal(size=(3, 8)), jnp.float32)
    through = jax.grad(lambda x: jnp.sum(distributions.sample(OneHot(x), jax.random.key(0)) * weights))
    exact = jax.grad(lambda x: jnp.sum(jax.nn.softmax(x, -1).reshape(3, 8) * weights))
    np.testing.assert_allclose(through(jnp.asarray(LOGITS)), exact(jnp.asarray(LOGITS)), atol=1e-6)


def test_mixing_with_uniform_gives_every_class_its_share():
    mixed = distributions.mix_uniform(jnp.array([100.0, 0.0, 0.0, 0.0]), 0.1)
    np.testing.assert_allclose(jnp.exp(mixed), [0.925, 0.025, 0.025, 0.025], rtol=1e-5)
    np.testing.assert_array_equal(distributions.mix_uniform(jnp.asarray(LOGITS), 0.0), LOGITS)


# Actions

MEAN = RNG.uniform(-0.9, 0.9, (3, 4)).astype(np.float32)
STD = RNG.uniform(0.1, 2.1, (3, 4)).astype(np.float32)


def test_a_squashed_gaussians_density_is_the_gaussians_by_the_slope_of_tanh():
    distribution = TanhGaussian(jnp.asarray(MEAN), jnp.asarray(STD))
    value = RNG.uniform(-0.99, 0.99, (3, 4)).astype(np.float32)
    before = np.arctanh(value.astype(np.float64))
    expected = (stats.norm.logpdf(before, MEAN, STD) - np.log(1 - value.astype(np.float64) ** 2)).sum(-1)
    np.testing.assert_allclose(distributions.log_prob(distribution, jnp.asarray(value)), expected, rtol=1e-3)
    np.testing.assert_allclose(distributions.mode(distribution), np.tanh(MEAN), rtol=1e-6)
    assert np.isfinite(distributions.log_prob(distribution, jnp.ones((3, 4)))).all()


def scipys_truncated():
    return stats.truncnorm((-1 - MEAN) / STD, (1 - MEAN) / STD, MEAN, STD)


def test_a_truncated_gaussian_is_scipys():
    distribution = TruncatedGaussian(jnp.asarray(MEAN), jnp.asarray(STD))
    value = RNG.uniform(-1, 1, (3, 4)).astype(np.float32)
    got = distributions.log_prob(distribution, jnp.asarray(value))
    np.testing.assert_allclose(got, scipys_truncated().logpdf(value).sum(-1), rtol=1e-4, atol=1e-4)
    entropy = np.array([[x.entropy() for x in row] for row in _each()])
    np.testing.assert_allclose(distributions.entropy(distribution), entropy.sum(-1), rtol=1e-3, atol=1e-3)
    many = TruncatedGaussian(*(jnp.broadcast_to(x, (20_000, 3, 4)) for x in (MEAN, STD)))
    drawn = np.asarray(distributions.sample(many, jax.random.key(1)))
    assert np.abs(drawn).max() <= 1.0
    np.testing.assert_allclose(drawn.mean(0), scipys_truncated().mean(), atol=0.02)
    np.testing.assert_allclose(drawn.std(0), scipys_truncated().std(), atol=0.02)


def _each():
    limits = (-1 - MEAN) / STD, (1 - MEAN) / STD
    return [
        [stats.truncnorm(limits[0][i, j], limits[1][i, j], MEAN[i, j], STD[i, j]) for j in range(4)] for i in range(3)
    ]


def test_truncated_draws_move_with_their_parameters():
    """The same noise, the parameters a little further: finite differences."""
    draw = lambda m, s: jnp.sum(distributions.sample(TruncatedGaussian(m, s), jax.random.key(2)))  # noqa: E731
    mean, std, step = jnp.float32([[0.3]]), jnp.float32([[0.7]]), 1e-2
    gradient = jax.grad(draw, (0, 1))(mean, std)
    for i, (up, down) in enumerate(
        (((mean + step, std), (mean - step, std)), ((mean, std + step), (mean, std - step)))
    ):
        np.testing.assert_allclose(gradient[i][0, 0], (draw(*up) - draw(*down)) / (2 * step), rtol=0.02)


# A number as classes


def test_two_hot_means_and_likelihoods_by_hand():
    distribution = TwoHot(jnp.log(jnp.array([0.5, 0.25, 0.25])), jnp.array([-1.0, 0.0, 4.0]))
    np.testing.assert_allclose(distribution.mean, [0.5], rtol=1e-6)  # -0.5 + 0 + 1
    got = distributions.log_prob(distribution, jnp.array([1.0]))  # 3/4 of the class at 0, 1/4 of that at 4
    np.testing.assert_allclose(got, np.log(0.25), rtol=1e-6)


def test_even_classes_over_symmetric_bins_mean_exactly_zero():
    bins = symexp_bins(20.0, 255)
    np.testing.assert_allclose(bins, symexp(jnp.linspace(-20.0, 20.0, 255)), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(TwoHot(jnp.zeros((3, 255)), bins).mean, np.zeros((3, 1)))


def test_truncated_draws_have_a_gradient_even_where_the_noise_is_zero(monkeypatch):
    """At a lower edge far in the tail, the smallest share would be erf^-1(-1)."""
    monkeypatch.setattr(jax.random, "uniform", lambda key, shape, dtype: jnp.zeros(shape, dtype))
    draw = lambda m, s: jnp.sum(distributions.sample(TruncatedGaussian(m, s), jax.random.key(0)))  # noqa: E731
    value, gradient = jax.value_and_grad(draw, (0, 1))(jnp.array([0.5]), jnp.array([0.12]))
    assert -1.0 <= value <= 0.5 and np.all(np.isfinite(gradient))
