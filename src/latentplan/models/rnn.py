"""The purely deterministic model of PlaNet's ablation (figure 2a): no noise, no KL."""

import jax
import jax.numpy as jnp

from latentplan.distributions import Gaussian
from latentplan.models.dynamics import Dynamics, DynamicsConfig, DynamicsEntry, reset_at_first, zeros_belief
from latentplan.nets.mlp import make_mlp
from latentplan.nets.recurrent import make_recurrent_step
from latentplan.types import Array, Belief, Key, Params


def make_rnn(config: DynamicsConfig, embed_size: int, action_size: int) -> Dynamics:
    """Builds the RNN: the RSSM with point estimates instead of distributions.

    h_t = f(h_{t-1}, s_{t-1}, a_{t-1});  predicted  s_t = g(h_t);  observed  s_t = e(h_t, o_t).
    Without a KL nothing ties g to e, so g must be trained by predicting observations and rewards: the agent uses
    observation overshooting of distance 1 or more.

    Args:
        config: sizes; `min_std` is not used.
        embed_size: E, size of the encoder's output.
        action_size: A.

    Returns:
        Dynamics over Belief(deter [..., D], stoch [..., S]). Its Gaussians have std 0: points.
    """
    hidden, layers, style = config.hidden, config.layers, config.style
    recurrent = make_recurrent_step(config.stoch, action_size, config.deter, hidden=hidden, layers=layers, style=style)
    predicted_net = make_mlp(config.deter, config.stoch, hidden=hidden, layers=layers, style=style)
    observed_net = make_mlp(config.deter + embed_size, config.stoch, hidden=hidden, layers=layers, style=style)

    def init(key: Key) -> Params:
        names = ("recurrent", "prior", "posterior")
        nets = (recurrent, predicted_net, observed_net)
        return {name: net.init(k) for name, net, k in zip(names, nets, jax.random.split(key, 3), strict=True)}

    def point(x: Array) -> Gaussian:
        return Gaussian(x, jnp.zeros_like(x))

    def advance(params: Params, belief: Belief, action: Array) -> tuple[Array, Array]:
        deter = recurrent.apply(params["recurrent"], belief.stoch, action, belief.deter)
        return deter, predicted_net.apply(params["prior"], deter)

    def imagine_step(params: Params, belief: Belief, action: Array, key: Key) -> tuple[Belief, Gaussian]:
        del key  # unused: deterministic
        deter, predicted = advance(params, belief, action)
        return Belief(deter, predicted), point(predicted)

    def observe_step(
        params: Params, belief: Belief, action: Array, embed: Array, is_first: Array, key: Key
    ) -> tuple[Belief, tuple[Gaussian, Gaussian]]:
        del key
        deter, predicted = advance(params, *reset_at_first(belief, action, is_first))
        observed = observed_net.apply(params["posterior"], jnp.concatenate([deter, embed], -1))
        return Belief(deter, observed), (point(observed), point(predicted))

    def divergence(posterior: Gaussian, prior: Gaussian) -> Array:
        shape = jnp.broadcast_shapes(posterior.mean.shape, prior.mean.shape)
        return jnp.zeros(shape[:-1], jnp.float32)

    return Dynamics(init, zeros_belief(config.deter, config.stoch), observe_step, imagine_step, divergence)


RNN = DynamicsEntry(make_rnn, has_kl=False, only={"classes": 0, "cell": "gru"})
