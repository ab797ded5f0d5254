"""Temporal differences, and losses over a short rollout that count less the further it goes (TD-MPC)."""

import jax.numpy as jnp
from jaxtyping import Bool, Float

from latentplan.types import Array


def td_target(
    reward: Float[Array, "*batch"], is_terminal: Bool[Array, "*batch"], value: Float[Array, "*batch"], discount: float
) -> Float[Array, "*batch"]:
    """Reward + discount x value, without the value where the episode terminated (TD-MPC eq. 8; TD-MPC2 eq. 4).

    Args:
        reward: that led to a step.
        is_terminal: whether the episode ended there by termination; a time limit is none.
        value: of that step.
        discount: per decision.

    Returns:
        [...], in units of reward.
    """
    return reward + discount * jnp.where(is_terminal, 0.0, value)


def discount_of(decisions: int | None, denominator: float, low: float, high: float) -> float:
    """TD-MPC2's discount for an episode's length: clip((T/d - 1) / (T/d), low, high).

    Args:
        decisions: T, an episode's time limit in decisions; None where there is none.
        denominator: d. TD-MPC2 has 5.
        low: TD-MPC2 has 0.95.
        high: TD-MPC2 has 0.995; also for episodes without a time limit.

    Returns:
        Discount per decision.

    Examples:
        >>> [round(discount_of(decisions, 5.0, 0.95, 0.995), 4) for decisions in (50, 125, 500, None)]
        [0.95, 0.96, 0.99, 0.995]
    """
    if decisions is None:
        return high
    return min(max((decisions / denominator - 1) / (decisions / denominator), low), high)


def in_one_episode(is_first: Bool[Array, "T *batch"]) -> Bool[Array, "H *batch"]:
    """Which of the H = T - 1 transitions of a window belong to the episode that it starts in.

    Args:
        is_first: whether a record begins an episode.

    Returns:
        [T - 1, ...]: transition t leads from record t to record t + 1.
    """
    return jnp.cumsum(is_first[1:], 0) == 0


def check_length(records: int) -> None:
    """Raises if windows hold no transition.

    Raises:
        ValueError: there are less than two records.
    """
    if records < 2:
        raise ValueError(
            f"batch_length: expected at least 2 records, so that there is a transition, got {records}; "
            "TD-MPC has 6, TD-MPC2 4"
        )


def rho_weighted_mean(values: Float[Array, "H *batch"], valid: Bool[Array, "H *batch"], rho: float) -> Float[Array, ""]:
    """1/H sum_t rho^t mean(values_t) over what is valid (TD-MPC eq. 6; TD-MPC2 eq. 3).

    Args:
        values: per step of a rollout.
        valid: what counts.
        rho: weight of a step relative to the one before; both papers have 0.5.

    Returns:
        Scalar.
    """
    axes = tuple(range(1, values.ndim))
    means = jnp.sum(jnp.where(valid, values, 0.0), axes) / jnp.maximum(jnp.sum(valid, axes), 1)
    return jnp.mean(rho ** jnp.arange(len(values)) * means)


def running_scale(scale: Float[Array, ""], values: Float[Array, "*batch"], rate: float) -> Float[Array, ""]:
    """Moves towards the range of values, from their 5th to their 95th percentile, at least 1 (TD-MPC2 `RunningScale`).

    Args:
        scale: so far.
        values: of a batch.
        rate: of the moving average. TD-MPC2 has 0.01.

    Returns:
        The new scale.
    """
    low, high = jnp.percentile(values, jnp.array([5.0, 95.0]))
    return scale + rate * (jnp.maximum(high - low, 1.0) - scale)
