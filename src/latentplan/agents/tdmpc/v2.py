"""TD-MPC2: plan with MPPI and a terminal value in a decoder-free latent space (Hansen, Su and Wang 2024)."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from latentplan import distributions
from latentplan.agents.acting import make_act, make_initial, planned_noise
from latentplan.agents.config import AgentConfig
from latentplan.agents.optimizers import chain, scale_parts
from latentplan.agents.tdmpc.learning import (
    ModelAndPolicy,
    learn,
    prepend_valid,
    read_window,
    split,
    unroll,
    weighted_sum,
)
from latentplan.config import ClipNorm, Config, NonNegativeFloat, NonNegativeInt, PositiveFloat, Rate, UnitInterval
from latentplan.diagnostics import Subject, make_diagnostics
from latentplan.losses.td import discount_of, rho_weighted_mean, running_scale, td_target
from latentplan.models.decoder_free import DecoderFreeConfig, DecoderFreeModel, Latent, make_decoder_free
from latentplan.planners import AnyPlanner, PlannerConfig, make_planner
from latentplan.planners.mppi import MPPIConfig
from latentplan.planners.objectives import Evaluate, model_returns
from latentplan.planners.policy import PolicyConfig, propose_by
from latentplan.types import Agent, Array, Batch, EnvSpec, Key, Metrics, Params, Planner, Sample, TrainState

MANY_ACTIONS = 20  # with at least this many action dimensions, MPPI runs two more rounds


@dataclass(frozen=True, kw_only=True)
class TDMPC2LossConfig(Config):
    """Weights of the losses. Defaults: TD-MPC2 (arXiv 2310.16828, table 8, and its config.yaml).

    The rollout length is one less than the replay window's: 3 with `replay.batch_length` 4.
    """

    consistency_scale: NonNegativeFloat = 20.0
    """Weight of the latent states' mean squared error."""
    reward_scale: NonNegativeFloat = 0.1
    """Weight of the rewards' cross-entropy."""
    value_scale: NonNegativeFloat = 0.1
    """Weight of the values' cross-entropy."""
    terminal_scale: NonNegativeFloat = 1.0
    """Weight of the terminations' cross-entropy, with `predict_terminal`."""
    rho: Rate = 0.5
    """Rho, decay of the weight per step of the rollout."""
    entropy_scale: NonNegativeFloat = 1e-4
    """Weight of the policy's entropy."""
    discount_denominator: PositiveFloat = 5.0
    """d: the discount is clip((T/d - 1) / (T/d), discount_min, discount_max), T being the time limit in decisions."""
    discount_min: UnitInterval = 0.95
    """Minimum discount."""
    discount_max: UnitInterval = 0.995
    """Maximum discount, also used without a time limit."""
    shift: NonNegativeInt = 3
    """Maximum random shift of training images, in pixels."""

    def check(self) -> None:
        """Checks constraints between fields."""
        ordered = self.discount_min <= self.discount_max
        self.require(ordered, "discount_min", f"at most discount_max = {self.discount_max}", "lower it or raise that")


@dataclass(frozen=True, kw_only=True)
class TDMPC2OptimizerConfig(Config):
    """Adam for model and policy. Defaults: TD-MPC2 (arXiv 2310.16828, table 8, and its tdmpc2.py)."""

    learning_rate: PositiveFloat = 3e-4
    """Learning rate."""
    encoder_scale: PositiveFloat = 0.3
    """The encoder's learning rate, relative to the others'."""
    policy_scale: PositiveFloat = 1.0
    """The policy's learning rate, relative to the others'."""
    eps: PositiveFloat = 1e-8
    """Adam's epsilon for the model."""
    policy_eps: PositiveFloat = 1e-5
    """Adam's epsilon for the policy."""
    clip_norm: ClipNorm = 20.0
    """Maximum global norm of each gradient."""
    target_rate: Rate = 0.01
    """Polyak rate of the target Q-functions, and step size of the running scale of values."""


@dataclass(frozen=True, kw_only=True)
class TDMPC2Config(AgentConfig):
    """Settings of TD-MPC2."""

    model: DecoderFreeConfig = field(default_factory=DecoderFreeConfig)
    """The latent model with Q-functions and policy."""
    loss: TDMPC2LossConfig = field(default_factory=TDMPC2LossConfig)
    """Weights of the losses, discount, and random shifts of images."""
    planner: AnyPlanner = field(default_factory=lambda: MPPIConfig(horizon=3, policy_candidates=24))
    """The planner that selects actions."""
    optimizer: TDMPC2OptimizerConfig = field(default_factory=TDMPC2OptimizerConfig)
    """Optimiser settings."""
    action_noise: NonNegativeFloat = 0.3
    """Standard deviation of the exploration noise for planners that do not fit one to the first action, as MPPI
    does."""


class LearnerState(NamedTuple):
    """Learner state besides the parameters.

    Attributes:
        model: state of the model's optimiser.
        policy: state of the policy's optimiser.
        target_q: parameters of the target Q-functions.
        scale: the running scale of values in the policy's loss, a scalar.
    """

    model: optax.OptState
    policy: optax.OptState
    target_q: Params
    scale: Array


def make_tdmpc2(config: TDMPC2Config, spec: EnvSpec) -> Agent:
    """Builds the agent.

    Args:
        config: model, losses, planner, optimisers.
        spec: of the environment.

    Returns:
        Agent of pure functions.

    Raises:
        ValueError: the model does not support these observations or actions.
    """
    model = make_decoder_free(config.model, spec)
    losses, rates = config.loss, config.optimizer
    discount = discount_of(spec.max_decisions, losses.discount_denominator, losses.discount_min, losses.discount_max)
    planner = make_decoder_free_planner(config.planner, model, spec, discount)
    optimizers = make_optimizers(rates)
    model_loss = make_model_loss(config, model, discount)
    policy_loss = make_policy_loss(config, model)

    def init(key: Key, params: Params | None = None) -> TrainState:
        params = model.init(key) if params is None else params
        networks, policy = split(params)
        states = optimizers.model.init(networks), optimizers.policy.init(policy)
        learning = LearnerState(*states, jax.tree.map(jnp.copy, params["q"]), jnp.float32(1.0))
        return TrainState(params, learning, jnp.int32(0))

    def update(state: TrainState, sample: Sample, key: Key) -> tuple[TrainState, Metrics]:
        model_key, policy_key = jax.random.split(key)
        before, learning = split(state.params), state.opt_state
        params, states, metrics, (more, scale) = learn(
            optimizers,
            ModelAndPolicy(learning.model, learning.policy),
            before,
            lambda networks: model_loss(networks, before.policy, learning.target_q, sample.batch, model_key),
            lambda *inputs: policy_loss(*inputs, learning.scale, policy_key),
        )
        target_q = optax.incremental_update(params.model["q"], learning.target_q, rates.target_rate)
        metrics |= more | {"value_scale": scale}
        learning = LearnerState(*states, target_q, scale)
        return TrainState(params.model | {"policy": params.policy}, learning, state.updates + 1), metrics

    return Agent(
        init=init,
        initial=make_initial(init, model.world, planner, spec.action_size),
        act=make_act(model.world, planner, planned_noise(config.action_noise)),
        updates={"joint": update},
        diagnostics=make_diagnostics(Subject(model.world, config.planner.horizon)),
        model=model.world,
        planner=planner,
    )


def make_decoder_free_planner(
    config: PlannerConfig, model: DecoderFreeModel, spec: EnvSpec, discount: float
) -> Planner:
    """Builds any planner over the latent model, with candidates from its policy.

    Args:
        config: of the planner. With many action dimensions MPPI runs two more rounds, as in the released code. The
            policy planner acts with the policy's mean.
        model: of the agent.
        spec: of the environment.
        discount: per decision.

    Returns:
        Planner for one belief, a `Latent`.
    """
    if spec.action_size >= MANY_ACTIONS and isinstance(config, MPPIConfig):
        config = replace(config, num_iterations=config.num_iterations + 2)

    def policy(params: Params, belief: Latent, key: Key) -> Array:
        if isinstance(config, PolicyConfig):  # acts with its mean; exploration noise is added later
            return jnp.tanh(model.policy(params, belief.now).mean)
        return _sample(model, params, belief.now, key)[0]

    propose = propose_by(policy, model.world.imagine_step, config.horizon)
    return make_planner(config, spec.action_size, make_objective(model, discount), propose=propose)


def make_objective(model: DecoderFreeModel, discount: float) -> Evaluate:
    """Predicted rewards, then the mean of two random Q-functions at an action of the policy (TD-MPC2 eq. 5).

    Rewards after a termination predicted with probability above 1/2 are ignored.

    Args:
        model: of the agent.
        discount: per decision.

    Returns:
        Evaluate.
    """

    def value(params: Params, belief: Latent, key: Key) -> Array:
        action_key, q_key = jax.random.split(key)
        action, _ = _sample(model, params, belief.now, action_key)
        return jnp.mean(model.scalar.mean(model.q(sample_two_members(params["q"], q_key), belief.now, action)), 0)

    terminal = model.world.terminal
    continues = terminal and (lambda params, belief: (terminal(params, belief) <= 0).astype(jnp.float32))
    return model_returns(model.world, discount=discount, value=value, continues=continues)


def make_optimizers(config: TDMPC2OptimizerConfig) -> ModelAndPolicy:
    """Clipping by global norm, then Adam, for the model (with a lower rate for its encoder) and for the policy."""
    model = chain(
        optax.clip_by_global_norm(config.clip_norm),
        optax.adam(config.learning_rate, eps=config.eps),
        scale_parts({"encoder": config.encoder_scale}),
    )
    policy = chain(
        optax.clip_by_global_norm(config.clip_norm),
        optax.adam(config.policy_scale * config.learning_rate, eps=config.policy_eps),
    )
    return ModelAndPolicy(model, policy)


def make_model_loss(
    config: TDMPC2Config, model: DecoderFreeModel, discount: float
) -> Callable[..., tuple[Array, tuple[Metrics, Array, Array]]]:
    """Consistency, rewards, values and terminations along a latent rollout (TD-MPC2 eq. 3).

    z_0 = h(o_0), z_{t+1} = d(z_t, a_t). Per step t: the mean squared error of z_{t+1} and h(o_{t+1}), the
    cross-entropies of R(z_t, a_t) and every Q(z_t, a_t) with the reward and with r_t + discount min(two target
    Q-functions at h(o_{t+1}) and the policy's action), weighted by rho^t and averaged over the rollout. Steps after an
    episode's end are masked.

    Args:
        config: of the agent.
        model: of the agent.
        discount: per decision.

    Returns:
        (params without policy, policy, target_q, batch [H + 1, B], key) -> (loss, (metrics, latent states
        [H + 1, B, L], valid [H, B])).
    """
    losses, scalar = config.loss, model.scalar

    def model_loss(networks: Params, policy: Params, target_q: Params, batch: Batch, key: Key):
        shift_key, pixel_key, action_key, two_key, dropout_key = jax.random.split(key, 5)
        window = read_window(model.world, batch, losses.shift, shift_key, pixel_key)
        observation, action, reward, is_terminal, valid = window
        first, following = jax.tree.map(lambda x: x[0], observation), jax.tree.map(lambda x: x[1:], observation)

        targets = jax.lax.stop_gradient(model.world.encode(networks, following))
        next_action, _ = _sample(model, {"policy": policy}, targets, action_key)
        next_values = scalar.mean(model.q(sample_two_members(target_q, two_key), targets, next_action))
        goals = jax.lax.stop_gradient(td_target(reward, is_terminal, jnp.min(next_values, 0), discount))

        latents = unroll(model, networks, model.world.encode(networks, first), action)
        later = latents[1:]
        values = model.q(networks["q"], latents[:-1], action, dropout_key)
        errors = {
            "consistency": jnp.mean((later - targets) ** 2, -1),
            "reward": scalar.error(model.reward(networks, latents[:-1], action), reward),
            "value": jnp.mean(scalar.error(values, goals[None]), 0),
        }
        terms = {name: rho_weighted_mean(error, valid, losses.rho) for name, error in errors.items()}
        if model.world.terminal:  # unweighted over steps
            belief = Latent(later, latents[:-1], action)
            error = optax.sigmoid_binary_cross_entropy(model.world.terminal(networks, belief), is_terminal)
            terms["terminal"] = rho_weighted_mean(error, valid, 1.0)
        total, metrics = weighted_sum(losses, terms)
        metrics["value_target"] = jnp.mean(goals)
        return total, (metrics, jax.lax.stop_gradient(latents), valid)

    return model_loss


def make_policy_loss(
    config: TDMPC2Config, model: DecoderFreeModel
) -> Callable[..., tuple[Array, tuple[Metrics, Array]]]:
    """-(scaled mean of two Q-functions + entropy), along the rollout's latent states (TD-MPC2 eq. 6 and its code).

    The entropy is that of the Gaussian before tanh, times the number of action dimensions, as in the released code.

    Args:
        config: of the agent.
        model: of the agent.

    Returns:
        (policy, params without policy, latent states [H + 1, B, L], valid [H, B], scale, key) ->
        (loss, (metrics, new scale)).
    """
    losses = config.loss

    def policy_loss(policy: Params, networks: Params, latents: Array, valid: Array, scale: Array, key: Key):
        action_key, two_key, dropout_key = jax.random.split(key, 3)
        valid = prepend_valid(valid)
        action, log_prob = _sample(model, {"policy": policy}, latents, action_key)
        q = model.q(sample_two_members(networks["q"], two_key), latents, action, dropout_key)
        values = jnp.mean(model.scalar.mean(q), 0)
        scale = running_scale(scale, jax.lax.stop_gradient(values[0]), config.optimizer.target_rate)
        entropy = -log_prob * action.shape[-1]
        loss = rho_weighted_mean(-(values / scale + losses.entropy_scale * entropy), valid, losses.rho)
        return loss, ({"policy_entropy": jnp.mean(-log_prob)}, scale)

    return policy_loss


def sample_two_members(q_params: Params, key: Key) -> Params:
    """The parameters of two distinct random ensemble members, so that only these two are evaluated."""
    size = len(jax.tree.leaves(q_params)[0])
    members = jax.random.permutation(key, size)[:2]
    return jax.tree.map(lambda x: x[members], q_params)


def _sample(model: DecoderFreeModel, params: Params, latent: Array, key: Key) -> tuple[Array, Array]:
    """The policy's action [..., A] in (-1, 1), and the log density before tanh."""
    gaussian = model.policy(params, latent)
    before = distributions.sample(gaussian, key)
    return jnp.tanh(before), distributions.log_prob(gaussian, before)
