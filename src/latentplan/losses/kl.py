"""Shaping of KL terms."""

import jax.numpy as jnp
from jaxtyping import Float

from latentplan.types import Array


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
