"""Returns along imagined rollouts, for critics and actors."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float

from latentplan.types import Array


def lambda_returns(
    reward_t: Float[Array, "T *batch"],
    discount_t: Float[Array, "T *batch"],
    value_t: Float[Array, "T *batch"],
    lam: float | Float[Array, "T *batch"],
) -> Float[Array, "T *batch"]:
    """TD(lambda) returns, by a scan from the end.

    R_t = r_{t+1} + g_{t+1} ((1 - lam) v_{t+1} + lam R_{t+1}) for t = 0..T-1, with R_T = v_T (Dreamer V1 eq. 6,
    written as the recursion of Dreamer V2 eq. 4). lam = 0 gives one-step targets, lam = 1 the discounted sum of
    rewards and the last value.

    Args:
        reward_t: r_1..r_T, what each transition earns.
        discount_t: g_1..g_T, the discount per decision times the probability that the episode goes on.
        value_t: v_1..v_T, at the states that the transitions lead to.
        lam: from 0 to 1, one for all or one for each transition; 0 where another episode begins. Dreamer has 0.95.

    Returns:
        R_0..R_{T-1}, of the states that the transitions start from.

    Raises:
        ValueError: lam is no share.
    """
    if isinstance(lam, (int, float)) and not 0 <= lam <= 1:
        raise ValueError(f"lam: expected 0 to 1, got {lam}; Dreamer has 0.95")

    def step(later: Array, inputs: tuple[Array, Array, Array, Array]) -> tuple[Array, Array]:
        reward, discount, value, share = inputs
        now = reward + discount * ((1.0 - share) * value + share * later)
        return now, now

    lam = jnp.broadcast_to(jnp.asarray(lam, jnp.float32), value_t.shape)
    _, returns = jax.lax.scan(step, jnp.asarray(value_t[-1]), (reward_t, discount_t, value_t, lam), reverse=True)
    return returns


class Range(NamedTuple):
    """Moving averages of two percentiles of returns.

    Attributes:
        low: of the 5th percentile, a scalar.
        high: of the 95th.
    """

    low: Array
    high: Array

    @property
    def scale(self) -> Array:
        """Their distance, at least 1: small returns are not blown up (Dreamer V3, eq. 7)."""
        return jnp.maximum(self.high - self.low, 1.0)


def track_range(before: Range, returns: Float[Array, "*batch"], rate: float) -> Range:
    """Moves both percentiles towards those of a batch (Dreamer V3, eq. 7).

    Args:
        before: so far; zeros at the start.
        returns: of a batch.
        rate: share of the way. Dreamer V3 has 0.01.

    Returns:
        Range.
    """
    low, high = jnp.percentile(returns, jnp.array([5.0, 95.0]))
    return Range(before.low + rate * (low - before.low), before.high + rate * (high - before.high))
