"""Planning by gradient ascent through the model, starting from random sequences or from CEM's final distribution."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax

from latentplan.config import NonNegativeInt, PositiveFloat, PositiveInt
from latentplan.planners import sampling
from latentplan.planners.config import PlannerConfig
from latentplan.planners.objectives import Evaluate
from latentplan.planners.proposals import GaussianState, gaussian
from latentplan.planners.sampling import Propose
from latentplan.types import AnyBelief, Array, Key, Params, Planner, PlanOutput


@dataclass(frozen=True, kw_only=True)
class GradientConfig(PlannerConfig):
    """Defaults: our own; the combination of gradients with CEM follows Bharadhwaj et al. 2020 (arXiv 2003.08823)."""

    horizon: PositiveInt = 12
    """H, planning horizon in decisions."""
    num_iterations: NonNegativeInt = 10
    """I, steps of gradient ascent. 10 suit a warm start from the last plan; without one, use about 50."""
    num_candidates: PositiveInt = 32
    """N, action sequences optimised in parallel."""
    learning_rate: PositiveFloat = 0.1
    """Adam's learning rate, in action units."""
    init_std: PositiveFloat = 0.5
    """Standard deviation of the initial sequences around the last plan, in action units."""
    cem_iterations: NonNegativeInt = 0
    """Rounds of CEM before the ascent; the initial sequences are then drawn from CEM's final distribution."""
    cem_candidates: PositiveInt = 300
    """Action sequences per round of CEM."""
    cem_elites: PositiveInt = 30
    """Best sequences per round of CEM."""
    policy_candidates: NonNegativeInt = 0
    """How many of the initial sequences are sampled from the agent's policy, if it has one."""
    warm_start: bool = True
    """Start from the last plan, shifted by one decision, instead of from zero."""

    def check(self) -> None:
        """Checks constraints between fields."""
        sampling.check_policy_candidates(self)
        few = f"at most cem_candidates = {self.cem_candidates}"
        self.require(self.cem_elites <= self.cem_candidates, "cem_elites", few, "lower it or raise cem_candidates")

    @property
    def evaluations(self) -> int:
        """Number of action sequences evaluated per plan; an evaluation with its gradient counts as two."""
        return self.cem_iterations * self.cem_candidates + (2 * self.num_iterations + 1) * self.num_candidates


def make_gradient(
    config: GradientConfig,
    action_size: int,
    evaluate: Evaluate,
    *,
    discrete: bool = False,
    propose: Propose | None = None,
) -> Planner:
    """Builds a planner that maximises the return with Adam, differentiating through model and reward.

    N sequences are optimised in parallel and clipped to [-1, 1] after every step; all steps use the same samples of the
    model's noise. The plan is the best sequence at the end.

    Args:
        config: planner settings.
        action_size: A.
        evaluate: (params, belief, actions [H, N, A], key) -> returns [N], differentiable; see `objectives`.
        discrete: must be False: gradients need continuous actions.
        propose: samples sequences from a policy, for `policy_candidates`.

    Returns:
        Planner for one belief. Its info holds `elite_return` [I] (mean over the sequences before each step) and
        `return_std` [I].

    Raises:
        ValueError: actions are discrete, or `policy_candidates` is set, but there is no policy.

    Examples:
        >>> import jax, jax.numpy as jnp
        >>> towards_half = lambda params, belief, actions, key: -jnp.sum((actions - 0.5) ** 2, (0, 2))
        >>> plan = make_gradient(GradientConfig(horizon=3, num_iterations=50), 2, towards_half)
        >>> bool(jnp.all(jnp.abs(plan(None, None, jax.random.key(0)).action - 0.5) < 0.05))
        True
    """
    sampling.refuse_discrete("gradient", discrete)
    proposals = gaussian(config.horizon, action_size, init_std=config.init_std, min_std=1e-3)
    guides = sampling.make_guides(config, propose)
    optimizer = optax.adam(config.learning_rate)
    weights = jnp.full(config.cem_elites, 1.0 / config.cem_elites, jnp.float32)
    score = sampling.finite_returns(evaluate)

    def cem_round(params: Params, belief: AnyBelief, state: GaussianState, key: Key) -> GaussianState:
        action_key, model_key = jax.random.split(key)
        actions = proposals.draw(state, action_key, config.cem_candidates)
        _, elites = jax.lax.top_k(score(params, belief, actions, model_key), config.cem_elites)
        return proposals.refit(state, actions[:, elites], weights)

    def plan(params: Params, belief: AnyBelief, key: Key, warm_start: Array | None = None) -> PlanOutput:
        guide_key, cem_key, draw_key, model_key, last_key = jax.random.split(key, 5)
        state = proposals.start(warm_start if config.warm_start else None)
        keys = jax.random.split(cem_key, config.cem_iterations)
        state, _ = jax.lax.scan(lambda state, key: (cem_round(params, belief, state, key), None), state, keys)
        drawn = proposals.draw(state, draw_key, config.num_candidates - config.policy_candidates)
        drawn = drawn.at[:, 0].set(proposals.plan(state))
        actions = jnp.concatenate([drawn, *guides(params, belief, guide_key)], 1)

        def loss(actions: Array) -> tuple[Array, Array]:
            returns = score(params, belief, actions, model_key)
            return -jnp.sum(returns), returns  # summing keeps the gradients of the sequences independent

        def ascend(carry: tuple[Array, optax.OptState], _: None):
            actions, opt_state = carry
            gradients, returns = jax.grad(loss, has_aux=True)(actions)
            gradients = jnp.where(jnp.isfinite(gradients), gradients, 0.0)
            # A constant: differentiated again, Adam's square root at zero would give NaN.
            with jax.numpy_dtype_promotion("standard"):  # optax multiplies integers and floats
                steps, opt_state = optimizer.update(jax.lax.stop_gradient(gradients), opt_state)
            actions = jnp.clip(optax.apply_updates(actions, steps), -1.0, 1.0)
            return (actions, opt_state), {"elite_return": jnp.mean(returns), "return_std": jnp.std(returns)}

        start = actions, optimizer.init(actions)
        (actions, _), info = jax.lax.scan(ascend, start, length=config.num_iterations)
        best = actions[:, jnp.argmax(score(params, belief, actions, last_key))]
        return PlanOutput(action=best[0], plan=best, warm_start=best, info=info)

    return plan
