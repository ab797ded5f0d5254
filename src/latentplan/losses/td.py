"""Temporal-difference targets, and rollout losses weighted by rho^t (TD-MPC)."""

import jax.numpy as jnp
from jaxtyping import Bool, Float

from latentplan.types import Array


def td_target(
    reward: Float[Array, "*batch"], is_terminal: Bool[Array, "*batch"], value: Float[Array, "*batch"], discount: float
) -> Float[Array, "*batch"]:
    """TD target: reward + discount * value, without the value after a termination (TD-MPC eq. 8; TD-MPC2 eq. 4).

    Args:
        reward: of the transition into a step.
        is_terminal: whether the episode terminated at that step; a time limit does not count.
        value: of that step.
        discount: per decision.

    Returns:
        [...], in units of reward.
    """
    return reward + discount * jnp.where(is_terminal, 0.0, value)


def discount_of(decisions: int | None, denominator: float, low: float, high: float) -> float:
    """TD-MPC2's discount for an episode's length: clip((T/d - 1) / (T/d), low, high).

    Args:
        decisions: T, an episode's time limit in decisions; None without a limit.
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
    """Mask of a window's H = T - 1 transitions that belong to the episode in which it starts.

    Args:
        is_first: whether a record begins an episode.

    Returns:
        [T - 1, ...]: transition t leads from record t to record t + 1.
    """
    return jnp.cumsum(is_first[1:], 0) == 0


def check_length(records: int) -> None:
    """Raises if a window is too short to contain a transition.

    Raises:
        ValueError: there are fewer than two records.
    """
    if records < 2:
        raise ValueError(
            f"batch_length: expected at least 2 records, for at least one transition, got {records}; "
            "TD-MPC uses 6, TD-MPC2 uses 4"
        )


def rho_weighted_mean(values: Float[Array, "H *batch"], valid: Bool[Array, "H *batch"], rho: float) -> Float[Array, ""]:
    """1/H sum_t rho^t mean(values_t), each mean over the valid entries (TD-MPC eq. 6; TD-MPC2 eq. 3).

    Args:
        values: per step of a rollout.
        valid: mask of the entries to average.
        rho: decay of the weight per step; both papers use 0.5.

    Returns:
        Scalar.
    """
    axes = tuple(range(1, values.ndim))
    means = jnp.sum(jnp.where(valid, values, 0.0), axes) / jnp.maximum(jnp.sum(valid, axes, dtype=values.dtype), 1)
    return jnp.mean(rho ** jnp.arange(len(values), dtype=values.dtype) * means)


def running_scale(scale: Float[Array, ""], values: Float[Array, "*batch"], rate: float) -> Float[Array, ""]:
    """Moving average of max(1, 95th - 5th percentile) of the values (TD-MPC2 `RunningScale`).

    Args:
        scale: the current average.
        values: of a batch.
        rate: step size of the moving average. TD-MPC2 uses 0.01.

    Returns:
        The updated scale.
    """
    low, high = jnp.percentile(values, jnp.array([5.0, 95.0], values.dtype))
    return scale + rate * (jnp.maximum(high - low, 1.0) - scale)
