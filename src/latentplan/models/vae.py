"""A variational autoencoder of single observations, with separate latent dynamics."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Float

from latentplan import distributions
from latentplan.distributions import Gaussian
from latentplan.models.dynamics import (
    Dynamics,
    DynamicsConfig,
    DynamicsEntry,
    LatentTerms,
    reset_at_first,
    zeros_belief,
)
from latentplan.nets.mlp import make_gaussian_mlp, make_mlp
from latentplan.types import Array, Belief, Key, Params


def make_vae(config: DynamicsConfig, embed_size: int, action_size: int) -> Dynamics:
    """Builds the VAE and its transition.

    Encoder     z_t ~ q(z_t | o_t), without history (Kingma and Welling 2014);
    transition  h_t = f(z_{t-1}, a_{t-1}),  z_t ~ p(z_t | h_t), or with `transition` deterministic z_t = its mean.

    Decoders read z_t only; the reward head reads h_t only, so that it is a function r(z_{t-1}, a_{t-1}).

    Args:
        config: sizes; `deter` is the width of h.
        embed_size: E, size of the encoder's output.
        action_size: A.

    Returns:
        Dynamics over Belief(deter [..., D], stoch [..., S]).
    """
    style, layers = config.style, config.layers
    hidden_net = make_mlp(config.stoch + action_size, None, hidden=config.deter, layers=max(1, layers), style=style)
    latent = partial(make_gaussian_mlp, hidden=config.hidden, style=style, min_std=config.min_std)
    prior_net = latent(config.deter, config.stoch, layers=0)
    posterior_net = latent(embed_size, config.stoch, layers=layers)
    nets = {"hidden": hidden_net, "prior": prior_net, "posterior": posterior_net}

    def init(key: Key) -> Params:
        keys = jax.random.split(key, len(nets))
        return {name: net.init(k) for (name, net), k in zip(nets.items(), keys, strict=True)}

    def advance(params: Params, belief: Belief, action: Array) -> tuple[Array, Gaussian]:
        hidden = hidden_net.apply(params["hidden"], jnp.concatenate([belief.stoch, action], -1))
        prior = prior_net.apply(params["prior"], hidden)
        return hidden, prior if config.transition == "stochastic" else prior._replace(std=jnp.ones_like(prior.std))

    def imagine_step(params: Params, belief: Belief, action: Array, key: Key) -> tuple[Belief, Gaussian]:
        hidden, prior = advance(params, belief, action)
        stoch = distributions.sample(prior, key) if config.transition == "stochastic" else prior.mean
        return Belief(hidden, stoch), prior

    def observe_step(
        params: Params, belief: Belief, action: Array, embed: Array, is_first: Array, key: Key
    ) -> tuple[Belief, tuple[Gaussian, Gaussian]]:
        hidden, prior = advance(params, *reset_at_first(belief, action, is_first))
        posterior = posterior_net.apply(params["posterior"], embed)
        return Belief(hidden, distributions.sample(posterior, key)), (posterior, prior)

    initial = zeros_belief(config.deter, config.stoch)
    return Dynamics(init, initial, observe_step, imagine_step, distributions.kl_divergence)


def latent_terms(posterior: Gaussian, prior: Gaussian, stoch: Float[Array, "*batch S"]) -> LatentTerms:
    """KL(q(z_t | o_t) || N(0, 1)), and -log p(z_t | z_{t-1}, a_{t-1}) with z_t as a fixed target.

    Args:
        posterior: q(z_t | o_t), [..., S].
        prior: p(z_t | z_{t-1}, a_{t-1}), [..., S].
        stoch: [..., S], z_t, sampled from the posterior.

    Returns:
        LatentTerms.
    """
    kl = distributions.kl_divergence(posterior, distributions.standard_normal_like(posterior))
    return LatentTerms(kl, -distributions.log_prob(prior, jax.lax.stop_gradient(stoch)))


VAE = DynamicsEntry(
    make_vae,
    only={"classes": 0, "cell": "gru", "conv": "world_models"},
    decoder_reads=("stoch",),
    reward_reads=("deter",),
    latent_terms=latent_terms,
)
