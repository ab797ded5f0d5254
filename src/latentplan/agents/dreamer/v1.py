"""Dreamer V1: an actor trained by back-propagation through imagined steps (Hafner et al. 2020, arXiv 1912.01603)."""

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp

from latentplan.agents.config import AgentConfig
from latentplan.agents.dreamer.acting import EvalAction, make_dreamer, make_objective
from latentplan.agents.dreamer.actor_critic import (
    ActorLoss,
    CriticBatch,
    CriticConfig,
    Trainables,
    apply_gradients,
    init_params,
    init_states,
    join,
    make_behaviour,
    make_critic,
    make_critic_loss,
    make_networks,
    split,
    summary,
)
from latentplan.agents.dreamer.imagination import BehaviourConfig, imagination_metrics, make_imagination
from latentplan.agents.dreamer.world_loss import ModelLossConfig, check_model, make_model_loss
from latentplan.agents.optimizers import AdamsConfig, make_adams
from latentplan.config import NonNegativeFloat
from latentplan.losses.returns import lambda_returns
from latentplan.models.actor import ActorConfig
from latentplan.models.world_model import WorldModelConfig
from latentplan.nets.network import Network
from latentplan.planners import AnyPlanner
from latentplan.planners.policy import PolicyConfig
from latentplan.types import Agent, Array, Belief, EnvSpec, Key, Metrics, Params, Sample, TrainState, WorldModel


@dataclass(frozen=True, kw_only=True)
class DreamerV1Config(AgentConfig):
    """Settings of Dreamer V1."""

    model: WorldModelConfig = field(
        default_factory=lambda: WorldModelConfig(
            layers=1, activation="elu", image_bits=0, reward_hidden=400, vector_hidden=400, vector_output="activated"
        )
    )
    """The world model."""
    loss: ModelLossConfig = field(default_factory=ModelLossConfig)
    """Weights of the world model's loss."""
    actor: ActorConfig = field(default_factory=ActorConfig)
    """The actor network."""
    critic: CriticConfig = field(default_factory=CriticConfig)
    """The critic network."""
    behaviour: BehaviourConfig = field(default_factory=BehaviourConfig)
    """Imagination and returns, on which actor and critic are trained."""
    optimizer: AdamsConfig = field(default_factory=AdamsConfig)
    """Optimiser settings."""
    planner: AnyPlanner = field(default_factory=lambda: PolicyConfig(horizon=15))
    """The planner that selects actions: policy (the actor), or a planner over the model with the critic as terminal
    value."""
    action_noise: NonNegativeFloat = 0.3
    """Std of the exploration noise; for discrete actions, the probability of a random one."""
    eval_action: EvalAction = "mode"
    """The actor's action at evaluation: the mode of its distribution, or a sample."""

    def check(self) -> None:
        """Checks constraints between fields."""
        check_model(self.model)
        none = not self.behaviour.entropy_scale
        self.behaviour.require(none, "entropy_scale", "0, as Dreamer V1 has no entropy bonus", "Dreamer V2 has one")


def make_dreamer_v1(config: DreamerV1Config, spec: EnvSpec) -> Agent:
    """Builds the agent.

    Args:
        config: model, losses, actor, critic, optimisers.
        spec: of the environment.

    Returns:
        Agent of pure functions.

    Raises:
        ValueError: the model does not support these observations.
    """
    model, actor, critic = make_networks(
        config.model, config.actor, spec, lambda size: make_critic(config.critic, size, config.model)
    )
    optimizers = Trainables(*make_adams(config.optimizer))
    model_loss = make_model_loss(config.loss, model, config.behaviour.discount)
    actor_loss = make_actor_loss(config, model, actor, critic)
    behaviour = make_behaviour(model, actor_loss, make_critic_loss(critic), config.behaviour.starts)

    def init(key: Key, params: Params | None = None) -> TrainState:
        params = init_params(model, actor, critic, key) if params is None else params
        return TrainState(params, init_states(optimizers, params), jnp.int32(0))

    def update(state: TrainState, sample: Sample, key: Key) -> tuple[TrainState, Metrics]:
        model_key, behaviour_key = jax.random.split(key)
        params = split(state.params)
        (model_total, (metrics, beliefs)), model_gradient = jax.value_and_grad(model_loss, has_aux=True)(
            params.model, sample.batch, model_key, state.updates
        )
        losses, gradients, more = behaviour(params, params.critic, beliefs, sample.batch.is_terminal, behaviour_key)
        losses, gradients = losses._replace(model=model_total), gradients._replace(model=model_gradient)
        params, opt_state = apply_gradients(optimizers, state.opt_state, params, **gradients._asdict())
        metrics |= more | summary(losses, gradients)
        return TrainState(join(params), opt_state, state.updates + 1), metrics

    return make_dreamer(
        init=init,
        update=update,
        model=model,
        actor=actor,
        objective=make_objective(model, critic, config.behaviour, value_has_reward=True),
        config=config,
        spec=spec,
    )


def make_actor_loss(config: DreamerV1Config, model: WorldModel, actor: Network, critic: Network) -> ActorLoss:
    """-E[sum_t V_lambda(s_t)] (Dreamer V1 eq. 6 and 7).

    The sum is over imagined steps s_1..s_{H-1}, weighted by the product of the discounts before each. The actor's
    gradient flows through returns, rewards and the model's steps to its actions.

    Args:
        config: of the agent.
        model: its world model.
        actor: its actor.
        critic: its critic.

    Returns:
        ActorLoss.
    """
    imagine = make_imagination(model, actor, config.behaviour)

    def actor_loss(
        actor_params: Params, params: Params, critic_params: Params, starts: Belief, is_terminal: Array, key: Key
    ) -> tuple[Array, tuple[Metrics, CriticBatch]]:
        imagined = imagine(params, actor_params, starts, key)
        reward, discount = imagined.reward[1:], imagined.discount[1:]
        value = critic.apply(critic_params, imagined.features[1:]).mean[..., 0]
        returns = lambda_returns(reward[:-1], discount[:-1], value[1:], config.behaviour.lam)
        weight = jnp.cumprod(jnp.concatenate([jnp.where(is_terminal[None], 0.0, 1.0), discount[:-2]]), 0)
        critic_batch = jax.lax.stop_gradient(CriticBatch(imagined.features[1:-1], returns, weight))
        metrics = imagination_metrics(imagined, returns, value)
        return -jnp.mean(critic_batch.weight * returns), (metrics, critic_batch)

    return actor_loss
