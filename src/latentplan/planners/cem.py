"""The cross-entropy method (Rubinstein 1997) as PlaNet uses it (algorithm 2)."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from latentplan.planners.objectives import Evaluate
from latentplan.types import Array, Key, Params, Planner, PlanOutput


@dataclass(frozen=True, kw_only=True)
class CEMConfig:
    """Defaults: PlaNet (arXiv 1811.04551v5, appendix A)."""

    horizon: int = 12
    """H, planning horizon in decisions."""
    num_iterations: int = 10
    """I, rounds of sampling and refitting."""
    num_candidates: int = 1000
    """J, action sequences per round."""
    num_elites: int = 100
    """K, best sequences that the next round is fitted to."""
    init_std: float = 1.0
    """Standard deviation of the first round, in action units."""
    min_std: float = 1e-3
    """Floor of the refitted standard deviation, sqrt(var + min_std^2), in action units."""
    warm_start: bool = False
    """Start from the last plan, shifted by one decision, instead of from zero. PlaNet does not."""

    def __post_init__(self) -> None:
        for field, least in (("horizon", 1), ("num_iterations", 0), ("num_candidates", 1), ("num_elites", 1)):
            if getattr(self, field) < least:
                raise ValueError(f"planner.{field}: expected at least {least}, got {getattr(self, field)}")
        if self.num_elites > self.num_candidates:
            raise ValueError(
                f"planner.num_elites: expected at most num_candidates = {self.num_candidates}, got {self.num_elites}; "
                "lower num_elites or raise num_candidates"
            )
        if self.init_std <= 0 or self.min_std < 0:
            raise ValueError(
                f"planner.init_std, planner.min_std: expected init_std > 0 and min_std >= 0, "
                f"got {self.init_std} and {self.min_std}"
            )


def make_cem(config: CEMConfig, action_size: int, evaluate: Evaluate) -> Planner:
    """Builds a CEM planner over any model.

    Each round draws J sequences from N(mean, std^2) per step and action, clips them to [-1, 1], evaluates
    them, and refits mean and population std to the K best. The mean's first action is the one to take.

    Args:
        config: sizes.
        action_size: A.
        evaluate: (params, belief, actions [H, J, A], key) -> returns [J]; see `objectives`.

    Returns:
        Planner for one belief; `jax.vmap(planner, (None, 0, 0))` plans for many. Its info holds
        `elite_return` [I] (mean over elites), `return_std` [I] (over candidates) and `action_std` [I].

    Example:
        >>> import jax, jax.numpy as jnp
        >>> towards_half = lambda params, belief, actions, key: -jnp.sum((actions - 0.5) ** 2, (0, 2))
        >>> plan = make_cem(CEMConfig(horizon=3), 2, towards_half)
        >>> bool(jnp.all(jnp.abs(plan(None, None, jax.random.key(0)).action - 0.5) < 0.01))
        True
    """
    shape = (config.horizon, action_size)

    def plan(params: Params, belief: Any, key: Key, warm_start: Array | None = None) -> PlanOutput:
        if config.warm_start and warm_start is not None:
            mean = jnp.clip(jnp.concatenate([warm_start[1:], jnp.zeros_like(warm_start[:1])]), -1.0, 1.0)
        else:
            mean = jnp.zeros(shape)

        def iteration(carry: tuple[Array, Array], key: Key):
            mean, std = carry
            action_key, model_key = jax.random.split(key)
            noise = jax.random.normal(action_key, (config.horizon, config.num_candidates, action_size))
            actions = jnp.clip(mean[:, None] + std[:, None] * noise, -1.0, 1.0)
            returns = evaluate(params, belief, actions, model_key)
            returns = jnp.where(jnp.isnan(returns), -jnp.inf, returns)  # top_k would take NaN for the best
            elite_returns, elites = jax.lax.top_k(returns, config.num_elites)
            elite_actions = actions[:, elites]
            mean = jnp.mean(elite_actions, 1)
            std = jnp.sqrt(jnp.var(elite_actions, 1) + config.min_std**2)
            info = {
                "elite_return": jnp.mean(elite_returns),
                "return_std": jnp.std(returns),
                "action_std": jnp.mean(std),
            }
            return (mean, std), info

        start = (mean, jnp.full(shape, config.init_std))
        (mean, _), info = jax.lax.scan(iteration, start, jax.random.split(key, config.num_iterations))
        return PlanOutput(action=mean[0], plan=mean, info=info)

    return plan
