"""The cross-entropy method (Rubinstein 1997) as PlaNet uses it (algorithm 2)."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from latentplan.config import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from latentplan.planners import sampling
from latentplan.planners.config import PlannerConfig
from latentplan.planners.objectives import Evaluate
from latentplan.planners.proposals import Proposals, State, categorical, gaussian
from latentplan.planners.sampling import Propose
from latentplan.types import AnyBelief, Array, Key, Params, Planner, PlanOutput


@dataclass(frozen=True, kw_only=True)
class CEMConfig(PlannerConfig):
    """Defaults: PlaNet (arXiv 1811.04551v5, appendix A)."""

    horizon: PositiveInt = 12
    """H, planning horizon in decisions."""
    num_iterations: NonNegativeInt = 10
    """I, rounds of sampling and refitting."""
    num_candidates: PositiveInt = 1000
    """N, action sequences per round."""
    num_elites: PositiveInt = 100
    """K, best sequences, to which the next round is fitted."""
    init_std: PositiveFloat = 1.0
    """Standard deviation of the first round, in action units."""
    min_std: NonNegativeFloat = 1e-3
    """Floor of the refitted standard deviation, sqrt(var + min_std^2), in action units. For discrete actions: the
    weight of the uniform distribution mixed in at every refit."""
    policy_candidates: NonNegativeInt = 0
    """How many of the candidates are sampled from the agent's policy, if it has one."""
    warm_start: bool = False
    """Start from the last plan, shifted by one decision, instead of from zero. PlaNet starts from zero."""

    def check(self) -> None:
        """Checks constraints between fields."""
        sampling.check_elites(self)
        sampling.check_policy_candidates(self)

    @property
    def evaluations(self) -> int:
        """Number of action sequences evaluated per plan."""
        return self.num_iterations * self.num_candidates


def make_cem(
    config: CEMConfig, action_size: int, evaluate: Evaluate, *, discrete: bool = False, propose: Propose | None = None
) -> Planner:
    """Builds a CEM planner over any model.

    Each round draws N sequences from a Gaussian(mean, std^2) per step and action, clips them to [-1, 1], evaluates
    them, and refits mean and population std to the K best. The action taken is the first one of the final mean.
    Discrete actions are drawn from categoricals, and the most likely one is taken.

    Args:
        config: planner settings.
        action_size: A.
        evaluate: (params, belief, actions [H, N, A], key) -> returns [N]; see `objectives`.
        discrete: whether actions are one-hot choices.
        propose: samples sequences from a policy, for `policy_candidates`.

    Returns:
        Planner for one belief; `jax.vmap(planner, (None, 0, 0))` plans for many. Its info holds
        `elite_return` [I] (mean over elites), `return_std` [I] (over candidates) and `action_std` [I].

    Raises:
        ValueError: `policy_candidates` is set, but there is no policy.

    Examples:
        >>> import jax, jax.numpy as jnp
        >>> towards_half = lambda params, belief, actions, key: -jnp.sum((actions - 0.5) ** 2, (0, 2))
        >>> plan = make_cem(CEMConfig(horizon=3), 2, towards_half)
        >>> bool(jnp.all(jnp.abs(plan(None, None, jax.random.key(0)).action - 0.5) < 0.01))
        True
    """
    proposals = _make_proposals(config, action_size, discrete=discrete)
    evaluate = sampling.finite_returns(evaluate)
    guides = sampling.make_guides(config, propose)
    weights = jnp.full(config.num_elites, 1.0 / config.num_elites, jnp.float32)

    def plan(params: Params, belief: AnyBelief, key: Key, warm_start: Array | None = None) -> PlanOutput:
        guided = guides(params, belief, jax.random.fold_in(key, config.num_iterations))

        def iteration(state: State, key: Key):
            action_key, model_key = jax.random.split(key)
            drawn = proposals.draw(state, action_key, config.num_candidates - config.policy_candidates)
            actions = jnp.concatenate([drawn, *guided], 1)
            returns = evaluate(params, belief, actions, model_key)
            elite_returns, elites = jax.lax.top_k(returns, config.num_elites)
            state = proposals.refit(state, actions[:, elites], weights)
            info = {
                "elite_return": jnp.mean(elite_returns),
                "return_std": jnp.std(returns),
                "action_std": proposals.spread(state),
            }
            return state, info

        start = proposals.start(warm_start if config.warm_start else None)
        state, info = jax.lax.scan(iteration, start, jax.random.split(key, config.num_iterations))
        settled = proposals.plan(state)
        return PlanOutput(action=settled[0], plan=settled, warm_start=proposals.warm_start(state), info=info)

    return plan


def _make_proposals(config: CEMConfig, action_size: int, *, discrete: bool) -> Proposals:
    if discrete:
        config.require(config.min_std <= 1, "min_std", "at most 1, a probability for discrete actions", "lower it")
        return categorical(config.horizon, action_size, min_prob=config.min_std)
    return gaussian(config.horizon, action_size, init_std=config.init_std, min_std=config.min_std)
