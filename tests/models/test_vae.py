"""The VAE with separate dynamics: what each part reads, and its loss against NumPy and SciPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from latentplan.agents.config import KLWeightConfig
from latentplan.agents.dreamer.v1 import DreamerV1Config
from latentplan.agents.planet import LossConfig, PlaNetConfig, make_loss
from latentplan.distributions import Gaussian
from latentplan.models.vae import latent_terms
from latentplan.models.world_model import make_world_model
from latentplan.types import Batch, Belief

RNG = np.random.default_rng(0)
KEY = jax.random.key(0)


def uniform(*shape):
    return jnp.asarray(RNG.uniform(-1, 1, shape), jnp.float32)


FLAGS = jnp.zeros((4, 2), bool)
WINDOW = Batch({"state": uniform(4, 2, 5)}, uniform(4, 2, 2), uniform(4, 2), FLAGS, FLAGS, FLAGS)


@pytest.fixture(scope="module")
def built(tiny_model_config, tiny_specs, numpy_params):
    config = tiny_model_config(kind="vae", layers=1)
    model = make_world_model(config, tiny_specs["state"])
    return config, model, numpy_params(model.init)


def test_the_posterior_depends_on_the_observation_alone(built):
    _, model, params = built
    embed, never = uniform(3, 8), jnp.zeros(3, bool)
    seen = [
        model.observe_step(params, Belief(uniform(3, 8), uniform(3, 4)), uniform(3, 2), embed, never, KEY)[1][0]
        for _ in range(2)
    ]
    jax.tree.map(np.testing.assert_array_equal, *seen)
    _, (other, _) = model.observe_step(params, model.initial((3,)), uniform(3, 2), uniform(3, 8), never, KEY)
    assert np.any(other.mean != seen[0].mean)


def test_observations_are_decoded_from_z_and_rewards_predicted_from_the_transition_to_it(built):
    _, model, params = built
    belief, other = (Belief(uniform(8), uniform(4)) for _ in range(2))
    decoded = [model.decode(params, x)["state"].mean for x in (belief, belief._replace(deter=other.deter))]
    np.testing.assert_array_equal(*decoded)
    rewards = [model.reward(params, x).mean for x in (belief, belief._replace(stoch=other.stoch))]
    np.testing.assert_array_equal(*rewards)
    action = uniform(2)
    after, again = (model.imagine_step(params, x, action, KEY)[0] for x in (belief, belief._replace(deter=other.deter)))
    jax.tree.map(np.testing.assert_array_equal, after, again)  # nothing but z is carried on
    assert (
        model.reward(params, after).mean
        != model.reward(params, model.imagine_step(params, belief, -action, KEY)[0]).mean
    )


def test_latent_terms_are_scipys():
    mean, std, prior_mean, prior_std, z = (np.exp(RNG.normal(size=(5, 3))).astype(np.float32) for _ in range(5))
    kl, nll = latent_terms(Gaussian(mean, std), Gaussian(prior_mean, prior_std), jnp.asarray(z))
    expected = stats.norm.logpdf(z, prior_mean, prior_std).sum(-1)
    np.testing.assert_allclose(nll, -expected, rtol=1e-4)
    np.testing.assert_allclose(kl, 0.5 * (std**2 + mean**2 - 1 - 2 * np.log(std)).sum(-1), rtol=1e-4)


def test_the_next_latent_is_a_fixed_target():
    mean = jnp.zeros((1, 3))
    gradient = jax.grad(lambda z: latent_terms(Gaussian(mean, mean + 1), Gaussian(mean, mean + 1), z)[1].sum())(
        mean + 2
    )
    np.testing.assert_array_equal(gradient, 0.0)


def test_deterministic_transitions_give_their_mean_and_learn_by_squared_error(
    tiny_model_config, tiny_specs, numpy_params
):
    model = make_world_model(tiny_model_config(kind="vae", transition="deterministic"), tiny_specs["state"])
    params, belief, action = numpy_params(model.init), Belief(uniform(8), uniform(4)), uniform(2)
    after, prior = model.imagine_step(params, belief, action, KEY)
    np.testing.assert_array_equal(after.stoch, prior.mean)
    np.testing.assert_array_equal(after.stoch, model.imagine_step(params, belief, action, jax.random.key(1))[0].stoch)
    z = uniform(4)
    _, nll = latent_terms(Gaussian(z, jnp.ones(4)), prior, z)
    constant = 0.5 * 4 * np.log(2 * np.pi)
    np.testing.assert_allclose(nll, 0.5 * np.sum((z - prior.mean) ** 2) + constant, rtol=1e-5)


def test_the_agents_loss_is_reconstruction_and_beta_kl_and_transition(built):
    config, model, params = built
    totals, metrics = {}, None
    for weight in (1.0, 0.25):
        losses = LossConfig(kl=KLWeightConfig(weight=weight), free_nats=0.0)
        loss = make_loss(PlaNetConfig(model=config, loss=losses), model)
        totals[weight], metrics = loss(params, WINDOW, KEY, jnp.int32(0))
    parts = metrics["observation_nll"] + 10 * metrics["reward_nll"] + metrics["transition_nll"]
    for weight, total in totals.items():
        np.testing.assert_allclose(total, parts + weight * metrics["kl"], rtol=1e-5)


@pytest.mark.parametrize("field", ["overshooting_distance", "observation_overshooting_distance"])
def test_overshooting_is_refused(built, field):
    config, model, _ = built
    with pytest.raises(ValueError, match=f"{field}: expected .* with kind vae"):
        make_loss(PlaNetConfig(model=config, loss=LossConfig(**{field: 2})), model)


def test_dreamer_refuses_a_model_that_does_not_train_its_prior_by_the_kl(tiny_model_config):
    with pytest.raises(ValueError, match=r"kind: expected dynamics with KL\(posterior \|\| prior\), got 'vae'"):
        DreamerV1Config(model=tiny_model_config(kind="vae"))
