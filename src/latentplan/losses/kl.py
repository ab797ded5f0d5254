"""Shaping of KL terms."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Float

from latentplan.types import AnyLatent, Array


def free_nats(kl: Float[Array, "*batch"], nats: float) -> Float[Array, "*batch"]:
    """max(0, KL - nats) per step: below `nats` the KL costs nothing and gives no gradient.

    PlaNet appendix A ("3 free nats"), clipped per time step after the sum over latent dimensions, as
    in its released code. Dreamer V1 clips after averaging over the batch instead.

    Args:
        kl: [...], in nats.
        nats: the allowance per step, in nats.

    Returns:
        [...], in nats.
    """
    return jnp.maximum(kl - nats, 0.0)


def balanced(
    divergence: Callable[[AnyLatent, AnyLatent], Array], posterior: AnyLatent, prior: AnyLatent
) -> tuple[Float[Array, "*batch"], Float[Array, "*batch"]]:
    """The KL twice, for one side each to learn from (Dreamer V2, algorithm 2; Dreamer V3, eq. 3).

    Weighed by 1 and 1, their gradient is that of the plain KL.

    Args:
        divergence: (posterior, prior) -> [...], in nats.
        posterior: of the model's steps, [...].
        prior: likewise.

    Returns:
        (dynamics, representation), [...] each: equal in value, the first teaches the prior, the second the posterior.
    """
    dynamics = divergence(jax.lax.stop_gradient(posterior), prior)
    representation = divergence(posterior, jax.lax.stop_gradient(prior))
    return dynamics, representation


def free_nats_floor(kl: Float[Array, "*batch"], nats: float, *, averaged: bool) -> Float[Array, ""]:
    """The mean KL, of which so many nats are free.

    Args:
        kl: [...], in nats.
        nats: below it, there is no gradient.
        averaged: max(mean(kl), nats), as in Dreamer V1 and V2; else mean(max(kl, nats)), as in V3.

    Returns:
        Scalar, in nats.
    """
    return jnp.maximum(jnp.mean(kl), nats) if averaged else jnp.mean(jnp.maximum(kl, nats))
