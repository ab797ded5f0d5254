"""Random shooting: the best of many random action sequences."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from latentplan.config import NonNegativeInt, PositiveInt
from latentplan.planners import sampling
from latentplan.planners.config import PlannerConfig
from latentplan.planners.objectives import Evaluate
from latentplan.planners.proposals import shift
from latentplan.planners.sampling import Propose
from latentplan.types import AnyBelief, Array, Key, Params, Planner, PlanOutput


@dataclass(frozen=True, kw_only=True)
class ShootingConfig(PlannerConfig):
    """Defaults: as many sequences in one round as PlaNet's CEM evaluates in all (arXiv 1811.04551v5, appendix A)."""

    horizon: PositiveInt = 12
    """H, planning horizon in decisions."""
    num_candidates: PositiveInt = 10_000
    """N, action sequences."""
    policy_candidates: NonNegativeInt = 0
    """How many of the candidates are sampled from the agent's policy, if it has one."""
    warm_start: bool = False
    """Include the last plan, shifted by one decision, among the candidates."""

    def check(self) -> None:
        """Checks constraints between fields."""
        sampling.check_policy_candidates(self)

    @property
    def evaluations(self) -> int:
        """Number of action sequences evaluated per plan."""
        return self.num_candidates + self.warm_start


def make_shooting(
    config: ShootingConfig,
    action_size: int,
    evaluate: Evaluate,
    *,
    discrete: bool = False,
    propose: Propose | None = None,
) -> Planner:
    """Builds a random-shooting planner over any model: the plan is the best of N uniform sequences.

    Args:
        config: planner settings.
        action_size: A.
        evaluate: (params, belief, actions [H, N, A], key) -> returns [N]; see `objectives`.
        discrete: whether actions are one-hot choices.
        propose: samples sequences from a policy, for `policy_candidates`.

    Returns:
        Planner for one belief. Its info holds `elite_return` [1] (the best) and `return_std` [1].

    Raises:
        ValueError: `policy_candidates` is set, but there is no policy.

    Examples:
        >>> import jax, jax.numpy as jnp
        >>> towards_half = lambda params, belief, actions, key: -jnp.sum((actions - 0.5) ** 2, (0, 2))
        >>> plan = make_shooting(ShootingConfig(horizon=1), 1, towards_half)
        >>> bool(jnp.abs(plan(None, None, jax.random.key(0)).action[0] - 0.5) < 0.01)
        True
    """
    evaluate = sampling.finite_returns(evaluate)
    guides = sampling.make_guides(config, propose)
    shape = (config.horizon, config.num_candidates - config.policy_candidates + 1)

    def plan(params: Params, belief: AnyBelief, key: Key, warm_start: Array | None = None) -> PlanOutput:
        action_key, guide_key, model_key = jax.random.split(key, 3)
        if discrete:
            choices = jax.random.randint(action_key, shape, 0, action_size)
            drawn = jax.nn.one_hot(choices, action_size, dtype=jnp.float32)
        else:
            drawn = jax.random.uniform(action_key, (*shape, action_size), jnp.float32, minval=-1.0)
        drawn, spare = drawn[:, :-1], drawn[:, -1]
        last = jnp.zeros_like(spare) if warm_start is None else jnp.clip(shift(warm_start), -1.0, 1.0)
        # Zeros mark steps without a plan: not a valid one-hot choice, and no plan at all if every step is zero.
        fill = spare if discrete else jnp.where(jnp.any(last), 0.0, spare)
        last = jnp.where(jnp.any(last, -1, keepdims=True), last, fill)
        again = [last[:, None]] if config.warm_start else []
        actions = jnp.concatenate([drawn, *guides(params, belief, guide_key), *again], 1)
        returns = evaluate(params, belief, actions, model_key)
        best = actions[:, jnp.argmax(returns)]
        info = {"elite_return": jnp.max(returns)[None], "return_std": jnp.std(returns)[None]}
        return PlanOutput(action=best[0], plan=best, warm_start=best, info=info)

    return plan
