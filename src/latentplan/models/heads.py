"""Heads that predict a scalar from a feature: rewards and values."""

import jax.numpy as jnp

from latentplan import transforms
from latentplan.distributions import Gaussian, TwoHot
from latentplan.nets.mlp import make_mlp
from latentplan.nets.network import Network, Style
from latentplan.types import Array, Params

NUM_BINS = 255  # of two-hot heads


def make_scalar_head(input_size: int, kind: str, *, hidden: int, layers: int, style: Style) -> Network:
    """Builds a network that predicts a scalar.

    Args:
        input_size: of the feature.
        kind: "gaussian": a mean with unit variance; "two_hot": probabilities of 255 symexp bins, with a
            zero-initialised output layer, so that the initial mean is zero (Dreamer V3, Nature 2025, methods).
        hidden: units per hidden layer.
        layers: hidden layers.
        style: of the layers.

    Returns:
        Network whose apply maps [..., input_size] to a Gaussian over [..., 1], or a TwoHot.
    """
    make = {"gaussian": _make_gaussian, "two_hot": _make_two_hot}[kind]
    return make(input_size, hidden, layers, style)


def _make_gaussian(input_size: int, hidden: int, layers: int, style: Style) -> Network:
    mean = make_mlp(input_size, 1, hidden=hidden, layers=layers, style=style)

    def apply(params: Params, x: Array) -> Gaussian:
        return Gaussian(mean.apply(params, x), jnp.float32(1.0))

    return Network(mean.init, apply)


def _make_two_hot(input_size: int, hidden: int, layers: int, style: Style) -> Network:
    bins = transforms.symexp_bins(20.0, NUM_BINS)
    logits = make_mlp(input_size, NUM_BINS, hidden=hidden, layers=layers, style=style, output_scale=0.0)

    def apply(params: Params, x: Array) -> TwoHot:
        return TwoHot(logits.apply(params, x), bins)

    return Network(logits.init, apply)
