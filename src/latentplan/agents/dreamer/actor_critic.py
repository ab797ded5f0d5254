"""Dreamer V1 and V2: separate optimisation of model, actor and critic, and their critic."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from latentplan import distributions
from latentplan.agents.dreamer.imagination import imagination_starts
from latentplan.config import Config, NonNegativeInt, PositiveInt
from latentplan.models.actor import ActorConfig, make_actor
from latentplan.models.heads import make_scalar_head
from latentplan.models.world_model import WorldModelConfig, feature, make_world_model
from latentplan.nets.network import Network, Style
from latentplan.types import Array, Belief, EnvSpec, Key, Metrics, Params, WorldModel

Part = Any  # parameters, an optimiser, its state, a gradient or a loss


@dataclass(frozen=True, kw_only=True)
class CriticConfig(Config):
    """The critic network of Dreamer V1 and V2. Defaults: Dreamer V1 (appendix A)."""

    hidden: PositiveInt = 400
    """Units per hidden layer."""
    layers: NonNegativeInt = 3
    """Hidden layers. Dreamer V2: 4."""


class CriticBatch(NamedTuple):
    """Training data of Dreamer V1's and V2's critic.

    Attributes:
        features: [L, B, F], of imagined steps.
        returns: [L, B], their lambda returns.
        weight: [L, B], of each step: the product of the discounts before it.
    """

    features: Array
    returns: Array
    weight: Array


ActorLoss = Callable[[Params, Params, Params, Belief, Array, Key], tuple[Array, tuple[Metrics, CriticBatch]]]
"""(actor_params, model_params, critic_params, starts [B, ...], is_terminal [B], key) -> (loss, (metrics,
CriticBatch))."""


def make_networks(
    model: WorldModelConfig, actor: ActorConfig, spec: EnvSpec, make_critic: Callable[[int], Network]
) -> tuple[WorldModel, Network, Network]:
    """Builds an agent's world model, actor and critic.

    Args:
        model: config of the world model; actor and critic use its dtype.
        actor: config of the actor.
        spec: of the environment.
        make_critic: builds the critic, given the width of the features.

    Returns:
        (model, actor, critic).
    """
    world = make_world_model(model, spec)
    size = feature(world.initial((1,))).shape[-1]
    return world, make_actor(actor, size, spec, dtype=model.dtype), make_critic(size)


def make_critic(config: CriticConfig, feature_size: int, model: WorldModelConfig) -> Network:
    """The critic of Dreamer V1 and V2, from features [..., F] to a Gaussian of unit variance."""
    style = Style(activation=model.activation, dtype=model.dtype)
    return make_scalar_head(feature_size, "gaussian", hidden=config.hidden, layers=config.layers, style=style)


def make_critic_loss(critic: Network) -> Callable[[Params, CriticBatch], Array]:
    """-w log p(V_lambda(s) | s), averaged over imagined steps (Dreamer V1 eq. 8, V2 eq. 5)."""

    def critic_loss(critic_params: Params, critic_batch: CriticBatch) -> Array:
        value = critic.apply(critic_params, critic_batch.features)
        return -jnp.mean(critic_batch.weight * distributions.log_prob(value, critic_batch.returns[..., None]))

    return critic_loss


class Trainables(NamedTuple):
    """One entry each for model, actor and critic: parameters, optimisers, optimiser states or gradients."""

    model: Part
    actor: Part
    critic: Part


def init_params(model: WorldModel, actor: Network, critic: Network, key: Key) -> Params:
    """Initialises all three; the model's entries lie beside "actor" and "critic"."""
    keys = jax.random.split(key, 3)
    return model.init(keys[0]) | {"actor": actor.init(keys[1]), "critic": critic.init(keys[2])}


def split(params: Params) -> Trainables:
    """Splits the parameters into those of model, actor and critic."""
    rest = {name: part for name, part in params.items() if name not in ("actor", "critic")}
    return Trainables(rest, params["actor"], params["critic"])


def join(parts: Trainables) -> Params:
    """The inverse of `split`."""
    return parts.model | {"actor": parts.actor, "critic": parts.critic}


def init_states(optimizers: Trainables, params: Params) -> Trainables:
    """The optimisers' states for the parameters of all three."""
    return Trainables(*(own.init(part) for own, part in zip(optimizers, split(params), strict=True)))


def apply_gradients(
    optimizers: Trainables, states: Trainables, params: Trainables, **gradients: Params
) -> tuple[Trainables, Trainables]:
    """One optimiser step for each part with a gradient.

    Args:
        optimizers: one per part.
        states: theirs.
        params: the parts' parameters.
        **gradients: a part's name -> its gradient.

    Returns:
        (params, states), with the other parts unchanged.
    """
    for name, gradient in gradients.items():
        own, state = getattr(params, name), getattr(states, name)
        steps, state = getattr(optimizers, name).update(gradient, state, own)
        params = params._replace(**{name: optax.apply_updates(own, steps)})
        states = states._replace(**{name: state})
    return params, states


Behaviour = Callable[[Trainables, Params, Belief, Array, Key], tuple[Trainables, Trainables, dict[str, Array]]]
"""(params, critic_params for the values of imagined steps, beliefs [T, B, ...], is_terminal [T, B], key) -> (losses,
gradients, metrics); the model's entries in losses and gradients are None."""


def make_behaviour(
    model: WorldModel, actor_loss: ActorLoss, critic_loss: Callable[[Params, CriticBatch], Array], last: int
) -> Behaviour:
    """Builds the joint step of actor and critic: imagination, the actor's loss, then the critic's on the same steps.

    Replayed terminations are used only if the model predicts terminations, as in the released codes.

    Args:
        model: the world model.
        actor_loss: imagines trajectories and computes returns.
        critic_loss: (critic_params, CriticBatch) -> loss.
        last: imagination starts from this many last steps of each window; 0 for all.

    Returns:
        Behaviour.
    """

    def behaviour(
        params: Trainables, critic_params: Params, beliefs: Belief, is_terminal: Array, key: Key
    ) -> tuple[Trainables, Trainables, dict[str, Array]]:
        ends = is_terminal if model.terminal else jnp.zeros_like(is_terminal)
        starts, ended = imagination_starts((beliefs, ends), last)
        (actor_total, (metrics, critic_batch)), actor_gradient = jax.value_and_grad(actor_loss, has_aux=True)(
            params.actor, params.model, critic_params, starts, ended, key
        )
        critic_total, critic_gradient = jax.value_and_grad(critic_loss)(params.critic, critic_batch)
        return Trainables(None, actor_total, critic_total), Trainables(None, actor_gradient, critic_gradient), metrics

    return behaviour


def summary(losses: Trainables, gradients: Trainables) -> Metrics:
    """Metrics: each part's loss and its gradient's norm, `loss` (the model's), and whether all are finite."""
    metrics = {f"{name}_loss": loss for name, loss in losses._asdict().items()}
    metrics |= {f"{name}_grad_norm": optax.tree.norm(gradient) for name, gradient in gradients._asdict().items()}
    finite = jnp.all(jnp.isfinite(jnp.stack(list(metrics.values()))))
    return metrics | {"loss": losses.model, "finite": finite.astype(jnp.float32)}
