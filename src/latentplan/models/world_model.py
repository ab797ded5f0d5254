"""A world model: latent dynamics with encoders, decoders, a reward head and an optional termination head."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float

from latentplan import transforms
from latentplan.checks import expect_type
from latentplan.config import Bound, NonNegativeInt, OneOf, PositiveFloat, PositiveInt
from latentplan.distributions import Gaussian, TwoHot
from latentplan.models.checked import checked_model
from latentplan.models.dynamics import FEATURE, DynamicsConfig, DynamicsEntry, checked_dynamics
from latentplan.models.heads import make_scalar_head
from latentplan.models.rnn import RNN
from latentplan.models.rssm import RSSM
from latentplan.models.ssm import SSM
from latentplan.models.vae import VAE
from latentplan.nets.conv_dreamer_v3 import SIDE, make_pooled_encoder, make_repeating_decoder
from latentplan.nets.conv_dreamer_v3 import embed_size as pooled_size
from latentplan.nets.conv_world_models import check_image_shape, embed_size, make_conv_decoder, make_conv_encoder
from latentplan.nets.mlp import make_mlp
from latentplan.nets.network import Activation, Network, Norm, Style, each, split_by_name
from latentplan.registry import Registry
from latentplan.types import Array, Belief, EnvSpec, Key, Params, WorldModel

DYNAMICS = Registry("DYNAMICS", DynamicsEntry, {"rssm": RSSM, "ssm": SSM, "rnn": RNN, "vae": VAE})
"""Latent dynamics by name. A new one is one file and one line here."""


@dataclass(frozen=True, kw_only=True)
class WorldModelConfig(DynamicsConfig):
    """Settings of a world model. Defaults: PlaNet on pixels (arXiv 1811.04551v5, appendix A)."""

    kind: Annotated[str, OneOf(DYNAMICS)] = "rssm"
    """rssm: deterministic and stochastic path; ssm: stochastic only; rnn: deterministic only (no KL);
    vae: an autoencoder of single observations, with a transition of its own."""
    conv: Literal["world_models", "dreamer_v3"] = "world_models"
    """Image encoder and decoder: those of World Models (PlaNet, Dreamer V1 and V2), or Dreamer V3's."""
    conv_depth: PositiveInt = 32
    """Channels of the encoder's first convolution; each further one has twice as many as the one before. With conv
    dreamer_v3, the four convolutions have 2, 3, 4 and 4 times this number."""
    conv_norm: Norm = "none"
    """Normalisation over channels before the activation of every convolution but the last. PlaNet uses none."""
    conv_activation: Activation = "relu"
    """Activation of the convolutions."""
    image_bits: Annotated[int, Bound(ge=0, le=8)] = 5
    """Bit depth to which pixels are quantised (1 to 8), with uniform noise of one quantisation step added. 0: no
    quantisation, x / 255 - 0.5, as in Dreamer."""
    reward: Literal["gaussian", "two_hot"] = "gaussian"
    """Reward distribution. gaussian: a mean with unit variance. two_hot: probabilities of 255 bins from symexp(-20) to
    symexp(20), initialised to a mean of zero, as in Dreamer V3."""
    reward_hidden: PositiveInt = 200
    """Width of the reward head, in units. The paper says 200; its released code has 300."""
    reward_layers: NonNegativeInt = 2
    """Hidden layers of the reward head. The paper says 2; its released code has 3."""
    vector_hidden: PositiveInt = 200
    """Width of the encoder and decoder of state vectors, in units."""
    vector_layers: NonNegativeInt = 2
    """Hidden layers of the encoder and decoder of state vectors."""
    vector_output: Literal["linear", "activated"] = "linear"
    """Output of the encoder of state vectors: one more linear layer, or the last hidden layer, as in Dreamer."""
    predict_terminal: bool = False
    """Predict terminations, with a head like the reward's, and use them in planning. PlaNet's tasks never terminate."""
    pixel_std: PositiveFloat = 1.0
    """Standard deviation of the pixel likelihood, on images in [-0.5, 0.5]. The image loss grows with 1 / std^2."""
    vector_std: PositiveFloat = 0.1
    """Standard deviation of the state vector's likelihood, on symlog values. The loss grows with 1 / std^2."""

    def check(self) -> None:
        """Checks constraints between fields."""
        super().check()
        for field, value in self.dynamics.only.items():
            known = getattr(self, field) == value
            self.require(known, field, f"{value} with kind {self.kind}, which supports nothing else", "change the kind")

    @property
    def dynamics(self) -> DynamicsEntry:
        """The registry entry of `kind`."""
        return DYNAMICS[self.kind]

    @property
    def conv_style(self) -> Style:
        """Layer style of the convolutions."""
        return replace(self.style, activation=self.conv_activation, norm=self.conv_norm)


class _Observation(NamedTuple):
    """Preprocessing, encoder and decoder of one observation."""

    preprocess: Callable[[Array, Key], Array]
    postprocess: Callable[[Array], Array]
    encoder: Network
    embed_size: int
    decoder: Network
    std: float


def _pixels(config: WorldModelConfig, shape: tuple[int, ...], feature_size: int) -> _Observation:
    make = {"world_models": _world_models_convolutions, "dreamer_v3": _dreamer_v3_convolutions}[config.conv]
    encoder, decoder, embed = make(config, shape, feature_size)

    def preprocess(image: Array, key: Key) -> Array:
        if config.image_bits:
            flat = transforms.dequantise(jnp.asarray(image), config.image_bits, key)
        else:
            flat = jnp.asarray(image, jnp.float32) / 255 - 0.5
        return flat.reshape(*image.shape[:-3], -1)

    def postprocess(flat: Array) -> Array:
        return transforms.to_display(flat).reshape(*flat.shape[:-1], *shape)

    return _Observation(preprocess, postprocess, encoder, embed, decoder, config.pixel_std)


def _world_models_convolutions(
    config: WorldModelConfig, shape: tuple[int, ...], feature_size: int
) -> tuple[Network, Network, int]:
    """Encoder, decoder, and the encoder's output size."""
    check_image_shape(shape)
    size, _, channels = shape
    encoder = make_conv_encoder(size, channels, depth=config.conv_depth, style=config.conv_style)
    decoder = make_conv_decoder(feature_size, size, channels, depth=config.conv_depth, style=config.conv_style)
    return encoder, decoder, embed_size(size, config.conv_depth)


def _dreamer_v3_convolutions(
    config: WorldModelConfig, shape: tuple[int, ...], feature_size: int
) -> tuple[Network, Network, int]:
    """Encoder, decoder, and the encoder's output size."""
    size, width, channels = shape
    if size != width or size % SIDE:
        raise ValueError(
            f"observations: expected square images of a multiple of {SIDE} pixels, got {shape}; "
            "render or resize them to 64"
        )
    for field, factor in {"conv_depth": 2, "deter": 8}.items():
        whole = not getattr(config, field) % factor
        config.require(whole, field, f"a multiple of {factor} with conv dreamer_v3", "Dreamer V3 uses 64 and 8192")
    depth, stoch, style = config.conv_depth, config.dynamics.stoch_size(config), config.conv_style
    encoder = make_pooled_encoder(size, channels, depth=depth, style=style)
    decoder = make_repeating_decoder(
        stoch, feature_size - stoch, size, channels, depth=depth, hidden=config.vector_hidden, style=style
    )
    return encoder, decoder, pooled_size(size, depth)


def _vectors(config: WorldModelConfig, shape: tuple[int, ...], feature_size: int) -> _Observation:
    if len(shape) != 1:
        raise ValueError(f"observations: expected (n,) or (64, 64, channels), got {shape}; flatten it")
    hidden, layers, style = config.vector_hidden, config.vector_layers, config.style
    embed = None if config.vector_output == "activated" else hidden

    def preprocess(vector: Array, key: Key) -> Array:
        del key  # only images are dequantised
        return transforms.symlog(jnp.asarray(vector, jnp.float32))

    encoder = make_mlp(shape[0], embed, hidden=hidden, layers=layers, style=style)
    decoder = make_mlp(feature_size, shape[0], hidden=hidden, layers=layers, style=style)
    return _Observation(preprocess, transforms.symexp, encoder, hidden, decoder, config.vector_std)


class _Observations(NamedTuple):
    """All observations together: functions of dictionaries by name."""

    preprocess: Callable[[Mapping[str, Array], Key], dict[str, Array]]
    postprocess: Callable[[Mapping[str, Array]], dict[str, Array]]
    encoder: Network
    embed_size: int
    decoder: Network
    encode: Callable[[Params, Mapping[str, Array]], Array]
    decode: Callable[[Params, Belief], dict[str, Gaussian]]


def _observations(config: WorldModelConfig, spec: EnvSpec) -> _Observations:
    reads = config.dynamics.decoder_reads
    width = config.dynamics.width(config, reads)
    entries = {
        name: (_pixels if space.is_image else _vectors)(config, space.shape, width)
        for name, space in spec.observations.items()
    }
    encoder = each({name: entry.encoder for name, entry in entries.items()})
    decoder = each({name: entry.decoder for name, entry in entries.items()})
    embed_size = sum(entry.embed_size for entry in entries.values())

    def preprocess(observation: Mapping[str, Array], key: Key) -> dict[str, Array]:
        keys = split_by_name(key, entries)
        return {name: entry.preprocess(observation[name], keys[name]) for name, entry in entries.items()}

    def postprocess(flat: Mapping[str, Array]) -> dict[str, Array]:
        return {name: entry.postprocess(flat[name]) for name, entry in entries.items()}

    def encode(params: Params, observation: Mapping[str, Array]) -> Array:
        embeds = encoder.apply(params["encoder"], observation)
        return jnp.concatenate([embeds[name] for name in entries], -1)

    def decode(params: Params, belief: Belief) -> dict[str, Gaussian]:
        means = decoder.apply(params["decoder"], dict.fromkeys(entries, feature(belief, reads)))
        return {name: Gaussian(means[name], jnp.float32(entry.std)) for name, entry in entries.items()}

    return _Observations(preprocess, postprocess, encoder, embed_size, decoder, encode, decode)


def _heads(config: WorldModelConfig) -> tuple[Network, Network]:
    """The heads of reward and termination."""
    hidden, layers, style = config.reward_hidden, config.reward_layers, config.style
    entry = config.dynamics
    width = entry.width(config, entry.reward_reads)
    reward = make_scalar_head(width, config.reward, hidden=hidden, layers=layers, style=style)
    return reward, make_mlp(entry.width(config), 1, hidden=hidden, layers=layers, style=style)


def make_world_model(config: WorldModelConfig, spec: EnvSpec) -> WorldModel:
    """Builds a world model for an environment's observations and actions.

    Every observation has its own encoder and decoder, convolutions for an image and an MLP for a vector; the embeddings
    are concatenated. Heads read the feature [stoch, deter]. Likelihoods are diagonal Gaussians of fixed std (1 for the
    reward, or two-hot).

    Args:
        config: sizes and kind of dynamics.
        spec: of the environment.

    Returns:
        WorldModel.

    Raises:
        ValueError: for images of an unsupported shape, or observations that are neither image nor vector. When its
            functions are called: an array has another shape than they say.

    Examples:
        >>> import jax
        >>> from latentplan.types import EnvSpec
        >>> spec = EnvSpec.single((5,), action_size=1, action_repeat=8, max_decisions=125)
        >>> model = make_world_model(WorldModelConfig(deter=8, stoch=4, hidden=8), spec)
        >>> params = model.init(jax.random.key(0))
        >>> model.reward(params, model.initial((3,))).mean.shape
        (3, 1)
    """
    expect_type("config", config, WorldModelConfig, "the config comes first, then the spec")
    expect_type("spec", spec, EnvSpec, "give that of the environment, as from EnvSpec.single")
    observations, entry = _observations(config, spec), config.dynamics
    made = entry.make(config, observations.embed_size, spec.action_size)
    widths = entry.deter_size(config), entry.stoch_size(config)
    dynamics = checked_dynamics(f"DYNAMICS[{config.kind!r}]", made, *widths)
    reward_head, terminal_head = _heads(config)

    def init(key: Key) -> Params:
        dynamics_key, encoder_key, decoder_key, reward_key = jax.random.split(key, 4)
        params = {
            "dynamics": dynamics.init(dynamics_key),
            "encoder": observations.encoder.init(encoder_key),
            "decoder": observations.decoder.init(decoder_key),
            "reward": reward_head.init(reward_key),
        }
        if config.predict_terminal:
            params["terminal"] = terminal_head.init(jax.random.fold_in(key, 4))
        return params

    def on_dynamics(step):
        return lambda params, *args: step(params["dynamics"], *args)

    def reward(params: Params, belief: Belief) -> Gaussian | TwoHot:
        return reward_head.apply(params["reward"], feature(belief, entry.reward_reads))

    def terminal(params: Params, belief: Belief) -> Array:
        return terminal_head.apply(params["terminal"], feature(belief))[..., 0]

    model = WorldModel(
        init=init,
        initial=dynamics.initial,
        preprocess=observations.preprocess,
        postprocess=observations.postprocess,
        encode=observations.encode,
        observe_step=on_dynamics(dynamics.observe_step),
        imagine_step=on_dynamics(dynamics.imagine_step),
        divergence=dynamics.divergence,
        decode=observations.decode,
        reward=reward,
        terminal=terminal if config.predict_terminal else None,
    )
    return checked_model(model, spec, observations.embed_size)


def feature(belief: Belief, parts: Iterable[str] = FEATURE) -> Float[Array, "*batch F"]:
    """The feature that heads read, [..., F]: [stoch, deter], or some of a belief's parts."""
    return jnp.concatenate([getattr(belief, part) for part in parts], -1)
