"""Which loss term teaches which parameters, for every kind of dynamics."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from latentplan import distributions
from latentplan.agents.planet import LossConfig, PlaNetConfig, make_loss
from latentplan.losses.kl import free_nats
from latentplan.losses.overshooting import latent_overshooting, overshoot
from latentplan.models.rollout import observe, previous_beliefs
from latentplan.models.world_model import DYNAMICS, make_world_model
from latentplan.types import Batch

STEPS, BATCH = 4, 2
RNG = np.random.default_rng(0)
DATA = Batch(
    observation={"state": jnp.asarray(RNG.normal(size=(STEPS, BATCH, 5)), jnp.float32)},
    action=jnp.asarray(RNG.uniform(-1, 1, (STEPS, BATCH, 2)), jnp.float32),
    reward=jnp.asarray(RNG.normal(size=(STEPS, BATCH)), jnp.float32),
    is_first=jnp.zeros((STEPS, BATCH), bool).at[2, 0].set(True),
    is_last=jnp.zeros((STEPS, BATCH), bool),
    is_terminal=jnp.zeros((STEPS, BATCH), bool),
)
EVERYTHING = {"encoder", "decoder", "reward", "recurrent", "prior", "posterior"}

# What each term reaches in the RSSM; the SSM has no recurrent part, and its posterior reads its prior.
REACHES = {
    "observation": {"encoder", "decoder", "recurrent", "posterior"},
    "reward": {"encoder", "reward", "recurrent", "posterior"},
    "kl": {"encoder", "recurrent", "prior", "posterior"},
    "kl under the allowance": set(),
    "overshooting": {"encoder", "recurrent", "prior", "posterior"},  # encoder and posterior: from where it starts
    "overshooting from fixed beliefs": {"recurrent", "prior"},
    "predicted observation": {"encoder", "decoder", "recurrent", "prior", "posterior"},
    "predicted reward": {"encoder", "reward", "recurrent", "prior", "posterior"},
    "global prior": {"encoder", "recurrent", "posterior"},
}


# The VAE's posterior sees its observation only; its reward is read from the transition's hidden layer.
VAE_REACHES = {
    "observation": {"encoder", "decoder", "posterior"},
    "reward": {"encoder", "reward", "hidden", "posterior"},
    "kl": {"encoder", "hidden", "prior", "posterior"},
    "kl under the allowance": set(),
    "overshooting": {"encoder", "hidden", "prior", "posterior"},
    "overshooting from fixed beliefs": {"hidden", "prior"},
    "predicted observation": {"encoder", "decoder", "hidden", "prior", "posterior"},
    "predicted reward": {"encoder", "reward", "hidden", "posterior"},
    "global prior": {"encoder", "posterior"},
}


def expected(kind: str, term: str) -> set[str]:
    if kind == "vae":
        return VAE_REACHES[term]
    reached = REACHES[term]
    if kind == "rnn" and ("kl" in term or "overshooting" in term or term == "global prior"):
        return set()  # it has no divergence
    if kind == "ssm":
        reached = reached - {"recurrent"} | ({"prior"} if "posterior" in reached else set())
    return reached


@pytest.fixture(scope="module", params=sorted(DYNAMICS))
def built(request, tiny_model_config, tiny_specs, numpy_params):
    config = tiny_model_config(kind=request.param, layers=1, vector_layers=1, reward_layers=1)
    model = make_world_model(config, tiny_specs["state"])
    return request.param, config, model, numpy_params(model.init)


@pytest.fixture(scope="module")
def gradients(built):
    """{term: gradient with respect to all parameters}, from one compiled function."""
    _, _, model, params = built

    def weighted(params, weights):
        initial = model.initial((BATCH,))
        embeds = model.encode(params, DATA.observation)
        beliefs, (posteriors, priors) = observe(
            model, params, initial, DATA.action, embeds, DATA.is_first, jax.random.key(0)
        )
        previous = previous_beliefs(initial, beliefs, DATA.is_first)
        kl = model.divergence(posteriors, priors)

        def roll(start):
            return overshoot(
                model.imagine_step, params, start, DATA.action, DATA.is_first, jax.random.key(1), distance=2
            )

        predicted, from_fixed = roll(previous), roll(jax.lax.stop_gradient(previous))
        log_prob, joint = distributions.log_prob, distributions.joint_log_prob
        from_here = jax.tree.map(lambda x: x[None], DATA.observation)
        values = {
            "observation": joint(model.decode(params, beliefs), DATA.observation),
            "reward": log_prob(model.reward(params, beliefs), DATA.reward[..., None]),
            "kl": free_nats(kl, 0.0),
            "kl under the allowance": free_nats(kl, 1e6),
            "overshooting": latent_overshooting(model.divergence, posteriors, predicted)[1],
            "overshooting from fixed beliefs": latent_overshooting(model.divergence, posteriors, from_fixed)[1],
            "predicted observation": joint(model.decode(params, predicted.belief), from_here)[0],
            "predicted reward": log_prob(model.reward(params, predicted.belief), DATA.reward[None, ..., None])[0],
            "global prior": model.divergence(posteriors, distributions.standard_normal_like(posteriors)),
        }
        return sum(weights[name] * jnp.mean(value) for name, value in values.items())

    gradient = jax.jit(jax.grad(weighted))
    return {term: gradient(params, {name: float(name == term) for name in REACHES}) for term in REACHES}


def reached(gradient) -> set[str]:
    groups = {name: part for name, part in gradient.items() if name != "dynamics"} | gradient["dynamics"]
    return {name for name, part in groups.items() if any(np.any(np.asarray(x) != 0) for x in jax.tree.leaves(part))}


@pytest.mark.parametrize("term", sorted(REACHES))
def test_a_term_teaches_exactly_these_parameters(built, gradients, term):
    assert reached(gradients[term]) == expected(built[0], term)


def test_no_gradient_is_infinite_or_not_a_number(gradients):
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(gradients))


def gradient_of_whole_loss(built, nats: float):
    _, config, model, params = built
    loss = make_loss(PlaNetConfig(model=config, loss=LossConfig(free_nats=nats)), model)
    return jax.jit(jax.grad(loss, has_aux=True))(params, DATA, jax.random.key(0), jnp.int32(0))


def test_the_agents_whole_loss_teaches_everything(built):
    gradient, _ = gradient_of_whole_loss(built, 0.0)
    without = {"ssm": EVERYTHING - {"recurrent"}, "vae": EVERYTHING - {"recurrent"} | {"hidden"}}
    assert reached(gradient) == without.get(built[0], EVERYTHING)


def test_under_free_nats_the_agents_loss_does_not_teach_the_rssms_prior(built):
    if built[0] != "rssm":  # the ssm's posterior reads its prior; the rnn's prior learns from predicting observations
        pytest.skip("a question about the rssm only")
    gradient, metrics = gradient_of_whole_loss(built, 1e6)
    assert reached(gradient) == EVERYTHING - {"prior"}
    assert metrics["kl_free_share"] == 1.0
