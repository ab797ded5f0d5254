"""Dreamer V3: one set of hyperparameters for all tasks (Hafner et al. 2023, arXiv 2301.04104v2; Nature 2025)."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from latentplan import distributions
from latentplan.agents.config import AgentConfig
from latentplan.agents.dreamer.acting import EvalAction, make_dreamer, make_objective
from latentplan.agents.dreamer.actor_critic import init_params, make_networks
from latentplan.agents.dreamer.imagination import (
    BehaviourConfig,
    Rollout,
    check_entropy,
    imagination_metrics,
    imagination_starts,
    make_imagination,
    resolve_gradient,
)
from latentplan.agents.dreamer.world_loss import REWARDS, ModelLossConfig, check_model, make_model_loss
from latentplan.agents.optimizers import adaptive_clip, chain, laprop, rate_schedule, scale_parts
from latentplan.config import Config, Fields, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, Rate, Share
from latentplan.distributions import Gaussian, OneHot, TruncatedGaussian
from latentplan.losses.returns import Range, lambda_returns, track_range
from latentplan.models.actor import ActorConfig
from latentplan.models.heads import make_scalar_head
from latentplan.models.world_model import WorldModelConfig, feature
from latentplan.nets.network import Network, Style
from latentplan.planners import AnyPlanner
from latentplan.planners.policy import PolicyConfig
from latentplan.types import Agent, Array, Batch, EnvSpec, Key, Metrics, Params, Sample, TrainState, WorldModel

_SATURATED = 0.95  # beyond it, an action's noise is cut off on one side
NETWORKS: Fields = {"activation": "silu", "norm": "rms", "weights": "truncated"}  # of all networks


@dataclass(frozen=True, kw_only=True)
class CriticV3Config(Config):
    """The critic network and its loss. Defaults: Dreamer V3 (`configs.yaml`)."""

    hidden: PositiveInt = 1024
    """Units per hidden layer."""
    layers: NonNegativeInt = 3
    """Hidden layers."""
    slow_rate: Rate = 0.02
    """Polyak rate of the slow critic."""
    slow_scale: NonNegativeFloat = 1.0
    """Weight of the regulariser towards the slow critic's prediction."""
    replay_scale: NonNegativeFloat = 0.3
    """Weight of the critic's loss on replayed steps, whose gradient also reaches the model; 0 for none, as in arXiv
    v1."""


@dataclass(frozen=True, kw_only=True)
class LaPropConfig(Config):
    """One optimiser for all parameters. Defaults: Dreamer V3 (Nature 2025, extended table 4)."""

    learning_rate: PositiveFloat = 4e-5
    """Learning rate."""
    actor_scale: PositiveFloat = 1.0
    """The actor's learning rate, relative to the model's. arXiv v1: 0.3."""
    critic_scale: PositiveFloat = 1.0
    """The critic's learning rate, relative to the model's. arXiv v1: 0.3."""
    beta1: Share = 0.9
    """Decay of the momentum."""
    beta2: Share = 0.999
    """Decay of the mean square."""
    eps: PositiveFloat = 1e-20
    """Epsilon, added to the root of the mean square."""
    clip: PositiveFloat = 0.3
    """Adaptive clipping: maximum norm of a tensor's gradient, relative to the tensor's norm."""
    warmup: NonNegativeInt = 1000
    """Updates of linear learning-rate warm-up."""
    decay_from: NonNegativeInt = 0
    """Update at which the learning rate begins to fall, linearly."""
    decay_to: NonNegativeInt = 0
    """Update from which on it stays at `decay_share` of itself; 0: it never falls, as published."""
    decay_share: Share = 0.1
    """Final learning rate, relative to `learning_rate`."""

    def check(self) -> None:
        """Checks constraints between fields."""
        falls = not self.decay_to or self.warmup <= self.decay_from < self.decay_to
        expected = f"from warmup = {self.warmup} to less than decay_to = {self.decay_to}"
        self.require(falls, "decay_from", expected, "or set decay_to to 0")


def model_config(**sizes: int) -> WorldModelConfig:
    """Dreamer V3's world model (`configs.yaml`), with 200M parameters unless other sizes are given."""
    published: Fields = {
        "deter": 8192, "hidden": 1024, "stoch": 32, "classes": 64, "layers": 1, "prior_layers": 2,
        "cell": "block", "unimix": 0.01, "conv_activation": "silu", "conv_norm": "rms", "image_bits": 0,
        "conv": "dreamer_v3", "conv_depth": 64, "reward": "two_hot", "reward_hidden": 1024, "reward_layers": 1,
        "vector_hidden": 1024, "vector_layers": 3, "vector_output": "activated", "predict_terminal": True,
        "pixel_std": 0.5**0.5, "vector_std": 0.5**0.5,  # makes -log p the squared error
    }  # fmt: skip
    return WorldModelConfig(**(published | NETWORKS | sizes))


@dataclass(frozen=True, kw_only=True)
class DreamerV3Config(AgentConfig):
    """Settings of Dreamer V3. Defaults: 200M parameters, Nature 2025."""

    model: WorldModelConfig = field(default_factory=model_config)
    """The world model."""
    loss: ModelLossConfig = field(
        default_factory=lambda: ModelLossConfig(
            terminal_scale=1.0, dynamics_scale=1.0, representation_scale=0.1, free_nats=1.0, free_nats_averaged=False
        )
    )
    """Weights of the world model's loss."""
    actor: ActorConfig = field(
        default_factory=lambda: ActorConfig(
            kind="normal", hidden=1024, layers=3, output_scale=0.01, min_std=0.1, unimix=0.01, **NETWORKS
        )
    )
    """The actor network."""
    critic: CriticV3Config = field(default_factory=CriticV3Config)
    """The critic network."""
    behaviour: BehaviourConfig = field(
        default_factory=lambda: BehaviourConfig(discount=1 - 1 / 333, entropy_scale=3e-4)
    )
    """Imagination and returns, on which actor and critic are trained."""
    actor_gradient: Literal["reinforce", "dynamics", "auto"] = "reinforce"
    """The actor's gradient: reinforce, dynamics (through the model's steps), or auto: dynamics for continuous actions,
    else reinforce, as in the code of arXiv v1, whose optimiser is Adam."""
    return_rate: Rate = 0.01
    """Step size of the moving average of the return range."""
    optimizer: LaPropConfig = field(default_factory=LaPropConfig)
    """Optimiser settings."""
    planner: AnyPlanner = field(default_factory=lambda: PolicyConfig(horizon=15))
    """The planner that selects actions: policy (the actor), or a planner over the model with the critic as terminal
    value."""
    action_noise: NonNegativeFloat = 0.0
    """Std of the exploration noise; for discrete actions, the probability of a random one."""
    eval_action: EvalAction = "sample"
    """The actor's action at evaluation: the mode of its distribution, or a sample, as in V3's code (`agent.py`,
    policy)."""

    def check(self) -> None:
        """Checks constraints between fields."""
        check_model(self.model)
        check_entropy(self.actor)


class LearnerState(NamedTuple):
    """Learner state besides the parameters.

    Attributes:
        optimizer: the optimiser's state.
        slow_critic: moving average of the critic's parameters.
        returns: the tracked range of returns.
    """

    optimizer: optax.OptState
    slow_critic: Params
    returns: Range


Loss = Callable[..., tuple[Array, tuple[Metrics, Range]]]
"""(params, slow_critic, return range, batch [T, B], key, updates taken = 0) -> (loss, (metrics, new return range))."""
CriticError = Callable[[Params, Params, Array, Array], Array]
"""(critic's params, slow critic's params, features [..., F], target [...]) -> error per step [...], in nats."""
ReplayLoss = Callable[[Params, Params, Batch, Array, Array], Array]
"""(params, slow_critic, batch [T, B], features [T, B, F], returns imagined from its last steps) -> scalar, in nats."""


def make_dreamer_v3(config: DreamerV3Config, spec: EnvSpec) -> Agent:
    """Builds the agent.

    Args:
        config: model, losses, actor, critic, optimiser.
        spec: of the environment.

    Returns:
        Agent of pure functions.

    Raises:
        ValueError: the model does not support these observations.
    """
    model, actor, critic = make_networks(
        config.model, config.actor, spec, lambda size: make_critic(config.critic, size, config.model.dtype)
    )
    rates = config.optimizer
    decay = rates.decay_from, rates.decay_to
    rate = rate_schedule(rates.learning_rate, warmup=rates.warmup, decay=decay, least=rates.decay_share)
    optimizer = chain(
        adaptive_clip(rates.clip),
        laprop(rate, beta1=rates.beta1, beta2=rates.beta2, eps=rates.eps),
        scale_parts({"actor": rates.actor_scale, "critic": rates.critic_scale}),
    )
    loss = make_loss(config, model, actor, critic, discrete=spec.discrete)

    def init(key: Key, params: Params | None = None) -> TrainState:
        params = init_params(model, actor, critic, key) if params is None else params
        slow = jax.tree.map(jnp.copy, params["critic"])
        zeros = Range(jnp.float32(0.0), jnp.float32(0.0))
        return TrainState(params, LearnerState(optimizer.init(params), slow, zeros), jnp.int32(0))

    def update(state: TrainState, sample: Sample, key: Key) -> tuple[TrainState, Metrics]:
        learning: LearnerState = state.opt_state
        (total, (metrics, returns)), gradients = jax.value_and_grad(loss, has_aux=True)(
            state.params, learning.slow_critic, learning.returns, sample.batch, key, state.updates
        )
        steps, opt_state = optimizer.update(gradients, learning.optimizer, state.params)
        params = optax.apply_updates(state.params, steps)
        slow = optax.incremental_update(params["critic"], learning.slow_critic, config.critic.slow_rate)
        norm = optax.tree.norm(gradients)
        # Two-hot targets would mask an infinite reward.
        numbers = jnp.stack([total, norm, jnp.sum(sample.batch.reward)])
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


def make_critic(config: CriticV3Config, feature_size: int, dtype: str) -> Network:
    """Builds the critic: features [..., F] to probabilities of 255 bins, with an initial value of zero."""
    style = Style(**NETWORKS, dtype=dtype)
    return make_scalar_head(feature_size, "two_hot", hidden=config.hidden, layers=config.layers, style=style)


def make_loss(config: DreamerV3Config, model: WorldModel, actor: Network, critic: Network, *, discrete: bool) -> Loss:
    """The sum of the model's loss, the actor's and critic's on imagined steps, and the critic's on replayed steps.

    actor: -w (log pi(a) sg((R - v) / scale) + eta H(pi));  critic: w (-log p(R) - log p(slow v)), both on imagined
    steps, where w is the product of the discounts up to and including a step's own (Nature 2025, eq. 4 to 7;
    `agent.py`). With the dynamics gradient, the actor's first term is (R - v) / scale. There v has a gradient, too, so
    that an action's effect on later steps counts only in its own return (arXiv v1's code, `ImagActorCritic`).

    Args:
        config: of the agent.
        model: its world model.
        actor: its actor.
        critic: its critic.
        discrete: whether actions are one-hot.

    Returns:
        Loss.
    """
    behaviour, values = config.behaviour, config.critic
    model_loss = make_model_loss(config.loss, model, behaviour.discount)
    imagine = make_imagination(model, actor, behaviour)
    through_model = resolve_gradient(config.actor_gradient, discrete=discrete) == "dynamics"
    critic_error = make_critic_error(values, critic)
    replay_loss = make_replay_loss(config, critic, critic_error)

    def loss(
        params: Params, slow_critic: Params, returns: Range, batch: Batch, key: Key, updates: Array | int = 0
    ) -> tuple[Array, tuple[Metrics, Range]]:
        model_key, imagine_key = jax.random.split(key)
        total, (metrics, beliefs) = model_loss(params, batch, model_key, updates)

        fixed = jax.lax.stop_gradient(params)
        actor_params = (params if through_model else fixed)["actor"]
        imagined = imagine(fixed, actor_params, imagination_starts(beliefs, behaviour.starts), imagine_key)
        value = critic.apply(fixed["critic"], imagined.features).mean[..., 0]
        reached = lambda_returns(imagined.reward[1:], imagined.discount[1:], value[1:], behaviour.lam)
        advantage = reached - value[:-1]
        imagined, value, target = jax.lax.stop_gradient((imagined, value, reached))
        returns = track_range(returns, target, config.return_rate)
        weight = jnp.cumprod(imagined.discount, 0)[:-1]

        policy = actor.apply(params["actor"], imagined.features[:-1])
        objective, entropy = actor_objective(policy, imagined, advantage, returns.scale)
        if not discrete:
            metrics["actor_saturated"] = jnp.mean(jnp.abs(distributions.mode(policy)) > _SATURATED)
        metrics["actor_loss"] = -jnp.mean(weight * objective)
        error = critic_error(params["critic"], slow_critic, imagined.features[:-1], target)
        metrics["critic_loss"] = jnp.mean(weight * error)
        total += metrics["actor_loss"] + metrics["critic_loss"]

        if values.replay_scale:
            metrics["replay_critic_loss"] = replay_loss(params, slow_critic, batch, feature(beliefs), target[0])
            total += values.replay_scale * metrics["replay_critic_loss"]
        metrics |= imagination_metrics(imagined, target, value)
        metrics |= {"return_scale": returns.scale, "actor_entropy": jnp.mean(entropy)}
        return total, (metrics, returns)

    def actor_objective(
        policy: Gaussian | OneHot | TruncatedGaussian, imagined: Rollout, advantage: Array, scale: Array
    ) -> tuple[Array, Array]:
        """The actor's objective and its entropy at each imagined step, [H, B] each."""
        entropy = distributions.entropy(policy)
        if through_model:
            gain = advantage / scale
        else:
            gain = distributions.log_prob(policy, imagined.actions) * (jax.lax.stop_gradient(advantage) / scale)
        return gain + behaviour.entropy_scale * entropy, entropy

    return loss


def make_critic_error(config: CriticV3Config, critic: Network) -> CriticError:
    """-log p(target) - c log p(slow critic's value): the second term regularises towards the slow critic.

    Args:
        config: of the critic; c is `slow_scale`.
        critic: from features to a value's distribution.

    Returns:
        CriticError.
    """

    def critic_error(params: Params, slow: Params, features: Array, target: Array) -> Array:
        value = critic.apply(params, features)
        slow_value = jax.lax.stop_gradient(critic.apply(slow, features).mean)
        errors = [-distributions.log_prob(value, goal) for goal in (target[..., None], slow_value)]
        return errors[0] + config.slow_scale * errors[1]

    return critic_error


def make_replay_loss(config: DreamerV3Config, critic: Network, critic_error: CriticError) -> ReplayLoss:
    """The critic's loss on replayed steps: real rewards, bootstrapped with the returns imagined from each step.

    Returns do not cross episode boundaries; steps without imagination are bootstrapped with the critic.

    Args:
        config: of the agent.
        critic: from features to a value's distribution.
        critic_error: per step.

    Returns:
        ReplayLoss.
    """
    behaviour = config.behaviour

    def replay_loss(params: Params, slow_critic: Params, batch: Batch, features: Array, imagined: Array) -> Array:
        advice = "raise the replay's batch_length"
        config.critic.require(len(batch.reward) > 1, "replay_scale", "0 with windows of one record", advice)
        imagined = imagined.reshape(-1, batch.reward.shape[1])  # [T, B], or the last steps
        known = critic.apply(params["critic"], features[: -len(imagined)]).mean[..., 0]
        ahead = jax.lax.stop_gradient(jnp.concatenate([known, imagined]))
        live = jnp.where(batch.is_terminal[1:], 0.0, behaviour.discount)
        share = jnp.where(batch.is_last[1:], 0.0, behaviour.lam)
        reward = REWARDS[config.loss.rewards](batch.reward)
        target = lambda_returns(reward[1:], live, ahead[1:], share)
        error = critic_error(params["critic"], slow_critic, features[:-1], target)
        return jnp.mean(jnp.where(batch.is_last[:-1], 0.0, error))

    return replay_loss
