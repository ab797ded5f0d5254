"""What the actors' networks put out, as distributions: against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from latentplan.distributions import Gaussian, TanhGaussian, TruncatedGaussian
from latentplan.models.actor import ActorConfig, make_actor
from latentplan.types import EnvSpec

FEATURES = np.random.default_rng(0).normal(size=(5, 4)).astype("f")
SPEC = EnvSpec.single((3,), action_size=2, action_repeat=1, max_decisions=10)
sigmoid = lambda x: 1 / (1 + np.exp(-x))  # noqa: E731


@pytest.mark.parametrize(
    ("kind", "distribution", "mean", "std"),
    [
        # softplus(x + softplus^-1(5)) + 1e-4, as danijar/dreamer has it
        (
            "tanh_normal",
            TanhGaussian,
            lambda m: 5 * np.tanh(m / 5),
            lambda s: np.log1p((np.exp(5) - 1) * np.exp(s)) + 1e-4,
        ),
        ("truncated_normal", TruncatedGaussian, np.tanh, lambda s: 2 * sigmoid(s / 2) + 0.1),
        ("normal", Gaussian, np.tanh, lambda s: 0.9 * sigmoid(s + 2) + 0.1),
    ],
)
def test_continuous_actors_shape_mean_and_std(kind, distribution, mean, std):
    config = ActorConfig(kind=kind, hidden=8, layers=0, min_std=1e-4 if kind == "tanh_normal" else 0.1)
    actor = make_actor(config, 4, SPEC)
    params = jax.tree.map(lambda x: 2.0 * x + 0.3, actor.init(jax.random.key(0)))
    found = actor.apply(params, jnp.asarray(FEATURES))
    kernel, bias = sorted((np.asarray(x, np.float64) for x in jax.tree.leaves(params)), key=lambda x: -x.ndim)
    raw = FEATURES @ kernel + bias
    assert isinstance(found, distribution)
    np.testing.assert_allclose(found.mean, mean(raw[:, :2]), rtol=1e-4)
    np.testing.assert_allclose(jnp.broadcast_to(found.std, (5, 2)), std(raw[:, 2:]), rtol=1e-4)


def test_discrete_actors_mix_their_choices_with_uniform_ones():
    actor = make_actor(
        ActorConfig(hidden=8, layers=0, unimix=0.1), 4, EnvSpec.single((3,), action_size=3, discrete=True)
    )
    params = jax.tree.map(lambda x: 20.0 * x, actor.init(jax.random.key(0)))
    kernel, bias = sorted((np.asarray(x, np.float64) for x in jax.tree.leaves(params)), key=lambda x: -x.ndim)
    raw = np.exp(FEATURES @ kernel + bias)
    expected = 0.9 * raw / raw.sum(-1, keepdims=True) + 0.1 / 3
    found = actor.apply(params, jnp.asarray(FEATURES)).logits
    np.testing.assert_allclose(jax.nn.softmax(found, -1)[:, 0], expected, rtol=1e-4)
    assert expected.min() < 0.04  # without the mixture some would hardly ever be taken
