"""The purely stochastic state-space model of PlaNet's ablation (figure 2b)."""

import jax
import jax.numpy as jnp

from latentplan import distributions
from latentplan.distributions import Gaussian
from latentplan.models.dynamics import Dynamics, DynamicsConfig, DynamicsEntry, reset_at_first, zeros_belief
from latentplan.nets.mlp import make_gaussian_mlp
from latentplan.nets.network import Network
from latentplan.types import Array, Belief, Key, Params


def make_ssm(config: DynamicsConfig, embed_size: int, action_size: int) -> Dynamics:
    """Builds the SSM.

    Prior  s_t ~ p(s_t | s_{t-1}, a_{t-1});  posterior  s_t ~ q(s_t | prior mean, prior std, o_t), as in
    PlaNet's released code.

    Args:
        config: sizes; `deter` is not used.
        embed_size: E, size of the encoder's output.
        action_size: A.

    Returns:
        Dynamics over Belief(deter [..., 0], stoch [..., S]).
    """

    def make_latent(input_size: int) -> Network:
        """The network that parameterises the stochastic state's distribution."""
        return make_gaussian_mlp(
            input_size,
            config.stoch,
            hidden=config.hidden,
            layers=config.layers,
            style=config.style,
            min_std=config.min_std,
        )

    prior_net = make_latent(config.stoch + action_size)
    posterior_net = make_latent(2 * config.stoch + embed_size)

    def init(key: Key) -> Params:
        prior_key, posterior_key = jax.random.split(key)
        return {"prior": prior_net.init(prior_key), "posterior": posterior_net.init(posterior_key)}

    def imagine_step(params: Params, belief: Belief, action: Array, key: Key) -> tuple[Belief, Gaussian]:
        prior = prior_net.apply(params["prior"], jnp.concatenate([belief.stoch, action], -1))
        return Belief(belief.deter, distributions.sample(prior, key)), prior

    def observe_step(
        params: Params, belief: Belief, action: Array, embed: Array, is_first: Array, key: Key
    ) -> tuple[Belief, tuple[Gaussian, Gaussian]]:
        belief, action = reset_at_first(belief, action, is_first)
        prior = prior_net.apply(params["prior"], jnp.concatenate([belief.stoch, action], -1))
        posterior = posterior_net.apply(params["posterior"], jnp.concatenate([prior.mean, prior.std, embed], -1))
        return Belief(belief.deter, distributions.sample(posterior, key)), (posterior, prior)

    return Dynamics(init, zeros_belief(0, config.stoch), observe_step, imagine_step, distributions.kl_divergence)


SSM = DynamicsEntry(make_ssm, deter_size=lambda config: 0, only={"classes": 0, "cell": "gru"})
