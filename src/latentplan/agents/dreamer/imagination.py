"""What all versions of Dreamer learn by: the model's loss, imagination with the actor inside, the critic's loss."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from latentplan import distributions
from latentplan.config import Bound, Config, NonNegativeFloat, NonNegativeInt, OneOf, PositiveInt, UnitInterval
from latentplan.losses.kl import balanced, free_nats_floor
from latentplan.models.actor import ActorConfig, make_actor
from latentplan.models.heads import make_scalar_head
from latentplan.models.rollout import imagine_with, observe
from latentplan.models.world_model import WorldModelConfig, feature, make_world_model
from latentplan.nets.network import Network, Style
from latentplan.planners.objectives import continue_probability
from latentplan.types import Array, Batch, Belief, EnvSpec, Key, Params, WorldModel

REWARDS: dict[str, Callable[[Array], Array]] = {"raw": lambda x: x, "tanh": jnp.tanh, "sign": jnp.sign}


@dataclass(frozen=True, kw_only=True)
class ModelLossConfig(Config):
    """What the world model minimises. Defaults: Dreamer V1 (arXiv 1912.01603, appendix A; danijar/dreamer)."""

    reward_scale: NonNegativeFloat = 1.0
    """Weight of the reward's log-likelihood."""
    terminal_scale: NonNegativeFloat = 10.0
    """Weight of the continuation's log-likelihood, where terminations are predicted."""
    dynamics_scale: NonNegativeFloat = 1.0
    """Weight of the KL for the prior. Dreamer V2: 0.8; V3: 1 (arXiv v1: 0.5)."""
    representation_scale: NonNegativeFloat = 1.0
    """Weight of the KL for the posterior. Dreamer V2: 0.2; V3: 0.1. 1 and 1 have the plain
    KL's gradient, and count it twice in the loss."""
    free_nats: NonNegativeFloat = 3.0
    """Of each of the two, what costs nothing, in nats. Dreamer V2: 1 on the control suite, 0 on Atari; V3: 1."""
    free_nats_averaged: bool = True
    """Free of the mean KL of a batch; else of every step's, as in Dreamer V3."""
    rewards: Annotated[str, OneOf(REWARDS)] = "raw"
    """What rewards are put through before they are learned. Dreamer V2 on Atari: tanh."""


@dataclass(frozen=True, kw_only=True)
class BehaviourConfig(Config):
    """What actor and critic learn from. Defaults: Dreamer V1 (arXiv 1912.01603, appendix A)."""

    horizon: Annotated[int, Bound(ge=2)] = 15
    """H, decisions that are imagined."""
    discount: UnitInterval = 0.99
    """Per decision. Dreamer V2 on Atari: 0.999; V3: 1 - 1/333."""
    lam: UnitInterval = 0.95
    """Lambda of the returns."""
    entropy_scale: NonNegativeFloat = 0.0
    """Weight of the actor's entropy. Dreamer V2: 1e-4 on the control suite, 1e-3 on Atari; V3: 3e-4."""
    starts: NonNegativeInt = 0
    """Imagine from this many of a window's last steps; 0, or more than it has: from all."""


@dataclass(frozen=True, kw_only=True)
class CriticConfig(Config):
    """What values are predicted by, in Dreamer V1 and V2. Defaults: Dreamer V1 (appendix A)."""

    hidden: PositiveInt = 400
    """Units per hidden layer."""
    layers: NonNegativeInt = 3
    """Hidden layers. Dreamer V2: 4."""


def check_model(model: WorldModelConfig) -> None:
    """Refuses a model whose prior nothing would teach.

    Raises:
        ConfigError: naming the setting.
    """
    advice = "nothing but PlaNet's observation overshooting would teach its predictions"
    model.require(model.kind != "rnn", "kind", "rssm or ssm", advice)


def check_entropy(actor: ActorConfig) -> None:
    """Refuses an actor whose entropy is not known.

    Raises:
        ConfigError: naming the setting.
    """
    known = "a distribution whose entropy has a closed form"
    actor.require(actor.kind != "tanh_normal", "kind", known, "choose truncated_normal or normal, or Dreamer V1")


def resolve_gradient(gradient: str, *, discrete: bool) -> str:
    """What `actor_gradient` means where it is auto: REINFORCE for choices, through the model's steps for the rest."""
    return ("reinforce" if discrete else "dynamics") if gradient == "auto" else gradient


class Dream(NamedTuple):
    """An imagined rollout from N beliefs; step 0 is where it starts.

    Attributes:
        beliefs: [H + 1, N, ...].
        features: [H + 1, N, F].
        actions: [H, N, A], action t is taken at step t; as drawn, while the model is given them clipped to [-1, 1].
        reward: [H + 1, N], expected, for getting to each step.
        discount: [H + 1, N], what the future after each step counts.
    """

    beliefs: Belief
    features: Array
    actions: Array
    reward: Array
    discount: Array


class CriticBatch(NamedTuple):
    """What the critic of Dreamer V1 and V2 learns from.

    Attributes:
        features: [L, N, F], of imagined steps.
        returns: [L, N], theirs.
        weight: [L, N], what a step counts: the product of the discounts before it.
    """

    features: Array
    returns: Array
    weight: Array


def make_model_loss(losses: ModelLossConfig, model: WorldModel, discount: float) -> Callable:
    """The world model's loss, averaged over batch and time.

    -log p(o | s) - c_r log p(r | s) - c_t log p(continue | s) + c_d KL(sg(q) || p) + c_q KL(q || sg(p)), with free nats
    (Dreamer V1 eq. 10, V2 eq. 2 and algorithm 2, V3 eq. 2 and 3). What continues is learned as the discount, as all
    released versions do: the target is `discount`, and zero at a termination.

    Args:
        losses: weights.
        model: the world model.
        discount: per decision.

    Returns:
        (params, batch [T, B], key) -> (loss in nats per step, (metrics, beliefs [T, B, ...])).
    """

    def loss(params: Params, batch: Batch, key: Key) -> tuple[Array, tuple[dict[str, Array], Belief]]:
        pixel_key, filter_key = jax.random.split(key)
        observation = model.preprocess(batch.observation, pixel_key)
        embeds = model.encode(params, observation)
        initial = model.initial(batch.reward.shape[1:])
        beliefs, (posteriors, priors) = observe(
            model, params, initial, batch.action, embeds, batch.is_first, filter_key
        )
        reward = REWARDS[losses.rewards](batch.reward)
        metrics = {
            "observation_nll": -jnp.mean(distributions.log_prob(model.decode(params, beliefs), observation)),
            "reward_nll": -jnp.mean(distributions.log_prob(model.reward(params, beliefs), reward[..., None])),
        }
        total = metrics["observation_nll"] + losses.reward_scale * metrics["reward_nll"]
        if model.terminal:
            ends = 1.0 - discount * (1.0 - batch.is_terminal)
            error = optax.sigmoid_binary_cross_entropy(model.terminal(params, beliefs), ends)
            metrics["terminal_nll"] = jnp.mean(error)
            total += losses.terminal_scale * metrics["terminal_nll"]
        dynamics, representation = balanced(model.divergence, posteriors, priors)
        metrics["kl"] = jnp.mean(dynamics)
        for scale, kl in ((losses.dynamics_scale, dynamics), (losses.representation_scale, representation)):
            total += scale * free_nats_floor(kl, losses.free_nats, averaged=losses.free_nats_averaged)
        return total, (metrics, beliefs)

    return loss


def imagination_starts(steps: Any, last: int) -> Any:
    """Where imagination starts: the last steps of every window, all of them with 0: [T, B, ...] -> [T * B, ...]."""
    return jax.tree.map(lambda x: x[-last:].reshape(-1, *x.shape[2:]), jax.lax.stop_gradient(steps))


def make_dream(model: WorldModel, actor: Network, config: BehaviourConfig) -> Callable:
    """Imagination: the actor sees features without gradient, the model passes gradients from rewards to actions.

    Args:
        model: the world model.
        actor: from features to distributions over actions.
        config: horizon and discount.

    Returns:
        (params, actor_params, starts [N, ...], key) -> Dream.
    """
    continues = continue_probability(model)

    def dream(params: Params, actor_params: Params, starts: Belief, key: Key) -> Dream:
        def policy(belief: Belief, key: Key) -> Array:
            seen = jax.lax.stop_gradient(feature(belief))
            return distributions.sample(actor.apply(actor_params, seen), key)

        beliefs, actions = imagine_with(model, params, starts, policy, key, horizon=config.horizon)
        reward = model.reward(params, beliefs).mean[..., 0]
        discount = continues(params, beliefs) if continues else jnp.full_like(reward, config.discount)
        return Dream(beliefs, feature(beliefs), actions, reward, discount)

    return dream


def make_networks(config: Any, spec: EnvSpec) -> tuple[WorldModel, Network, Network]:
    """The world model, actor and critic that a config of Dreamer V1 or V2 stands for."""
    model = make_world_model(config.model, spec)
    size = feature(model.initial((1,))).shape[-1]
    actor = make_actor(config.actor, size, spec, dtype=config.model.dtype)
    return model, actor, make_critic(config.critic, size, config.model)


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
    """One each for the three that learn apart in Dreamer V1 and V2: parameters, optimisers, their states, gradients."""

    model: Any
    actor: Any
    critic: Any


def init_params(model: WorldModel, actor: Network, critic: Network, key: Key) -> Params:
    """The parameters of all three; the model's parts lie beside "actor" and "critic"."""
    keys = jax.random.split(key, 3)
    return model.init(keys[0]) | {"actor": actor.init(keys[1]), "critic": critic.init(keys[2])}


def split(params: Params) -> Trainables:
    """The parameters of model, actor and critic."""
    rest = {name: part for name, part in params.items() if name not in ("actor", "critic")}
    return Trainables(rest, params["actor"], params["critic"])


def join(parts: Trainables) -> Params:
    """What `split` takes apart."""
    return parts.model | {"actor": parts.actor, "critic": parts.critic}


def apply_gradients(
    optimizers: Trainables, states: Trainables, params: Trainables, **gradients: Params
) -> tuple[Trainables, Trainables]:
    """One step of each part that a gradient is given for.

    Args:
        optimizers: one per part.
        states: theirs.
        params: the parts' parameters.
        **gradients: a part's name -> its gradient.

    Returns:
        (params, states), the other parts as they were.
    """
    for name, gradient in gradients.items():
        own, state = getattr(params, name), getattr(states, name)
        steps, state = getattr(optimizers, name).update(gradient, state, own)
        params = params._replace(**{name: optax.apply_updates(own, steps)})
        states = states._replace(**{name: state})
    return params, states


def summary(losses: Trainables, gradients: Trainables) -> dict[str, Array]:
    """Metrics: each part's loss and its gradient's norm, `loss` (the model's), and whether all are finite."""
    metrics = {f"{name}_loss": loss for name, loss in losses._asdict().items()}
    metrics |= {f"{name}_grad_norm": optax.tree.norm(gradient) for name, gradient in gradients._asdict().items()}
    finite = jnp.all(jnp.isfinite(jnp.stack(list(metrics.values()))))
    return metrics | {"loss": losses.model, "finite": finite.astype(jnp.float32)}
