"""The evidence lower bound of a latent sequence model."""

from typing import NamedTuple

from jaxtyping import Float

from latentplan.losses.kl import free_nats as apply_free_nats
from latentplan.types import Array


class ElboTerms(NamedTuple):
    """The bound's terms per step, in nats.

    Attributes:
        observation: [...], log p(o_t | s_t).
        reward: [...], log p(r_t | s_t).
        kl: [...], KL(q(s_t | o_<=t, a_<t) || p(s_t | s_t-1, a_t-1)).
    """

    observation: Float[Array, "*batch"]
    reward: Float[Array, "*batch"]
    kl: Float[Array, "*batch"]


def elbo(
    terms: ElboTerms,
    *,
    reward_scale: float = 1.0,
    free_nats: float = 0.0,
    kl_weight: float | Float[Array, ""] = 1.0,
) -> Float[Array, "..."]:
    """The bound per step (PlaNet eq. 3): log p(o_t | s_t) + c log p(r_t | s_t) - w max(0, KL_t - free nats).

    With c = w = 1, no free nats and samples from q, its sum over t is in expectation a lower bound on
    log p(o_1:T, r_1:T | a_1:T).

    Args:
        terms: per step, [...].
        reward_scale: c. PlaNet uses 10.
        free_nats: allowance per step, in nats. PlaNet uses 3.
        kl_weight: w.

    Returns:
        [...], in nats.
    """
    return terms.observation + reward_scale * terms.reward - kl_weight * apply_free_nats(terms.kl, free_nats)
