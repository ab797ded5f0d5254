"""Dreamer V3: one set of hyper-parameters for all tasks (Hafner et al. 2023, arXiv 2301.04104v2; Nature 2025)."""

from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from latentplan import distributions
from latentplan.agents.config import AgentConfig
from latentplan.agents.dreamer.acting import EvalAction, make_dreamer, make_objective
from latentplan.agents.dreamer.imagination import (
    REWARDS,
    BehaviourConfig,
    ModelLossConfig,
    check_entropy,
    check_model,
    imagination_starts,
    init_params,
    make_dream,
    make_model_loss,
    resolve_gradient,
)
from latentplan.agents.optimizers import adaptive_clip, laprop, scale_parts
from latentplan.config import (
    Config,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Rate,
    Share,
)
from latentplan.losses.returns import Range, lambda_returns, track_range
from latentplan.models.actor import ActorConfig, make_actor
from latentplan.models.heads import make_scalar_head
from latentplan.models.world_model import WorldModelConfig, feature, make_world_model
from latentplan.nets.network import Network, Style
from latentplan.planners import AnyPlanner
from latentplan.planners.policy import PolicyConfig
from latentplan.types import Agent, Array, Batch, EnvSpec, Key, Params, Sample, TrainState, WorldModel

NETWORKS: dict[str, Any] = {"activation": "silu", "norm": "rms", "weights": "truncated"}  # throughout


@dataclass(frozen=True, kw_only=True)
class CriticV3Config(Config):
    """What values are predicted by, and how they are learned. Defaults: Dreamer V3 (`configs.yaml`)."""

    hidden: PositiveInt = 1024
    """Units per hidden layer."""
    layers: NonNegativeInt = 3
    """Hidden layers."""
    slow_rate: Rate = 0.02
    """Share of the way that the slow critic goes per update."""
    slow_scale: NonNegativeFloat = 1.0
    """Weight of the slow critic's prediction as a second target."""
    replay_scale: NonNegativeFloat = 0.3
    """Weight of the values of replayed steps, whose gradient reaches the model; 0 is none, as in arXiv v1."""


@dataclass(frozen=True, kw_only=True)
class LaPropConfig(Config):
    """One optimiser for everything. Defaults: Dreamer V3 (Nature 2025, extended table 4)."""

    learning_rate: PositiveFloat = 4e-5
    """Step size."""
    actor_scale: PositiveFloat = 1.0
    """The actor's step size, relative to the model's. arXiv v1: 0.3."""
    critic_scale: PositiveFloat = 1.0
    """The critic's. arXiv v1: 0.3."""
    beta1: Share = 0.9
    """Decay of the momentum."""
    beta2: Share = 0.999
    """Decay of the mean square."""
    eps: PositiveFloat = 1e-20
    """Added to its root."""
    clip: PositiveFloat = 0.3
    """Largest norm of a tensor's gradient, in norms of the tensor."""
    warmup: NonNegativeInt = 1000
    """Updates over which the step size rises."""


def model_config(**sizes: Any) -> WorldModelConfig:
    """The world model as Dreamer V3 has it, 200M parameters unless sizes say otherwise (`configs.yaml`)."""
    published: dict[str, Any] = {
        "deter": 8192, "hidden": 1024, "stoch": 32, "classes": 64, "layers": 1, "prior_layers": 2,
        "cell": "block", "unimix": 0.01, "conv_activation": "silu", "conv_norm": "rms", "image_bits": 0,
        "conv": "dreamer_v3", "conv_depth": 64, "reward": "two_hot", "reward_hidden": 1024, "reward_layers": 1,
        "vector_hidden": 1024, "vector_layers": 3, "vector_output": "activated", "predict_terminal": True,
        "pixel_std": 0.5**0.5, "vector_std": 0.5**0.5,  # -log p is then the squared error
    }  # fmt: skip
    return WorldModelConfig(**(published | NETWORKS | sizes))


@dataclass(frozen=True, kw_only=True)
class DreamerV3Config(AgentConfig):
    """Everything the agent is built from. Defaults: 200M parameters, Nature 2025."""

    model: WorldModelConfig = field(default_factory=model_config)
    """The world model."""
    loss: ModelLossConfig = field(
        default_factory=lambda: ModelLossConfig(
            terminal_scale=1.0, dynamics_scale=1.0, representation_scale=0.1, free_nats=1.0, free_nats_averaged=False
        )
    )
    """What the model minimises."""
    actor: ActorConfig = field(
        default_factory=lambda: ActorConfig(
            kind="normal", hidden=1024, layers=3, output_scale=0.01, min_std=0.1, unimix=0.01, **NETWORKS
        )
    )
    """What acts."""
    critic: CriticV3Config = field(default_factory=CriticV3Config)
    """What values are predicted by."""
    behaviour: BehaviourConfig = field(
        default_factory=lambda: BehaviourConfig(discount=1 - 1 / 333, entropy_scale=3e-4)
    )
    """What actor and critic learn from."""
    actor_gradient: Literal["reinforce", "dynamics", "auto"] = "reinforce"
    """How the actor learns: by REINFORCE, through the model's steps, or auto: the latter for continuous actions, as in
    the code of arXiv v1, whose optimiser is Adam."""
    return_rate: Rate = 0.01
    """Share of the way that the range of returns goes per update."""
    optimizer: LaPropConfig = field(default_factory=LaPropConfig)
    """How everything learns."""
    planner: AnyPlanner = field(default_factory=lambda: PolicyConfig(horizon=15))
    """What acts: the actor (policy), or a planner over the model, with the critic at a plan's end."""
    action_noise: NonNegativeFloat = 0.0
    """Std of the noise that exploration adds; of discrete actions, the share of random ones."""
    eval_action: EvalAction = "sample"
    """What the actor does at evaluation: the mode, or sample, as V3's code (`agent.py`, policy)."""

    def check(self) -> None:
        """Rules between fields."""
        check_model(self.model)
        check_entropy(self.actor)


class LearnerState(NamedTuple):
    """What learning keeps beside the parameters.

    Attributes:
        optimizer: its state.
        slow_critic: parameters that follow the critic's.
        returns: their range.
    """

    optimizer: Any
    slow_critic: Params
    returns: Range


def make_dreamer_v3(config: DreamerV3Config, spec: EnvSpec) -> Agent:
    """Builds the agent.

    Args:
        config: model, losses, actor, critic, optimiser.
        spec: of the environment.

    Returns:
        Agent of pure functions.

    Raises:
        ValueError: for observations no model fits.
    """
    model = make_world_model(config.model, spec)
    feature_size = feature(model.initial((1,))).shape[-1]
    actor = make_actor(config.actor, feature_size, spec, dtype=config.model.dtype)
    style = Style(**NETWORKS, dtype=config.model.dtype)
    critic = make_scalar_head(
        feature_size, "two_hot", hidden=config.critic.hidden, layers=config.critic.layers, style=style
    )
    rates = config.optimizer
    optimizer = optax.chain(
        adaptive_clip(rates.clip),
        laprop(rates.learning_rate, beta1=rates.beta1, beta2=rates.beta2, eps=rates.eps, warmup=rates.warmup),
        scale_parts({"actor": rates.actor_scale, "critic": rates.critic_scale}),
    )
    loss = make_loss(config, model, actor, critic, discrete=spec.discrete)

    def init(key: Key) -> TrainState:
        params = init_params(model, actor, critic, key)
        slow = jax.tree.map(jnp.copy, params["critic"])
        zeros = Range(jnp.float32(0.0), jnp.float32(0.0))
        return TrainState(params, LearnerState(optimizer.init(params), slow, zeros), jnp.int32(0))

    def update(state: TrainState, sample: Sample, key: Key) -> tuple[TrainState, dict[str, Array]]:
        learning: LearnerState = state.opt_state
        (total, (metrics, returns)), gradients = jax.value_and_grad(loss, has_aux=True)(
            state.params, learning.slow_critic, learning.returns, sample.batch, key
        )
        steps, opt_state = optimizer.update(gradients, learning.optimizer, state.params)
        params = optax.apply_updates(state.params, steps)
        slow = optax.incremental_update(params["critic"], learning.slow_critic, config.critic.slow_rate)
        norm = optax.tree.norm(gradients)
        numbers = jnp.stack([total, norm, jnp.sum(sample.batch.reward)])  # two-hot targets would hide an infinity
        finite = jnp.all(jnp.isfinite(numbers))
        metrics |= {"loss": total, "grad_norm": norm, "finite": finite.astype(jnp.float32)}
        return TrainState(params, LearnerState(opt_state, slow, returns), state.updates + 1), metrics

    return make_dreamer(
        init=init,
        update=update,
        model=model,
        actor=actor,
        objective=make_objective(model, critic, config.behaviour, value_has_reward=False),
        config=config,
        spec=spec,
    )


def make_loss(config: DreamerV3Config, model: WorldModel, actor: Network, critic: Network, *, discrete: bool):
    """The model's loss, then actor and critic on imagined steps, then the critic on replayed ones.

    actor: -w (log pi(a) sg((R - v) / scale) + eta H(pi));  critic: w (-log p(R) - log p(slow v)), both along the
    imagined steps, w being the product of the discounts up to and including a step's (Nature 2025, eq. 4 to 7;
    `agent.py`). Through the model, (R - v) / scale takes the place of the actor's first term. Its v has a gradient,
    too: what an action does to the steps after it counts in its own return alone (arXiv v1's code, `ImagActorCritic`).

    Args:
        config: of the agent.
        model: its world model.
        actor: its actor.
        critic: its critic.
        discrete: whether actions are choices.

    Returns:
        (params, slow_critic, returns, batch [T, B], key) -> (loss, (metrics, the new range of returns)).
    """
    behaviour, values = config.behaviour, config.critic
    model_loss = make_model_loss(config.loss, model, behaviour.discount)
    dream = make_dream(model, actor, behaviour)
    dynamics = resolve_gradient(config.actor_gradient, discrete=discrete) == "dynamics"

    def critic_error(params: Params, slow: Params, features: Array, target: Array) -> Array:
        value = critic.apply(params, features)
        slow_value = jax.lax.stop_gradient(critic.apply(slow, features).mean)
        errors = [-distributions.log_prob(value, goal) for goal in (target[..., None], slow_value)]
        return errors[0] + values.slow_scale * errors[1]

    def loss(params: Params, slow_critic: Params, returns: Range, batch: Batch, key: Key):
        model_key, dream_key = jax.random.split(key)
        total, (metrics, beliefs) = model_loss(params, batch, model_key)

        fixed = jax.lax.stop_gradient(params)
        acting = (params if dynamics else fixed)["actor"]
        dreamt = dream(fixed, acting, imagination_starts(beliefs, behaviour.starts), dream_key)
        value = critic.apply(fixed["critic"], dreamt.features).mean[..., 0]
        reached = lambda_returns(dreamt.reward[1:], dreamt.discount[1:], value[1:], behaviour.lam)
        advantage = reached - value[:-1]
        dreamt, value, target = jax.lax.stop_gradient((dreamt, value, reached))
        returns = track_range(returns, target, config.return_rate)
        weight = jnp.cumprod(dreamt.discount, 0)[:-1]

        policy = actor.apply(params["actor"], dreamt.features[:-1])
        entropy = distributions.entropy(policy)
        if dynamics:
            gain = advantage / returns.scale
        else:
            gain = distributions.log_prob(policy, dreamt.actions) * (jax.lax.stop_gradient(advantage) / returns.scale)
        objective = gain + behaviour.entropy_scale * entropy
        metrics["actor_loss"] = -jnp.mean(weight * objective)
        error = critic_error(params["critic"], slow_critic, dreamt.features[:-1], target)
        metrics["critic_loss"] = jnp.mean(weight * error)
        total += metrics["actor_loss"] + metrics["critic_loss"]

        if values.replay_scale:
            metrics["replay_critic_loss"] = replay_loss(params, slow_critic, batch, feature(beliefs), target[0])
            total += values.replay_scale * metrics["replay_critic_loss"]
        metrics |= {
            "imagined_reward": jnp.mean(dreamt.reward[1:]),
            "imagined_return": jnp.mean(target),
            "value": jnp.mean(value),
            "return_scale": returns.scale,
            "actor_entropy": jnp.mean(entropy),
        }
        return total, (metrics, returns)

    def replay_loss(params: Params, slow_critic: Params, batch: Batch, features: Array, imagined: Array) -> Array:
        """Values of replayed steps: real rewards, bootstrapped by the returns imagined from each; no end is crossed.

        Steps that nothing is imagined from are bootstrapped by the critic.
        """
        advice = "raise the replay's batch_length"
        config.critic.require(len(batch.reward) > 1, "replay_scale", "0 with windows of one record", advice)
        imagined = imagined.reshape(-1, batch.reward.shape[1])  # [T, B], or the last steps
        known = critic.apply(params["critic"], features[: -len(imagined)]).mean[..., 0]
        ahead = jax.lax.stop_gradient(jnp.concatenate([known, imagined]))
        live = behaviour.discount * (1.0 - batch.is_terminal[1:])
        share = behaviour.lam * (1.0 - batch.is_last[1:])
        reward = REWARDS[config.loss.rewards](batch.reward)
        target = lambda_returns(reward[1:], live, ahead[1:], share)
        error = critic_error(params["critic"], slow_critic, features[:-1], target)
        return jnp.mean(jnp.where(batch.is_last[:-1], 0.0, error))

    return loss
