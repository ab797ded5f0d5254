"""PlaNet: learn a latent world model from pixels and act by planning in it (Hafner et al. 2019, algorithm 1)."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Annotated

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Bool, Float

from latentplan import distributions
from latentplan.agents.acting import gaussian_noise, make_act, make_initial, random_choices
from latentplan.agents.config import AgentConfig, KLWeightConfig
from latentplan.agents.optimizers import chain
from latentplan.config import (
    Bound,
    ClipNorm,
    Config,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Rate,
)
from latentplan.diagnostics import Subject, make_diagnostics
from latentplan.losses.elbo import ElboTerms, elbo
from latentplan.losses.kl import balanced, free_nats
from latentplan.losses.overshooting import (
    Average,
    Overshoot,
    average_distances,
    latent_overshooting,
    mean_per_distance,
    overshoot,
)
from latentplan.models.rollout import Filtered, filter_windows, previous_beliefs
from latentplan.models.world_model import WorldModelConfig, make_world_model
from latentplan.planners import AnyPlanner, make_planner
from latentplan.planners.cem import CEMConfig
from latentplan.planners.objectives import ObjectiveConfig, model_returns, penalise_risk
from latentplan.types import Agent, Array, Batch, Belief, EnvSpec, Key, Metrics, Params, Sample, TrainState, WorldModel

Weight = float | Float[Array, ""]
"""Of a loss term: a constant, or the value of a schedule."""
Loss = Callable[[Params, Batch, Key, Array], tuple[Array, Metrics]]
"""(params, batch [T, B], key, number of updates taken) -> (loss in nats per step, metrics)."""


@dataclass(frozen=True, kw_only=True)
class LossConfig(Config):
    """Weights of the world model's loss. Defaults: PlaNet (arXiv 1811.04551v5, appendix A), overshooting off."""

    reward_scale: NonNegativeFloat = 10.0
    """Weight of the reward's log-likelihood."""
    observation_start: Rate = 1.0
    """Initial weight of the observation's log-likelihood, which grows to 1. PlaNet keeps it at 1."""
    observation_ramp: NonNegativeInt = 0
    """Updates over which that weight grows to 1, geometrically."""
    terminal_scale: NonNegativeFloat = 10.0
    """Weight of the termination's log-likelihood, with `predict_terminal`. PlaNet predicts none; the default equals the
    reward's weight."""
    kl: KLWeightConfig = field(default_factory=KLWeightConfig)
    """Weight of every KL term."""
    free_nats: NonNegativeFloat = 3.0
    """Free nats: KL per step without cost or gradient, in nats."""
    dynamics_scale: Annotated[float, Bound(ge=1)] = 1.0
    """KL balancing: weight of the KL's gradient in the prior, relative to 1 in the posterior. Above 1 the prior moves
    towards the posterior faster than the reverse (Dreamer V2, algorithm 2). PlaNet uses 1."""
    global_prior_scale: NonNegativeFloat = 0.0
    """Weight of KL(posterior || N(0, 1)). PlaNet's first release had 0.1."""
    overshooting_distance: PositiveInt = 1
    """D, latent overshooting distance in decisions; 1 is the plain KL. PlaNet's first release had up to 49."""
    overshooting_beta: tuple[NonNegativeFloat, ...] = (1.0,)
    """Weights of the KL per distance, starting with distance 1; the last one applies to all further distances."""
    overshooting_average: Average = "released"
    """How the KLs of all distances are combined. released: the KL of distance 1 plus the mean over further distances,
    as in PlaNet's first release. eq7: the mean over all distances, as in the paper's equation 7."""
    overshooting_reward_scale: NonNegativeFloat = 0.0
    """Weight of the log-likelihood of rewards predicted 2 to D steps ahead. PlaNet's first release had 100."""
    observation_overshooting_distance: NonNegativeInt | None = None
    """Observation overshooting: also decode observations and rewards predicted 1 to this many steps ahead. None means 0
    (off), or 1 for dynamics without a KL, whose prior would otherwise get no gradient."""

    def check(self) -> None:
        """Checks constraints between fields."""
        advice = "give one weight per distance; the last applies to the rest"
        self.require(self.overshooting_beta, "overshooting_beta", "one or more weights", advice)
        ramped = self.observation_start == 1 or self.observation_ramp > 0
        some = f"at least 1 update with observation_start = {self.observation_start}"
        self.require(ramped, "observation_ramp", some, "3,000 is a start")


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig(Config):
    """Adam. Defaults: PlaNet (arXiv 1811.04551v5, appendix A)."""

    learning_rate: PositiveFloat = 1e-3
    """Learning rate."""
    eps: PositiveFloat = 1e-4
    """Adam's epsilon."""
    clip_norm: ClipNorm = 1000.0
    """Maximum global norm of the gradient."""
    ramp: NonNegativeInt = 0
    """Updates of linear learning-rate warm-up. PlaNet's first release had a ramp over 10,000 sequences, which are 200
    updates of 50."""


@dataclass(frozen=True, kw_only=True)
class PlaNetConfig(AgentConfig):
    """Settings of PlaNet."""

    model: WorldModelConfig = field(default_factory=WorldModelConfig)
    """The world model."""
    loss: LossConfig = field(default_factory=LossConfig)
    """Weights of the world model's loss."""
    planner: AnyPlanner = field(default_factory=CEMConfig)
    """The planner that selects actions."""
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    """The planner's objective."""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    """Optimiser settings."""
    action_noise: NonNegativeFloat = 0.3
    """Standard deviation of the exploration noise, in action units; none at evaluation. For discrete actions: the
    probability of a random one."""


def make_planet(config: PlaNetConfig, spec: EnvSpec) -> Agent:
    """Builds the agent.

    Args:
        config: model, losses, planner, optimiser.
        spec: of the environment.

    Returns:
        Agent of pure functions; jit `act` (with static `mode`) and the update.

    Raises:
        ValueError: the model does not support these observations.
    """
    model = make_world_model(config.model, spec)
    objective = model_returns(model, discount=config.objective.discount)
    if config.objective.risk_samples > 1:
        risk = config.objective
        objective = penalise_risk(objective, num_samples=risk.risk_samples, penalty=risk.risk_penalty)
    planner = make_planner(config.planner, spec.action_size, objective, discrete=spec.discrete)
    explore = random_choices(config.action_noise) if spec.discrete else gaussian_noise(config.action_noise)
    optimizer = make_optimizer(config.optimizer)
    loss = make_loss(config, model)

    def init(key: Key, params: Params | None = None) -> TrainState:
        params = model.init(key) if params is None else params
        return TrainState(params, optimizer.init(params), jnp.int32(0))

    def update(state: TrainState, sample: Sample, key: Key) -> tuple[TrainState, Metrics]:
        gradient = jax.value_and_grad(loss, has_aux=True)
        (total, metrics), gradients = gradient(state.params, sample.batch, key, state.updates)
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        norm = optax.tree.norm(gradients)
        finite = jnp.isfinite(total) & jnp.isfinite(norm)
        metrics |= {"loss": total, "grad_norm": norm, "finite": finite.astype(jnp.float32)}
        return TrainState(optax.apply_updates(state.params, updates), opt_state, state.updates + 1), metrics

    return Agent(
        init=init,
        initial=make_initial(init, model, planner, spec.action_size),
        act=make_act(model, planner, explore),
        updates={"joint": update},
        diagnostics=make_diagnostics(Subject(model, config.planner.horizon)),
        model=model,
        planner=planner,
    )


def make_optimizer(config: OptimizerConfig) -> optax.GradientTransformation:
    """Global-norm clipping, then Adam."""
    rate = optax.linear_schedule(0.0, config.learning_rate, config.ramp) if config.ramp else config.learning_rate
    return chain(optax.clip_by_global_norm(config.clip_norm), optax.adam(rate, eps=config.eps))


def make_loss(config: PlaNetConfig, model: WorldModel) -> Loss:
    """The negative ELBO with latent overshooting, averaged over batch and time.

    loss = -E[log p(o_t | s_t)] - c E[log p(r_t | s_t)] + w E[max(0, KL_1 - free nats)] (PlaNet eq. 3), E over the steps
    of the batch; w is `losses.kl`, 1 in the paper. Overshooting adds the KL of further distances (see
    `losses.average_distances`), each over the steps whose start lies in the same window and episode. D = 1 is the plain
    ELBO. A dynamics scale a adds w (a - 1) KL(stop(q) || p). Dynamics with `latent_terms` put their own KL in the place
    of KL_1, and add the negative log-likelihood of the next latent. With `predict_terminal` the log-likelihood of
    terminations is added. The weight of the observation's log-likelihood may start below 1 (`observation_start`).

    Args:
        config: of the agent.
        model: the world model.

    Returns:
        Loss.
    """
    losses = config.loss
    own_terms = config.model.dynamics.latent_terms
    default_distance = 0 if config.model.dynamics.has_kl else 1
    decoded = losses.observation_overshooting_distance
    decoded = default_distance if decoded is None else decoded
    distance = max(losses.overshooting_distance, decoded)
    if own_terms:
        advice = "overshooting is for priors that KL(posterior || prior) trains"
        one = losses.overshooting_distance == 1
        losses.require(one, "overshooting_distance", f"1 with kind {config.model.kind}", advice)
        none = not decoded
        losses.require(none, "observation_overshooting_distance", f"0 with kind {config.model.kind}", advice)

    def loss(params: Params, batch: Batch, key: Key, updates: Array) -> tuple[Array, Metrics]:
        steps, advice = len(batch.reward), "lower it, or raise the replay's batch_length"
        for name, far in (
            ("overshooting_distance", losses.overshooting_distance),
            ("observation_overshooting_distance", decoded),
        ):
            losses.require(far <= steps, name, f"at most the window's {steps} steps", advice)
        pixel_key, filter_key, overshoot_key = jax.random.split(key, 3)
        seen = filter_windows(model, params, batch, pixel_key, filter_key)
        fit = log_likelihoods(model, params, seen.beliefs, seen.observation, batch.reward)
        weight = losses.kl.after(updates)
        if own_terms:
            kl, transition_nll = own_terms(seen.posteriors, seen.priors, seen.beliefs.stoch)
        else:
            kl, transition_nll = model.divergence(seen.posteriors, seen.priors), None
        terms = ElboTerms(*fit, kl)
        metrics = {
            "observation_nll": -jnp.mean(terms.observation),
            "reward_nll": -jnp.mean(terms.reward),
            "kl": jnp.mean(terms.kl),
            "kl_free_share": jnp.mean(terms.kl < losses.free_nats),
        }
        scale = losses.observation_start ** jnp.maximum(1.0 - updates / max(losses.observation_ramp, 1), 0.0)
        terms = terms._replace(observation=scale * terms.observation)
        if distance == 1 and not decoded:
            per_step = elbo(terms, reward_scale=losses.reward_scale, free_nats=losses.free_nats, kl_weight=weight)
            total = -jnp.mean(per_step)
        else:  # the overshooting KL, which contains the ELBO's
            bound = elbo(terms._replace(kl=jnp.zeros_like(terms.kl)), reward_scale=losses.reward_scale)
            previous = previous_beliefs(seen.initial, seen.beliefs, batch.is_first)
            actions = jnp.where(batch.is_first[..., None], 0.0, batch.action)
            ahead = overshoot(
                model.imagine_step, params, previous, actions, batch.is_first, overshoot_key, distance=distance
            )
            extra, more = overshooting_loss(losses, model, params, seen, ahead, batch.reward, decoded, (scale, weight))
            total = extra - jnp.mean(bound)
            metrics |= more
        if transition_nll is not None:
            metrics["transition_nll"] = jnp.mean(transition_nll)
            total += metrics["transition_nll"]
        for term, more in further_terms(losses, model, params, seen, batch.is_terminal, weight):
            total += term
            metrics |= more
        return total, metrics

    return loss


def log_likelihoods(
    model: WorldModel,
    params: Params,
    beliefs: Belief,
    observation: dict[str, Float[Array, "..."]],
    reward: Float[Array, "..."],
) -> tuple[Float[Array, "*batch"], Float[Array, "*batch"]]:
    """Log-likelihoods of observations by name [..., O] and rewards [...] at beliefs [...]: two [...], in nats."""
    assert model.decode is not None, "PlaNet learns by decoding observations"
    return (
        distributions.joint_log_prob(model.decode(params, beliefs), observation),
        distributions.log_prob(model.reward(params, beliefs), reward[..., None]),
    )


def overshooting_loss(
    losses: LossConfig,
    model: WorldModel,
    params: Params,
    seen: Filtered,
    ahead: Overshoot,
    reward: Float[Array, "T B"],
    decoded: int,
    scales: tuple[Float[Array, ""], Weight],
) -> tuple[Float[Array, ""], Metrics]:
    """The KL of all distances (PlaNet section 4), and log-likelihoods of multi-step predictions.

    Args:
        losses: weights and distances.
        model: the world model.
        params: its parameters.
        seen: the filtered windows.
        ahead: predictions 1 to D steps ahead.
        reward: [T, B].
        decoded: maximum distance at which observations are decoded, too; 0 for none.
        scales: weights of the observations' log-likelihood and of the KL.

    Returns:
        (loss in nats per step, metrics).
    """
    scale, kl_scale = scales
    latent = jax.tree.map(lambda x: x[: losses.overshooting_distance], ahead)
    kl = latent_overshooting(model.divergence, seen.posteriors, latent)
    per_distance = mean_per_distance(free_nats(kl, losses.free_nats), latent.valid)
    total = kl_scale * average_distances(per_distance, losses.overshooting_beta, losses.overshooting_average)
    metrics = {"overshooting_kl": jnp.mean(mean_per_distance(kl, latent.valid))}
    if losses.overshooting_reward_scale and losses.overshooting_distance > 1:
        further = jax.tree.map(lambda x: x[1:], latent)
        log_reward = distributions.log_prob(model.reward(params, further.belief), reward[None, ..., None])
        metrics["overshooting_reward_nll"] = -jnp.mean(mean_per_distance(log_reward, further.valid))
        total += losses.overshooting_reward_scale * metrics["overshooting_reward_nll"]
    if decoded:
        near = jax.tree.map(lambda x: x[:decoded], ahead)
        truth = jax.tree.map(lambda x: x[None], (seen.observation, reward))
        log_observation, log_reward = log_likelihoods(model, params, near.belief, *truth)
        log_both = scale * log_observation + losses.reward_scale * log_reward
        metrics["observation_overshooting_nll"] = -jnp.mean(mean_per_distance(log_both, near.valid))
        total += metrics["observation_overshooting_nll"]
    return total, metrics


def further_terms(
    losses: LossConfig,
    model: WorldModel,
    params: Params,
    seen: Filtered,
    is_terminal: Bool[Array, "T B"],
    weight: Weight,
) -> Iterator[tuple[Float[Array, ""], Metrics]]:
    """Optional terms beside the bound: KL balancing, terminations, the global prior.

    Args:
        losses: weights.
        model: the world model.
        params: its parameters.
        seen: the filtered windows.
        is_terminal: [T, B].
        weight: of the KL.

    Yields:
        (weighted term, its metrics).
    """
    if losses.dynamics_scale > 1:
        dynamics, _ = balanced(model.divergence, seen.posteriors, seen.priors)
        yield weight * (losses.dynamics_scale - 1) * jnp.mean(free_nats(dynamics, losses.free_nats)), {}
    if model.terminal:
        error = jnp.mean(optax.sigmoid_binary_cross_entropy(model.terminal(params, seen.beliefs), is_terminal))
        yield losses.terminal_scale * error, {"terminal_nll": error}
    if losses.global_prior_scale:
        to_normal = model.divergence(seen.posteriors, distributions.standard_normal_like(seen.posteriors))
        clipped = jnp.mean(free_nats(to_normal, losses.free_nats))
        yield weight * losses.global_prior_scale * clipped, {"global_kl": jnp.mean(to_normal)}
