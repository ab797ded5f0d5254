"""The weight of a KL term, constant or by a schedule of the updates."""

from dataclasses import dataclass
from typing import Literal

import jax.numpy as jnp
from jaxtyping import Float, Int

from latentplan.config import Config, NonNegativeFloat, PositiveInt
from latentplan.types import Array


@dataclass(frozen=True, kw_only=True)
class KLWeightConfig(Config):
    """Weight of every KL term, over the updates. Defaults: 1, as in the bound."""

    weight: NonNegativeFloat = 1.0
    """Final weight. 1 is the variational bound, 0 trains by reconstruction alone; above 1: beta-VAE (Higgins et al.
    2017)."""
    schedule: Literal["constant", "linear", "cyclical"] = "constant"
    """linear: grows from 0 over `updates` (Bowman et al. 2016). cyclical: every `updates`, it grows from 0 in the first
    half and is constant in the second (Fu et al. 2019)."""
    updates: PositiveInt = 10_000
    """Length of the warm-up or of a cycle, in updates."""


def kl_weight(config: KLWeightConfig, updates: Int[Array, ""] | int) -> Float[Array, ""] | float:
    """The weight after a number of updates.

    Args:
        config: the schedule.
        updates: taken so far.

    Returns:
        Scalar, from 0 to `config.weight`.
    """
    if config.schedule == "constant":
        return config.weight
    passed = jnp.asarray(updates, jnp.float32) / config.updates
    grown = passed if config.schedule == "linear" else 2.0 * (passed % 1.0)
    return config.weight * jnp.minimum(grown, 1.0)
