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
    """TD(lambda) returns, by a backward scan.

    R_t = r_{t+1} + g_{t+1} ((1 - lam) v_{t+1} + lam R_{t+1}) for t = 0..T-1, with R_T = v_T (Dreamer V1 eq. 6,
    written as the recursion of Dreamer V2 eq. 4). lam = 0 gives one-step targets, lam = 1 the discounted sum of rewards
    plus the bootstrapped last value.

    Args:
        reward_t: r_1..r_T, the reward of each transition.
        discount_t: g_1..g_T, the discount per decision times the probability that the episode goes on.
        value_t: v_1..v_T, values of the states after each transition.
        lam: from 0 to 1, a scalar or one per transition; 0 where another episode begins. Dreamer uses 0.95.

    Returns:
        R_0..R_{T-1}, returns from the states before each transition.

    Raises:
        ValueError: lam is a number outside [0, 1].
    """
    if isinstance(lam, (int, float)) and not 0 <= lam <= 1:
        raise ValueError(f"lam: expected 0 to 1, got {lam}; Dreamer uses 0.95")

    def step(later: Array, inputs: tuple[Array, Array, Array, Array]) -> tuple[Array, Array]:
        reward, discount, value, share = inputs
        now = reward + discount * ((1.0 - share) * value + share * later)
        return now, now

    lam = jnp.broadcast_to(jnp.asarray(lam, jnp.float32), value_t.shape)
    _, returns = jax.lax.scan(step, jnp.asarray(value_t[-1]), (reward_t, discount_t, value_t, lam), reverse=True)
    return returns


class Range(NamedTuple):
    """Moving averages of the 5th and 95th percentiles of returns.

    Attributes:
        low: moving average of the 5th percentile, a scalar.
        high: likewise of the 95th.
    """

    low: Array
    high: Array

    @property
    def scale(self) -> Array:
        """max(1, high - low): small returns are not amplified (Dreamer V3, eq. 7)."""
        return jnp.maximum(self.high - self.low, 1.0)


def track_range(before: Range, returns: Float[Array, "*batch"], rate: float) -> Range:
    """Updates both moving averages with a batch's percentiles (Dreamer V3, eq. 7).

    Args:
        before: the current averages; zeros at the start.
        returns: of a batch.
        rate: step size of the moving average. Dreamer V3 uses 0.01.

    Returns:
        Range.
    """
    low, high = jnp.percentile(returns, jnp.array([5.0, 95.0], returns.dtype))
    return Range(before.low + rate * (low - before.low), before.high + rate * (high - before.high))
