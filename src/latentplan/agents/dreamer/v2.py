"""Dreamer V2: discrete world models, and actors trained by REINFORCE, dynamics back-propagation, or both.

Hafner et al. 2021, arXiv 2010.02193, with the hyper-parameters of the released code (danijar/dreamerv2).
"""

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from latentplan import distributions
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
from latentplan.agents.dreamer.imagination import (
    BehaviourConfig,
    check_entropy,
    imagination_metrics,
    make_imagination,
    resolve_gradient,
)
from latentplan.agents.dreamer.world_loss import ModelLossConfig, check_model, make_model_loss
from latentplan.agents.optimizers import AdamsConfig, make_adams
from latentplan.config import NonNegativeFloat, PositiveInt, UnitInterval
from latentplan.losses.returns import lambda_returns
from latentplan.models.actor import ActorConfig
from latentplan.models.world_model import WorldModelConfig
from latentplan.nets.network import Network
from latentplan.planners import AnyPlanner
from latentplan.planners.policy import PolicyConfig
from latentplan.types import Agent, Array, Belief, EnvSpec, Key, Metrics, Params, Sample, TrainState, WorldModel


@dataclass(frozen=True, kw_only=True)
class DreamerV2Config(AgentConfig):
    """Settings of Dreamer V2. Defaults: the control suite (`configs.yaml`, dmc_vision)."""

    model: WorldModelConfig = field(
        default_factory=lambda: WorldModelConfig(
            stoch=32, classes=32, cell="normed", layers=1, activation="elu", conv_activation="elu", conv_depth=48,
            image_bits=0, reward_hidden=400, reward_layers=4, vector_hidden=400, vector_layers=4,
            vector_output="activated", vector_std=1.0,
        )
    )  # fmt: skip
    """The world model."""
    loss: ModelLossConfig = field(
        default_factory=lambda: ModelLossConfig(
            terminal_scale=1.0, dynamics_scale=0.8, representation_scale=0.2, free_nats=1.0
        )
    )
    """Weights of the world model's loss."""
    actor: ActorConfig = field(default_factory=lambda: ActorConfig(kind="truncated_normal", min_std=0.1))
    """The actor network."""
    critic: CriticConfig = field(default_factory=lambda: CriticConfig(layers=4))
    """The critic network."""
    behaviour: BehaviourConfig = field(default_factory=lambda: BehaviourConfig(entropy_scale=1e-4))
    """Imagination and returns, on which actor and critic are trained."""
    actor_gradient: Literal["auto", "dynamics", "reinforce", "both"] = "auto"
    """The actor's gradient: dynamics (through the model's steps), reinforce, or both. auto: reinforce for discrete
    actions, else dynamics."""
    dynamics_share: UnitInterval = 0.1
    """For actor gradient both: weight of the dynamics gradient."""
    target_every: PositiveInt = 100
    """Updates between copies of the critic to the target critic."""
    optimizer: AdamsConfig = field(default_factory=lambda: AdamsConfig(model_rate=3e-4, eps=1e-5, weight_decay=1e-6))
    """Optimiser settings."""
    planner: AnyPlanner = field(default_factory=lambda: PolicyConfig(horizon=15))
    """The planner that selects actions: policy (the actor), or a planner over the model with the critic as terminal
    value."""
    action_noise: NonNegativeFloat = 0.0
    """Std of the exploration noise; for discrete actions, the probability of a random one."""
    eval_action: EvalAction = "mode"
    """The actor's action at evaluation: the mode of its distribution, or a sample."""

    def check(self) -> None:
        """Checks constraints between fields."""
        check_model(self.model)
        check_entropy(self.actor)


class LearnerState(NamedTuple):
    """Learner state besides the parameters.

    Attributes:
        optimizers: the optimisers' states.
        target_critic: parameters of the target critic, copied periodically from the critic.
    """

    optimizers: Trainables
    target_critic: Params


def make_dreamer_v2(config: DreamerV2Config, spec: EnvSpec) -> Agent:
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
    actor_loss = make_actor_loss(config, model, actor, critic, discrete=spec.discrete)
    behaviour = make_behaviour(model, actor_loss, make_critic_loss(critic), config.behaviour.starts)

    def init(key: Key, params: Params | None = None) -> TrainState:
        params = init_params(model, actor, critic, key) if params is None else params
        learning = LearnerState(init_states(optimizers, params), jax.tree.map(jnp.copy, params["critic"]))
        return TrainState(params, learning, jnp.int32(0))

    def update(state: TrainState, sample: Sample, key: Key) -> tuple[TrainState, Metrics]:
        model_key, behaviour_key = jax.random.split(key)
        params, (states, target) = split(state.params), state.opt_state
        target = optax.periodic_update(params.critic, target, state.updates, config.target_every)
        (model_total, (metrics, beliefs)), model_gradient = jax.value_and_grad(model_loss, has_aux=True)(
            params.model, sample.batch, model_key, state.updates
        )
        params, states = apply_gradients(optimizers, states, params, model=model_gradient)
        losses, gradients, more = behaviour(params, target, beliefs, sample.batch.is_terminal, behaviour_key)
        params, states = apply_gradients(optimizers, states, params, actor=gradients.actor, critic=gradients.critic)
        losses, gradients = losses._replace(model=model_total), gradients._replace(model=model_gradient)
        metrics |= more | summary(losses, gradients)
        return TrainState(join(params), LearnerState(states, target), state.updates + 1), metrics

    return make_dreamer(
        init=init,
        update=update,
        model=model,
        actor=actor,
        objective=make_objective(model, critic, config.behaviour, value_has_reward=True),
        config=config,
        spec=spec,
    )


def make_actor_loss(
    config: DreamerV2Config, model: WorldModel, actor: Network, critic: Network, *, discrete: bool
) -> ActorLoss:
    """The actor's loss (Dreamer V2 eq. 6; `agent.py`, ActorCritic).

    -w_t ((1 - d) log pi(a_t) sg(V_lambda(s_{t+1}) - v(s_t)) + d V_lambda(s_{t+1}) + eta H(pi(s_t))), with d the weight
    of the dynamics gradient, over s_0..s_{H-2}; a state's value includes the reward for reaching it, so the return of
    an action is that of the next step.

    Args:
        config: of the agent.
        model: its world model.
        actor: its actor.
        critic: its critic.
        discrete: whether actions are one-hot.

    Returns:
        ActorLoss; its critic_params are the target critic's.
    """
    imagine = make_imagination(model, actor, config.behaviour)
    gradient = resolve_gradient(config.actor_gradient, discrete=discrete)
    share = {"dynamics": 1.0, "reinforce": 0.0, "both": config.dynamics_share}[gradient]

    def actor_loss(
        actor_params: Params, params: Params, critic_params: Params, starts: Belief, is_terminal: Array, key: Key
    ) -> tuple[Array, tuple[Metrics, CriticBatch]]:
        imagined = imagine(params, actor_params, starts, key)
        value = critic.apply(critic_params, imagined.features).mean[..., 0]
        # At the start terminations are known, not predicted.
        first = jnp.where(is_terminal, 0.0, config.behaviour.discount)
        discount = jnp.concatenate([first[None], imagined.discount[1:]])
        returns = lambda_returns(imagined.reward[:-1], discount[:-1], value[1:], config.behaviour.lam)
        weight = jnp.cumprod(jnp.concatenate([jnp.ones_like(first)[None], discount[:-2]]), 0)
        critic_batch = jax.lax.stop_gradient(CriticBatch(imagined.features[:-1], returns, weight))

        policy = actor.apply(actor_params, critic_batch.features[:-1])
        entropy = distributions.entropy(policy)
        objective = config.behaviour.entropy_scale * entropy
        if share:
            objective += share * returns[1:]
        if share < 1:
            advantage = critic_batch.returns[1:] - jax.lax.stop_gradient(value[:-2])
            log_prob = distributions.log_prob(policy, jax.lax.stop_gradient(imagined.actions[:-1]))
            objective += (1.0 - share) * log_prob * advantage
        metrics = imagination_metrics(imagined, returns, value) | {"actor_entropy": jnp.mean(entropy)}
        return -jnp.mean(critic_batch.weight[:-1] * objective), (metrics, critic_batch)

    return actor_loss
