"""Free nats, KL balancing, and schedules of the KL's weight."""

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from latentplan.types import AnyLatent, Array

Schedule = Literal["constant", "linear", "cyclical"]


def free_nats(kl: Float[Array, "*batch"], nats: float) -> Float[Array, "*batch"]:
    """max(0, KL - nats) per step: a KL below `nats` has no cost and no gradient.

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
    """The KL twice, each with a stop-gradient on one side (Dreamer V2, algorithm 2; Dreamer V3, eq. 3).

    Their sum has the gradient of the plain KL.

    Args:
        divergence: (posterior, prior) -> [...], in nats.
        posterior: of the model's steps, [...].
        prior: likewise.

    Returns:
        (dynamics, representation), [...] each: equal values; the first has a gradient in the prior only, the second in
        the posterior only.
    """
    dynamics = divergence(jax.lax.stop_gradient(posterior), prior)
    representation = divergence(posterior, jax.lax.stop_gradient(prior))
    return dynamics, representation


def free_nats_floor(kl: Float[Array, "*batch"], nats: float, *, averaged: bool) -> Float[Array, ""]:
    """The mean KL, bounded from below by `nats`, where its gradient vanishes.

    Args:
        kl: [...], in nats.
        nats: the free nats, below which there is no gradient.
        averaged: True: max(mean(kl), nats), as in Dreamer V1 and V2; False: mean(max(kl, nats)), as in V3.

    Returns:
        Scalar, in nats.
    """
    return jnp.maximum(jnp.mean(kl), nats) if averaged else jnp.mean(jnp.maximum(kl, nats))


def annealed(weight: float, schedule: Schedule, length: int, updates: Int[Array, ""] | int) -> Float[Array, ""] | float:
    """A KL's weight after a number of updates.

    Args:
        weight: the final one.
        schedule: "constant"; "linear": grows from 0 over `length` updates (Bowman et al. 2016); "cyclical": every
            `length` updates, it grows from 0 in the first half and is constant in the second (Fu et al. 2019).
        length: in updates.
        updates: taken so far.

    Returns:
        Scalar, from 0 to `weight`.
    """
    if schedule == "constant":
        return weight
    passed = jnp.asarray(updates, jnp.float32) / length
    grown = passed if schedule == "linear" else 2.0 * (passed % 1.0)
    return weight * jnp.minimum(grown, 1.0)
