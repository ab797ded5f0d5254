"""The recurrent state-space model: PlaNet's deterministic GRU path beside a stochastic path (eq. 4)."""

import jax
import jax.numpy as jnp

from latentplan import distributions
from latentplan.models.dynamics import Dynamics, DynamicsConfig, wipe, zeros_belief
from latentplan.nets.mlp import make_gaussian_mlp
from latentplan.nets.recurrent import make_recurrent_step
from latentplan.types import Array, Belief, Gaussian, Key, Params


def make_rssm(config: DynamicsConfig, embed_size: int, action_size: int) -> Dynamics:
    """Builds the RSSM.

    Deterministic path  h_t = f(h_{t-1}, s_{t-1}, a_{t-1});  prior  s_t ~ p(s_t | h_t);
    posterior  s_t ~ q(s_t | h_t, o_t).

    Args:
        config: sizes.
        embed_size: E, what the encoder gives.
        action_size: A.

    Returns:
        Dynamics over Belief(deter [..., D], stoch [..., S]).
    """
    sizes = config.network_sizes()
    recurrent = make_recurrent_step(config.stoch + action_size, config.deter, **sizes)
    prior_net = make_gaussian_mlp(config.deter, config.stoch, min_std=config.min_std, **sizes)
    posterior_net = make_gaussian_mlp(config.deter + embed_size, config.stoch, min_std=config.min_std, **sizes)

    def init(key: Key) -> Params:
        names = ("recurrent", "prior", "posterior")
        nets = (recurrent, prior_net, posterior_net)
        return {name: net.init(k) for name, net, k in zip(names, nets, jax.random.split(key, 3), strict=True)}

    def advance(params: Params, belief: Belief, action: Array) -> tuple[Array, Gaussian]:
        inputs = jnp.concatenate([belief.stoch, action], -1)
        deter = recurrent.apply(params["recurrent"], inputs, belief.deter)
        return deter, prior_net.apply(params["prior"], deter)

    def imagine_step(params: Params, belief: Belief, action: Array, key: Key) -> tuple[Belief, Gaussian]:
        deter, prior = advance(params, belief, action)
        return Belief(deter, distributions.sample(prior, key)), prior

    def observe_step(
        params: Params, belief: Belief, action: Array, embed: Array, is_first: Array, key: Key
    ) -> tuple[Belief, tuple[Gaussian, Gaussian]]:
        deter, prior = advance(params, *wipe(belief, action, is_first))
        posterior = posterior_net.apply(params["posterior"], jnp.concatenate([deter, embed], -1))
        return Belief(deter, distributions.sample(posterior, key)), (posterior, prior)

    initial = zeros_belief(config.deter, config.stoch)
    return Dynamics(init, initial, observe_step, imagine_step, distributions.kl_divergence)
