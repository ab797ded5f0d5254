"""The recurrent state-space model: a deterministic GRU path and a stochastic path (PlaNet eq. 4)."""

import jax
import jax.numpy as jnp

from latentplan import distributions
from latentplan.distributions import Gaussian, OneHot
from latentplan.models.dynamics import Dynamics, DynamicsConfig, DynamicsEntry, reset_at_first, zeros_belief
from latentplan.nets.mlp import make_gaussian_mlp, make_one_hot_mlp
from latentplan.nets.network import Network
from latentplan.nets.recurrent import make_recurrent_step
from latentplan.types import Array, Belief, Key, Params

Latent = Gaussian | OneHot


def make_rssm(config: DynamicsConfig, embed_size: int, action_size: int) -> Dynamics:
    """Builds the RSSM.

    Deterministic path  h_t = f(h_{t-1}, s_{t-1}, a_{t-1});  prior  s_t ~ p(s_t | h_t);
    posterior  s_t ~ q(s_t | h_t, o_t), Gaussian or, with `classes`, one-hot vectors (Dreamer V2, section 2).

    Args:
        config: sizes.
        embed_size: E, size of the encoder's output.
        action_size: A.

    Returns:
        Dynamics over Belief(deter [..., D], stoch [..., S]); one-hot vectors are concatenated, [..., S * C].
    """
    recurrent = make_recurrent_step(
        config.stoch_size,
        action_size,
        config.deter,
        hidden=config.hidden,
        layers=config.layers,
        style=config.style,
        cell=config.cell,
        blocks=config.blocks,
    )
    prior_layers = config.layers if config.prior_layers is None else config.prior_layers
    prior_net = _make_latent(config, config.deter, prior_layers)
    posterior_net = _make_latent(config, config.deter + embed_size, config.layers)

    def init(key: Key) -> Params:
        names = ("recurrent", "prior", "posterior")
        nets = (recurrent, prior_net, posterior_net)
        return {name: net.init(k) for name, net, k in zip(names, nets, jax.random.split(key, 3), strict=True)}

    def advance(params: Params, belief: Belief, action: Array) -> tuple[Array, Latent]:
        deter = recurrent.apply(params["recurrent"], belief.stoch, action, belief.deter)
        return deter, prior_net.apply(params["prior"], deter)

    def imagine_step(params: Params, belief: Belief, action: Array, key: Key) -> tuple[Belief, Latent]:
        deter, prior = advance(params, belief, action)
        return Belief(deter, distributions.sample(prior, key)), prior

    def observe_step(
        params: Params, belief: Belief, action: Array, embed: Array, is_first: Array, key: Key
    ) -> tuple[Belief, tuple[Latent, Latent]]:
        deter, prior = advance(params, *reset_at_first(belief, action, is_first))
        posterior = posterior_net.apply(params["posterior"], jnp.concatenate([deter, embed], -1))
        return Belief(deter, distributions.sample(posterior, key)), (posterior, prior)

    initial = zeros_belief(config.deter, config.stoch_size)
    return Dynamics(init, initial, observe_step, imagine_step, distributions.kl_divergence)


def _make_latent(config: DynamicsConfig, input_size: int, layers: int) -> Network:
    """The network that parameterises the stochastic state's distribution."""
    hidden, style = config.hidden, config.style
    if not config.classes:
        return make_gaussian_mlp(
            input_size, config.stoch, hidden=hidden, layers=layers, style=style, min_std=config.min_std
        )
    return make_one_hot_mlp(
        input_size, config.stoch, config.classes, hidden=hidden, layers=layers, style=style, unimix=config.unimix
    )


RSSM = DynamicsEntry(make_rssm)
