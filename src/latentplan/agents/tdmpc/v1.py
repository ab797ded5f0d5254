"""TD-MPC: plan with MPPI and a terminal value in a task-oriented latent space (Hansen, Wang and Su 2022)."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from latentplan.agents.acting import make_act, make_initial, planned_noise
from latentplan.agents.config import AgentConfig
from latentplan.agents.optimizers import chain
from latentplan.agents.tdmpc.learning import (
    ModelAndPolicy,
    learn,
    prepend_valid,
    read_window,
    split,
    unroll,
    weighted_sum,
)
from latentplan.config import ClipNorm, Config, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, Rate
from latentplan.diagnostics import Subject, make_diagnostics
from latentplan.losses.td import rho_weighted_mean, td_target
from latentplan.models.decoder_free import DecoderFreeConfig, DecoderFreeModel, Latent, make_decoder_free
from latentplan.planners import AnyPlanner, make_planner
from latentplan.planners.mppi import MPPIConfig
from latentplan.planners.objectives import model_returns
from latentplan.planners.policy import PolicyConfig, propose_by
from latentplan.types import (
    Agent,
    Array,
    EnvSpec,
    Key,
    Metrics,
    Params,
    Planner,
    PlanOutput,
    Sample,
    TrainState,
    WarmStart,
)

_LARGEST = 1e4  # upper bound on a step's error
_LEAST_PRIORITY = 1e-6
_CUT = 0.3  # clipping of the policy's noise, in action units


@dataclass(frozen=True, kw_only=True)
class TDMPCLossConfig(Config):
    """Weights of the losses. Defaults: TD-MPC (arXiv 2203.04955, table 5, and its cfgs/default.yaml).

    The rollout length is one less than the replay window's: 5 with `replay.batch_length` 6.
    """

    consistency_scale: NonNegativeFloat = 2.0
    """Weight of the latent states' mean squared error."""
    reward_scale: NonNegativeFloat = 0.5
    """Weight of the rewards' squared error."""
    value_scale: NonNegativeFloat = 0.1
    """Weight of the values' squared errors, summed over the Q-functions."""
    rho: Rate = 0.5
    """Rho, decay of the weight per step of the rollout."""
    discount: Rate = 0.99
    """Discount per decision."""
    shift: NonNegativeInt = 4
    """Maximum random shift of training images, in pixels; TD-MPC uses 1/21 of their size."""


@dataclass(frozen=True, kw_only=True)
class TDMPCOptimizerConfig(Config):
    """Adam for model and policy. Defaults: TD-MPC (arXiv 2203.04955, table 5)."""

    learning_rate: PositiveFloat = 1e-3
    """Learning rate. TD-MPC uses 3e-4 on pixels."""
    eps: PositiveFloat = 1e-8
    """Adam's epsilon."""
    clip_norm: ClipNorm = 10.0
    """Maximum global norm of each gradient."""
    target_rate: Rate = 0.01
    """Polyak rate of the target model."""
    target_every: PositiveInt = 2
    """Updates between Polyak steps of the target model."""


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig(Config):
    """Linear schedules of planning horizon and standard deviation. Defaults: TD-MPC (arXiv 2203.04955, table 5)."""

    updates: PositiveInt = 25_000
    """Length of the schedules in updates; TD-MPC counts decisions, with one update each."""
    first_horizon: PositiveInt = 1
    """Initial planning horizon in decisions; the final one is planner.horizon."""
    first_std: NonNegativeFloat = 0.5
    """Initial floor of the planner's std, if it has one (mppi); the final one is planner.min_std."""


@dataclass(frozen=True, kw_only=True)
class TDMPCConfig(AgentConfig):
    """Settings of TD-MPC."""

    model: DecoderFreeConfig = field(
        default_factory=lambda: DecoderFreeConfig(
            latent=50, simplex=0, num_q=2, dropout=0.0, num_bins=1, activation="elu", norm="none"
        )
    )
    """The latent model with Q-functions and policy; only the mean of the policy is used."""
    loss: TDMPCLossConfig = field(default_factory=TDMPCLossConfig)
    """Weights of the losses, discount, and random shifts of images."""
    planner: AnyPlanner = field(
        default_factory=lambda: MPPIConfig(
            horizon=5, num_candidates=537, policy_candidates=25, momentum=0.1
        )  # 512, and 5 % of the policy's
    )
    """The planner that selects actions."""
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    """Linear schedules of the planning horizon and its standard deviation."""
    optimizer: TDMPCOptimizerConfig = field(default_factory=TDMPCOptimizerConfig)
    """Optimiser settings."""
    policy_std: NonNegativeFloat = 0.05
    """Standard deviation of the policy's noise, in action units."""
    action_noise: NonNegativeFloat = 0.3
    """Standard deviation of the exploration noise for planners that do not fit one to the first action, as MPPI
    does."""

    def check(self) -> None:
        """Checks constraints between fields."""
        none = not self.model.predict_terminal
        self.model.require(none, "predict_terminal", "False, as TD-MPC predicts none", "use TD-MPC2")


class LearnerState(NamedTuple):
    """Learner state besides the parameters.

    Attributes:
        model: state of the model's optimiser.
        policy: state of the policy's optimiser.
        target: parameters of the target encoder and Q-functions.
    """

    model: optax.OptState
    policy: optax.OptState
    target: Params


def make_tdmpc(config: TDMPCConfig, spec: EnvSpec) -> Agent:
    """Builds the agent.

    `TrainState.params` holds `progress`, the completed fraction of the schedule, besides the networks' parameters,
    since acting depends on it.

    Args:
        config: model, losses, planner, optimisers.
        spec: of the environment.

    Returns:
        Agent of pure functions.

    Raises:
        ValueError: the model does not support these observations or actions.
    """
    model = make_decoder_free(config.model, spec)
    rates = config.optimizer
    planner = make_scheduled_planner(config, model, spec)
    optimizer = chain(optax.clip_by_global_norm(rates.clip_norm), optax.adam(rates.learning_rate, eps=rates.eps))
    optimizers = ModelAndPolicy(optimizer, optimizer)
    model_loss, policy_loss = make_model_loss(config, model), make_policy_loss(config, model)

    def init(key: Key, params: Params | None = None) -> TrainState:
        params = model.init(key) if params is None else params
        networks, policy = split(params)
        target = jax.tree.map(jnp.copy, _targets(params))
        learning = LearnerState(optimizer.init(networks), optimizer.init(policy), target)
        return TrainState(params | {"progress": jnp.float32(0.0)}, learning, jnp.int32(0))

    def update(state: TrainState, sample: Sample, key: Key) -> tuple[TrainState, Metrics]:
        model_key, policy_key = jax.random.split(key)
        before, learning = split(state.params), state.opt_state
        params, states, metrics, _ = learn(
            optimizers,
            ModelAndPolicy(learning.model, learning.policy),
            before,
            lambda networks: model_loss(networks, before.policy, learning.target, sample, model_key),
            lambda *inputs: (policy_loss(*inputs, policy_key), None),
        )
        moved = optax.incremental_update(_targets(params.model), learning.target, rates.target_rate)
        due = state.updates % rates.target_every == 0
        target = jax.tree.map(lambda new, old: jnp.where(due, new, old), moved, learning.target)
        updates = state.updates + 1
        progress = jnp.minimum(updates / config.schedule.updates, 1.0).astype(jnp.float32)
        whole = params.model | {"policy": params.policy, "progress": progress}
        return TrainState(whole, LearnerState(*states, target), updates), metrics

    return Agent(
        init=init,
        initial=make_initial(init, model.world, planner, spec.action_size),
        act=make_act(model.world, planner, planned_noise(config.action_noise)),
        updates={"joint": update},
        diagnostics=make_diagnostics(Subject(model.world, config.planner.horizon)),
        model=model.world,
        planner=planner,
    )


def make_scheduled_planner(config: TDMPCConfig, model: DecoderFreeModel, spec: EnvSpec) -> Planner:
    """Builds a planner whose horizon grows and whose std floor decays during training (TD-MPC section 4).

    Args:
        config: of the agent.
        model: of the agent.
        spec: of the environment.

    Returns:
        Planner for one belief, a `Latent`; its params hold `progress`.
    """
    schedule, last = config.schedule, config.planner.horizon

    def value(params: Params, belief: Latent, key: Key) -> Array:
        action = _act(model, params, belief.now, config.policy_std, key)
        return jnp.min(model.scalar.mean(model.q(params["q"], belief.now, action)), 0)

    def horizon_of(params: Params) -> Array:
        horizon = schedule.first_horizon + params["progress"] * (last - schedule.first_horizon)
        return jnp.clip(horizon.astype(jnp.int32), 1, last)

    objective = model_returns(model.world, discount=config.loss.discount, value=value, horizon_of=horizon_of)
    # Acting alone, the policy uses its mean.
    spread = 0.0 if isinstance(config.planner, PolicyConfig) else config.policy_std
    policy = lambda params, belief, key: _act(model, params, belief.now, spread, key)  # noqa: E731
    options: dict[str, Any] = {"propose": propose_by(policy, model.world.imagine_step, last)}
    if isinstance(config.planner, MPPIConfig):
        fall = config.planner.min_std - schedule.first_std
        options["least_std"] = lambda params: schedule.first_std + params["progress"] * fall
    whole = make_planner(config.planner, spec.action_size, objective, **options)

    def plan(params: Params, belief: Latent, key: Key, warm_start: WarmStart = None) -> PlanOutput:
        planned = whole(params, belief, key, warm_start)
        counted = jnp.arange(last)[:, None] < horizon_of(params)  # beyond the current horizon nothing was optimised
        chosen = lambda x: jnp.where(counted, x, 0.0) if x.shape == (last, spec.action_size) else x  # noqa: E731
        return planned._replace(plan=chosen(planned.plan), warm_start=jax.tree.map(chosen, planned.warm_start))

    return plan


def make_model_loss(
    config: TDMPCConfig, model: DecoderFreeModel
) -> Callable[..., tuple[Array, tuple[Metrics, Array, Array]]]:
    """Consistency, rewards and values along a latent rollout (TD-MPC eq. 6 to 10).

    z_0 = h(o_0), z_{t+1} = d(z_t, a_t). Per step t: the mean squared difference of z_{t+1} and the target encoder's
    latent state of o_{t+1}, and the squared errors of R(z_t, a_t) and every Q(z_t, a_t) against the reward and
    r_t + discount min(target Q-functions at h(o_{t+1}) and the policy's action), weighted by rho^t and averaged over
    the rollout. Steps after an episode's end are masked. A window's priority is the sum of rho^t |error of Q|.

    Args:
        config: of the agent.
        model: of the agent.

    Returns:
        (params without policy, policy, target, Sample [H + 1, B], key) -> (loss, (metrics with `priority` [B], latent
        states [H + 1, B, L], valid [H, B])).
    """
    losses, scalar = config.loss, model.scalar

    def model_loss(networks: Params, policy: Params, target: Params, sample: Sample, key: Key):
        shift_key, pixel_key, action_key = jax.random.split(key, 3)
        window = read_window(model.world, sample.batch, losses.shift, shift_key, pixel_key)
        observation, action, reward, is_terminal, valid = window
        first, following = jax.tree.map(lambda x: x[0], observation), jax.tree.map(lambda x: x[1:], observation)

        ahead = model.world.encode(networks, following)
        next_action = _act(model, {"policy": policy}, ahead, config.policy_std, action_key)
        next_value = jnp.min(scalar.mean(model.q(target["q"], ahead, next_action)), 0)
        goals = jax.lax.stop_gradient(td_target(reward, is_terminal, next_value, losses.discount))
        towards = jax.lax.stop_gradient(model.world.encode(target, following))

        latents = unroll(model, networks, model.world.encode(networks, first), action)
        later = latents[1:]
        values = model.q(networks["q"], latents[:-1], action)
        errors = {
            "consistency": jnp.mean((later - towards) ** 2, -1),
            "reward": scalar.error(model.reward(networks, latents[:-1], action), reward),
            "value": jnp.sum(scalar.error(values, goals[None]), 0),
        }
        terms = {
            name: rho_weighted_mean(sample.weight[None] * jnp.minimum(error, _LARGEST), valid, losses.rho)
            for name, error in errors.items()
        }
        total, metrics = weighted_sum(losses, terms)
        metrics["value_target"] = jnp.mean(goals)
        off = jnp.where(valid, jnp.sum(jnp.abs(scalar.mean(values) - goals[None]), 0), 0.0)
        priority = losses.rho ** jnp.arange(len(off), dtype=off.dtype) @ off
        metrics["priority"] = jax.lax.stop_gradient(jnp.minimum(priority, _LARGEST)) + _LEAST_PRIORITY
        return total, (metrics, jax.lax.stop_gradient(latents), valid)

    return model_loss


def make_policy_loss(config: TDMPCConfig, model: DecoderFreeModel) -> Callable[..., Array]:
    """-sum_t rho^t min of the Q-functions at the policy's action (TD-MPC eq. 11).

    Args:
        config: of the agent.
        model: of the agent.

    Returns:
        (policy, params without policy, latent states [H + 1, B, L], valid [H, B], key) -> loss.
    """

    def policy_loss(policy: Params, networks: Params, latents: Array, valid: Array, key: Key) -> Array:
        valid = prepend_valid(valid)
        action = _act(model, {"policy": policy}, latents, config.policy_std, key)
        value = jnp.min(model.scalar.mean(model.q(networks["q"], latents, action)), 0)
        return -len(latents) * rho_weighted_mean(value, valid, config.loss.rho)

    return policy_loss


def _act(model: DecoderFreeModel, params: Params, latent: Array, std: float, key: Key) -> Array:
    """tanh(mean) plus clipped noise, clipped to the bounds with a straight-through gradient."""
    mean = jnp.tanh(model.policy(params, latent).mean)
    action = mean + jnp.clip(std * jax.random.normal(key, mean.shape, mean.dtype), -_CUT, _CUT)
    return action + jax.lax.stop_gradient(jnp.clip(action, -1.0, 1.0) - action)


def _targets(params: Params) -> Params:
    return {"encoder": params["encoder"], "q": params["q"]}
