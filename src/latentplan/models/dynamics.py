"""Latent dynamics: their interface, config and registry entry, and the reset at episode starts."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float

from latentplan.checks import call_problem, described, expect_shape, expect_type
from latentplan.config import Config, NonNegativeInt, PositiveFloat, PositiveInt, Share
from latentplan.nets.network import Activation, Norm, Style, Weights
from latentplan.types import AnyLatent, Array, Belief, ImagineStep, Key, ObserveStep, Params

FEATURE = ("stoch", "deter")
"""The parts of a belief in the order in which heads read them."""


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
    """Normalisation before each activation. Dreamer V3 uses rms."""
    weights: Weights = "glorot"
    """Weight initialisation. glorot: Glorot-uniform, as in PlaNet, Dreamer V1 and V2; truncated: truncated normal
    scaled by fan-in, as in Dreamer V3; normal: std 0.02, as in TD-MPC2; orthogonal: as in TD-MPC."""
    cell: Literal["gru", "normed", "block"] = "gru"
    """Recurrent cell of the rssm: gru; normed (Dreamer V2's GRU with LayerNorm); block (Dreamer V3's block-diagonal
    GRU)."""
    blocks: PositiveInt = 8
    """Number of blocks of the block cell."""
    classes: NonNegativeInt = 0
    """Classes per categorical latent, of which there are `stoch`; 0: Gaussian latents. Dreamer V2 uses 32."""
    unimix: Share = 0.0
    """Weight of the uniform distribution mixed into categorical latents. Dreamer V3 uses 0.01."""
    prior_layers: NonNegativeInt | None = None
    """Hidden layers of the rssm's prior; None: the same as `layers`. Dreamer V3 uses 2 for the prior, 1 elsewhere."""
    min_std: PositiveFloat = 0.1
    """Minimum standard deviation of priors and posteriors."""
    transition: Literal["stochastic", "deterministic"] = "stochastic"
    """Transition of the vae. stochastic: a mean and a standard deviation; deterministic: a mean, learned by squared
    error."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Compute precision of the networks; parameters and losses stay float32."""

    def check(self) -> None:
        """Checks constraints between fields."""
        self.require(self.classes != 1, "classes", "0 (Gaussian) or at least 2", "Dreamer V2 uses 32")
        whole = self.cell != "block" or not self.deter % self.blocks
        self.require(whole, "deter", f"a multiple of blocks = {self.blocks}", "Dreamer V3 uses 8 blocks")

    @property
    def stoch_size(self) -> int:
        """Width of `Belief.stoch`; one-hot vectors are concatenated."""
        return self.stoch * max(1, self.classes)

    @property
    def style(self) -> Style:
        """Layer style of every network except the convolutions."""
        return Style(activation=self.activation, norm=self.norm, weights=self.weights, dtype=self.dtype)


class Dynamics(NamedTuple):
    """Latent dynamics as pure functions: the temporal part of a WorldModel.

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


class LatentTerms(NamedTuple):
    """What latents cost in the loss, per step and in nats.

    Attributes:
        kl: [...], to which free nats and the KL's weight apply.
        transition_nll: [...], negative log-likelihood of the next latent.
    """

    kl: Float[Array, "*batch"]
    transition_nll: Float[Array, "*batch"]


class DynamicsEntry(NamedTuple):
    """Registry entry of latent dynamics: their builder, and the properties that other modules depend on.

    Attributes:
        make: (config, embed_size, action_size) -> Dynamics.
        has_kl: whether their divergence is a KL, which trains the prior. Otherwise the agent must train the prior
            through what is decoded from it.
        deter_size: (config) -> width of `Belief.deter`.
        stoch_size: (config) -> width of `Belief.stoch`. The feature that heads read has both widths together.
        decoder_reads: the parts of a belief from which observations are decoded.
        reward_reads: the parts from which rewards are predicted.
        latent_terms: (posterior, prior, stoch [..., S]) -> LatentTerms, what learning the latents costs; None:
            KL(posterior || prior) alone, the divergence.
        only: settings that must keep these values, because the dynamics support no others.
    """

    make: Callable[[DynamicsConfig, int, int], Dynamics]
    has_kl: bool = True
    deter_size: Callable[[DynamicsConfig], int] = lambda config: config.deter
    stoch_size: Callable[[DynamicsConfig], int] = lambda config: config.stoch_size
    only: Mapping[str, Any] = MappingProxyType({})
    decoder_reads: tuple[str, ...] = FEATURE
    reward_reads: tuple[str, ...] = FEATURE
    latent_terms: Callable[[AnyLatent, AnyLatent, Array], LatentTerms] | None = None

    def width(self, config: DynamicsConfig, parts: Iterable[str] = FEATURE) -> int:
        """Total width of a belief's parts."""
        return sum({"deter": self.deter_size, "stoch": self.stoch_size}[part](config) for part in parts)

    def problem(self) -> str:
        """What keeps the entry from being used; "" if nothing does."""
        calls = {
            "make": call_problem(self.make, ("config", "embed_size", "action_size")),
            "deter_size": call_problem(self.deter_size, ("config",)),
            "stoch_size": call_problem(self.stoch_size, ("config",)),
        }
        return next((f"{field}: {call}; correct its arguments" for field, call in calls.items() if call), "")


def checked_dynamics(name: str, dynamics: Dynamics, deter: int, stoch: int) -> Dynamics:
    """Dynamics whose beliefs must have the widths that their entry says; checked while JAX traces.

    Args:
        name: of the entry, for messages.
        dynamics: as its builder returned it.
        deter: the entry's `deter_size`.
        stoch: its `stoch_size`.

    Returns:
        Dynamics with the same outputs.

    Raises:
        ValueError: the builder returned no Dynamics; when called: beliefs are of other widths, or posterior and prior
            of different ones.
    """
    expect_type(f"{name}.make", dynamics, Dynamics, "return Dynamics(init, initial, ...)")

    def checked(belief: Belief) -> Belief:
        expect_type(f"{name}, belief", belief, Belief, "return Belief(deter, stoch), and what each step adds")
        for field, size in {"deter": deter, "stoch": stoch}.items():
            advice = f"let the entry's {field}_size say the width that the dynamics have"
            expect_shape(f"{name}, belief.{field}", getattr(belief, field), ("...", size), advice)
        return belief

    def observe_step(*arguments: Any) -> tuple[Belief, tuple[AnyLatent, AnyLatent]]:
        belief, latents = dynamics.observe_step(*arguments)
        if type(latents) is not tuple or len(latents) != 2:
            raise ValueError(f"{name}, observe_step: expected (belief, (posterior, prior)), got {described(latents)}")
        posterior, prior = map(_described_latent, latents)
        if posterior != prior:
            raise ValueError(f"{name}, observe_step: expected a prior like the posterior {posterior}, got {prior}")
        return checked(belief), latents

    def imagine_step(*arguments: Any) -> tuple[Belief, AnyLatent]:
        belief, prior = dynamics.imagine_step(*arguments)
        return checked(belief), prior

    return dynamics._replace(
        initial=lambda batch_shape: checked(dynamics.initial(batch_shape)),
        observe_step=observe_step,
        imagine_step=imagine_step,
    )


def _described_latent(latent: AnyLatent) -> str:
    """A distribution's kind and the shapes of its arrays: "Gaussian[(8, 4), (8, 4)]"."""
    kind = type(latent).__name__ if isinstance(latent, tuple) else "array"
    return f"{kind}{[jnp.shape(x) for x in jax.tree.leaves(latent)]}"


def zeros_belief(deter: int, stoch: int) -> Callable[[tuple[int, ...]], Belief]:
    """The initial belief of every model here: zeros, as in PlaNet."""

    def initial(batch_shape: tuple[int, ...]) -> Belief:
        return Belief(*(jnp.zeros((*batch_shape, size), jnp.float32) for size in (deter, stoch)))

    return initial


def reset_at_first(
    belief: Belief, action: Float[Array, "*batch A"], is_first: Bool[Array, "*batch"]
) -> tuple[Belief, Float[Array, "*batch A"]]:
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
