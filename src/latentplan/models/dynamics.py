"""What all latent dynamics share: their record, their sizes, and the reset at an episode's start."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import jax.numpy as jnp

from latentplan.config import Config, NonNegativeInt, PositiveFloat, PositiveInt, Share
from latentplan.nets.network import Activation, Norm, Style, Weights
from latentplan.types import AnyLatent, Array, Belief, ImagineStep, Key, ObserveStep, Params


@dataclass(frozen=True, kw_only=True)
class DynamicsConfig(Config):
    """Sizes of the latent dynamics. Defaults: PlaNet (arXiv 1811.04551v5, appendix A)."""

    deter: PositiveInt = 200
    """Size of the GRU, in units."""
    stoch: PositiveInt = 30
    """Size of the stochastic latent, in dimensions."""
    hidden: PositiveInt = 200
    """Width of the dynamics' hidden layers, in units."""
    layers: NonNegativeInt = 2
    """Hidden layers per function. The paper says 2; its released code has 1."""
    activation: Activation = "relu"
    """Activation of every network."""
    norm: Norm = "none"
    """What normalises features before each activation. Dreamer V3 has rms."""
    weights: Weights = "glorot"
    """Weight initialisation: Glorot-uniform, or normal, truncated, by fan-in, as Dreamer V3's."""
    cell: Literal["gru", "normed", "block"] = "gru"
    """The rssm's recurrent cell: gru; normed, Dreamer V2's with a LayerNorm; block, Dreamer V3's block-diagonal one."""
    blocks: PositiveInt = 8
    """Blocks of the block cell."""
    classes: NonNegativeInt = 0
    """Classes of each stochastic dimension, of which there are `stoch`; 0: they are Gaussian. Dreamer V2 has 32."""
    unimix: Share = 0.0
    """Share of uniform probabilities that classes are mixed with. Dreamer V3 has 0.01."""
    prior_layers: NonNegativeInt | None = None
    """Hidden layers of the rssm's prior; None: as of the others. Dreamer V3 has 2 beside 1."""
    min_std: PositiveFloat = 0.1
    """Smallest standard deviation of priors and posteriors."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Compute precision of the networks; parameters and losses stay float32."""

    def check(self) -> None:
        """Rules between fields."""
        self.require(self.classes != 1, "classes", "0 (Gaussian) or at least 2", "Dreamer V2 has 32")
        whole = self.cell != "block" or not self.deter % self.blocks
        self.require(whole, "deter", f"a multiple of blocks = {self.blocks}", "Dreamer V3 has 8 blocks")

    @property
    def stoch_size(self) -> int:
        """Width of `Belief.stoch`: one-hot vectors lie side by side."""
        return self.stoch * max(1, self.classes)

    @property
    def style(self) -> Style:
        """How the layers of every network but the convolutions are built."""
        return Style(activation=self.activation, norm=self.norm, weights=self.weights, dtype=self.dtype)


class Dynamics(NamedTuple):
    """Latent dynamics as pure functions: the part of a WorldModel that knows time.

    Attributes:
        init: (key) -> params.
        initial: (batch_shape) -> Belief of zeros.
        observe_step: (params, belief, action, embed, is_first, key) -> (belief, (posterior, prior)).
        imagine_step: (params, belief, action, key) -> (belief, prior).
        divergence: (posterior, prior) -> [...], nats.
    """

    init: Callable[[Key], Params]
    initial: Callable[[tuple[int, ...]], Belief]
    observe_step: ObserveStep
    imagine_step: ImagineStep
    divergence: Callable[[AnyLatent, AnyLatent], Array]


class DynamicsEntry(NamedTuple):
    """Latent dynamics to choose from: how they are built, and what others have to know of them.

    Attributes:
        make: (config, embed_size, action_size) -> Dynamics.
        has_kl: whether their divergence is a KL between distributions, which teaches the prior. Where it is none, an
            agent has to teach the prior by what is decoded from it.
        deter_size: (config) -> width of `Belief.deter`.
        stoch_size: (config) -> width of `Belief.stoch`. What heads read is as wide as both together.
        only: settings that have to keep these values, since the dynamics know nothing else.
    """

    make: Callable[[DynamicsConfig, int, int], Dynamics]
    has_kl: bool = True
    deter_size: Callable[[DynamicsConfig], int] = lambda config: config.deter
    stoch_size: Callable[[DynamicsConfig], int] = lambda config: config.stoch_size
    only: Mapping[str, Any] = MappingProxyType({})


def zeros_belief(deter: int, stoch: int) -> Callable[[tuple[int, ...]], Belief]:
    """The initial belief of every model here: zeros, as in PlaNet."""

    def initial(batch_shape: tuple[int, ...]) -> Belief:
        return Belief(jnp.zeros((*batch_shape, deter)), jnp.zeros((*batch_shape, stoch)))

    return initial


def reset_at_first(belief: Belief, action: Array, is_first: Array) -> tuple[Belief, Array]:
    """Belief and action before a step, zeroed where the step starts an episode.

    Args:
        belief: [...].
        action: [..., A].
        is_first: [...] bool.

    Returns:
        (belief, action), so that nothing of the previous episode can leak into the next.
    """
    keep = ~is_first[..., None]
    return Belief(*(jnp.where(keep, x, 0.0) for x in belief)), jnp.where(keep, action, 0.0)
