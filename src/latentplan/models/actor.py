"""Actors: networks that map a belief's feature to a distribution over actions."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp

from latentplan.config import Config, NonNegativeFloat, NonNegativeInt, OneOf, PositiveFloat, PositiveInt, Share
from latentplan.distributions import Distribution, Gaussian, TanhGaussian, TruncatedGaussian
from latentplan.nets.mlp import make_mlp, make_one_hot_mlp
from latentplan.nets.network import Activation, Network, Norm, Style, Weights
from latentplan.types import Array, EnvSpec, Params


@dataclass(frozen=True, kw_only=True)
class ActorConfig(Config):
    """The actor network. Defaults: Dreamer V1 (danijar/dreamer, `models.py`, ActionDecoder)."""

    kind: Annotated[str, OneOf(lambda: ACTOR_SHAPES)] = "tanh_normal"
    """Distribution of continuous actions: tanh_normal (Dreamer V1), truncated_normal (V2) or normal with a mean in [-1,
    1] (V3). Discrete actions are always one-hot."""
    hidden: PositiveInt = 400
    """Units per hidden layer."""
    layers: NonNegativeInt = 4
    """Hidden layers."""
    activation: Activation = "elu"
    """Activation."""
    norm: Norm = "none"
    """Normalisation before each activation. Dreamer V3 uses rms."""
    weights: Weights = "glorot"
    """Weight initialisation."""
    output_scale: NonNegativeFloat = 1.0
    """Scale of the output layer's initial weights. Dreamer V3 uses 0.01."""
    min_std: PositiveFloat = 1e-4
    """Minimum standard deviation. Dreamer V2 and V3 use 0.1."""
    init_std: PositiveFloat = 5.0
    """Initial standard deviation of tanh_normal, before tanh."""
    unimix: Share = 0.0
    """Weight of the uniform distribution mixed into discrete actions. Dreamer V3 uses 0.01."""

    def check(self) -> None:
        """Checks constraints between fields."""
        maximum = self.shape.max_std
        expected = f"less than {maximum:g}, the maximum std of kind {self.kind}"
        self.require(self.min_std < maximum, "min_std", expected, "Dreamer V3 uses 0.1")

    @property
    def shape(self) -> "ActorShape":
        """The registry entry of `kind`."""
        return ACTOR_SHAPES[self.kind]


def make_actor(config: ActorConfig, feature_size: int, spec: EnvSpec, *, dtype: str = "float32") -> Network:
    """Builds an actor.

    Args:
        config: sizes and distribution.
        feature_size: F.
        spec: of the environment's actions.
        dtype: compute precision.

    Returns:
        Network whose apply maps features [..., F] to a distribution over actions [..., A], one-hot if `spec.discrete`.
    """
    hidden, layers, scale = config.hidden, config.layers, config.output_scale
    style = Style(activation=config.activation, norm=config.norm, weights=config.weights, dtype=dtype)
    if spec.discrete:
        return make_one_hot_mlp(
            feature_size,
            1,
            spec.action_size,
            hidden=hidden,
            layers=layers,
            style=style,
            unimix=config.unimix,
            output_scale=scale,
        )
    network = make_mlp(
        feature_size, 2 * spec.action_size, hidden=hidden, layers=layers, style=style, output_scale=scale
    )

    def apply(params: Params, x: Array) -> Distribution:
        return config.shape.make(config, *jnp.split(network.apply(params, x), 2, -1))

    return Network(network.init, apply)


def _tanh_normal(config: ActorConfig, mean: Array, std: Array) -> TanhGaussian:
    """Means within -5..5 before tanh; std starts at init_std."""
    start = math.log(math.expm1(config.init_std))
    return TanhGaussian(5.0 * jnp.tanh(mean / 5.0), jax.nn.softplus(std + start) + config.min_std)


def _truncated_normal(config: ActorConfig, mean: Array, std: Array) -> TruncatedGaussian:
    """Std from min_std to 2 + min_std, 1 + min_std at the start (Dreamer V2, `common/nets.py`, DistLayer)."""
    return TruncatedGaussian(jnp.tanh(mean), 2.0 * jax.nn.sigmoid(std / 2.0) + config.min_std)


def _normal(config: ActorConfig, mean: Array, std: Array) -> Gaussian:
    """Std from min_std to 1, near 1 at the start (Dreamer V3, `heads.py`, bounded_normal)."""
    return Gaussian(jnp.tanh(mean), config.min_std + (1.0 - config.min_std) * jax.nn.sigmoid(std + 2.0))


class ActorShape(NamedTuple):
    """A distribution over continuous actions.

    Attributes:
        make: (config, mean [..., A], std [..., A], the network's outputs) -> Distribution.
        has_entropy: whether its entropy has a closed form.
        max_std: its maximum standard deviation.
    """

    make: Callable[[ActorConfig, Array, Array], Distribution]
    has_entropy: bool = True
    max_std: float = math.inf


ACTOR_SHAPES: dict[str, ActorShape] = {
    "tanh_normal": ActorShape(_tanh_normal, has_entropy=False),
    "truncated_normal": ActorShape(_truncated_normal),
    "normal": ActorShape(_normal, max_std=1.0),
}
"""Kinds of actors by name."""
