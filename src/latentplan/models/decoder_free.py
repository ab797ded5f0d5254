"""TD-MPC's and TD-MPC2's task-oriented latent model, which has no decoder.

It consists of an encoder, latent dynamics, reward and termination heads, an ensemble of Q-functions and a policy
(Hansen et al. 2022 and 2024).
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from latentplan.checks import expect_type
from latentplan.config import Bound, Config, NonNegativeInt, PositiveInt, Share
from latentplan.distributions import Gaussian
from latentplan.losses.scalar import Scalar, squared_error, two_hot_symlog
from latentplan.models.checked import checked_model
from latentplan.nets.conv_tdmpc import make_shallow_encoder
from latentplan.nets.conv_world_models import check_image_shape, embed_size, make_conv_encoder
from latentplan.nets.network import Activation, Network, Style, chain, each
from latentplan.nets.normed import make_ensemble, make_normed_mlp, simnorm
from latentplan.types import Array, ArraySpec, EnvSpec, Key, Params, WorldModel


@dataclass(frozen=True, kw_only=True)
class DecoderFreeConfig(Config):
    """Sizes. Defaults: TD-MPC2 with 5M parameters (arXiv 2310.16828, table 8; its config.yaml)."""

    latent: PositiveInt = 512
    """L, width of the latent state. The 1M model has 128."""
    hidden: PositiveInt = 512
    """Width of dynamics, reward, Q-functions and policy, two hidden layers each. The 1M model has 384."""
    encoder_hidden: PositiveInt = 256
    """Width of the encoder of state vectors."""
    encoder_layers: NonNegativeInt = 1
    """Hidden layers of the encoder of state vectors; TD-MPC2's `num_enc_layers` counts its output, too."""
    conv: Literal["shallow", "world_models"] = "shallow"
    """Image encoder. shallow: TD-MPC's and TD-MPC2's convolutions. world_models: PlaNet's, which are deeper and, with
    `norm`, normalised, followed by a linear layer; it needs fewer updates to discriminate images."""
    conv_depth: PositiveInt = 32
    """Channels of the image encoder's convolutions; of the first one for `world_models`."""
    simplex: NonNegativeInt = 8
    """V, size of the simplices that make up the latent state (SimNorm); 0: unconstrained, as in TD-MPC."""
    num_q: Annotated[int, Bound(ge=2)] = 5
    """Q-functions in the ensemble. The 1M model has 2."""
    dropout: Share = 0.01
    """Dropout rate of the Q-functions' first layer during training."""
    num_bins: PositiveInt = 101
    """Bins of the two-hot reward and value predictions; 1: plain regression with a squared error, as in TD-MPC."""
    low: float = -10.0
    """First bin, a symlog value."""
    high: float = 10.0
    """Last bin, a symlog value."""
    min_log_std: float = -10.0
    """Minimum log std of the policy, before tanh."""
    max_log_std: float = 2.0
    """Maximum log std of the policy, before tanh."""
    predict_terminal: bool = False
    """Predict terminations, and use the predictions in planning; TD-MPC2's `episodic`."""
    activation: Activation = "mish"
    """Activation of the hidden layers."""
    norm: Literal["layer", "none"] = "layer"
    """layer: a LayerNorm before every activation. none: TD-MPC's networks, with a LayerNorm only in the first layer of
    the Q-functions and convolutions on pixels in [0, 1]."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Compute precision of the networks, float32 or bfloat16; parameters stay float32."""

    def check(self) -> None:
        """Checks constraints between fields."""
        whole = not self.simplex or not self.latent % self.simplex
        self.require(whole, "latent", f"a multiple of simplex = {self.simplex}", "TD-MPC2 uses simplices of 8")
        self.require(self.low < self.high, "low", f"less than high = {self.high}", "swap them")
        ordered = self.min_log_std < self.max_log_std
        self.require(ordered, "min_log_std", f"less than max_log_std = {self.max_log_std}", "swap them")

    @property
    def style(self) -> Style:
        """Layer style: TD-MPC2's, or TD-MPC's with norm "none"."""
        weights = "orthogonal" if self.norm == "none" else "normal"
        return Style(activation=self.activation, norm=self.norm, weights=weights, dtype=self.dtype)


class Latent(NamedTuple):
    """A latent state and the transition into it, from which its reward is predicted.

    Attributes:
        now: [..., L], the latent state.
        before: [..., L], the latent state one decision earlier.
        action: [..., A], the action taken there.
    """

    now: Array
    before: Array
    action: Array


class DecoderFreeModel(NamedTuple):
    """The model as pure functions.

    K is the number of outputs per predicted scalar, M the number of Q-functions.

    Attributes:
        init: (key) -> params of all networks.
        world: encoder, dynamics and heads behind the `WorldModel` interface. Its beliefs are `Latent`; its `divergence`
            is the consistency error, the mean squared difference of latent states; its `decode` is None.
        next: (params, latent [..., L], action [..., A]) -> latent [..., L].
        reward: (params, latent [..., L], action [..., A]) -> [..., K].
        q: (q_params, latent [..., L], action [..., A], key=None) -> [M, ..., K], with dropout if a key is given.
            `q_params` is `params["q"]`, the target network's, or those of some ensemble members.
        policy: (params, latent [..., L]) -> Gaussian [..., A] before tanh.
        scalar: the output representation [..., K] of scalars.
    """

    init: Callable[[Key], Params]
    world: WorldModel
    next: Callable[[Params, Array, Array], Array]
    reward: Callable[[Params, Array, Array], Array]
    q: Callable[..., Array]
    policy: Callable[[Params, Array], Gaussian]
    scalar: Scalar


def make_decoder_free(config: DecoderFreeConfig, spec: EnvSpec) -> DecoderFreeModel:
    """Builds the model for an environment's observations and actions.

    Every observation has its own encoder; the latent states of several observations are averaged, which preserves
    simplices.

    Args:
        config: sizes.
        spec: of the environment; continuous actions.

    Returns:
        DecoderFreeModel.

    Raises:
        ValueError: for discrete actions, or observations that are neither vectors nor images supported by `conv`.

    Examples:
        >>> spec = EnvSpec.single((5,), action_size=1, action_repeat=8, max_decisions=125)
        >>> model = make_decoder_free(DecoderFreeConfig(latent=8, hidden=8, num_q=3), spec)
        >>> params = model.init(jax.random.key(0))
        >>> latent = model.world.encode(params, {"state": jnp.zeros((2, 5))})
        >>> model.q(params["q"], latent, jnp.zeros((2, 1))).shape
        (3, 2, 101)
    """
    expect_type("config", config, DecoderFreeConfig, "the config comes first, then the spec")
    if spec.discrete:
        raise ValueError("agent: TD-MPC needs continuous actions, but this environment's are discrete; use planet")
    scalar = two_hot_symlog(config.low, config.high, config.num_bins) if config.num_bins > 1 else squared_error()
    networks = _make_networks(config, spec, scalar.size)

    def init(key: Key) -> Params:
        keys = jax.random.split(key, len(networks))
        return {name: network.init(key) for (name, network), key in zip(networks.items(), keys, strict=True)}

    def next_latent(params: Params, latent: Array, action: Array) -> Array:
        return networks["dynamics"].apply(params["dynamics"], _joined(latent, action))

    def reward(params: Params, latent: Array, action: Array) -> Array:
        return networks["reward"].apply(params["reward"], _joined(latent, action))

    def q(q_params: Params, latent: Array, action: Array, key: Key | None = None) -> Array:
        return networks["q"].apply(q_params, _joined(latent, action), key)

    def policy(params: Params, latent: Array) -> Gaussian:
        mean, log_std = jnp.split(networks["policy"].apply(params["policy"], latent), 2, -1)
        share = (jnp.tanh(log_std) + 1) / 2
        return Gaussian(mean, jnp.exp(config.min_log_std + share * (config.max_log_std - config.min_log_std)))

    def expected_reward(params: Params, belief: Latent) -> Gaussian:
        outputs = reward(params, belief.before, belief.action)
        return Gaussian(scalar.mean(outputs)[..., None], jnp.float32(1.0))

    world = _make_world(config, spec, networks, init, next_latent, expected_reward)
    return DecoderFreeModel(init, world, next_latent, reward, q, policy, scalar)


def _make_networks(config: DecoderFreeConfig, spec: EnvSpec, num_outputs: int) -> dict[str, Network]:
    """The networks by the names of their parameters; rewards and values have `num_outputs` outputs."""
    both = config.latent + spec.action_size  # most take a latent state and an action

    def make(input_size: int, output_size: int, style: Style = config.style, **options: Any) -> Network:
        return make_normed_mlp(input_size, output_size, hidden=config.hidden, layers=2, style=style, **options)

    q_style = replace(config.style, norm="first") if config.norm == "none" else config.style
    networks = {
        "encoder": _make_encoders(config, spec.observations),
        "dynamics": make(both, config.latent, simplex=config.simplex),
        "reward": make(both, num_outputs, zeros=True),
        "q": make_ensemble(make(both, num_outputs, q_style, dropout=config.dropout, zeros=True), config.num_q),
        "policy": make(config.latent, 2 * spec.action_size),
    }
    if config.predict_terminal:
        networks["terminal"] = make(config.latent, 1)
    return networks


def _joined(latent: Array, action: Array) -> Array:
    return jnp.concatenate([latent, action], -1)


def _make_world(
    config: DecoderFreeConfig,
    spec: EnvSpec,
    networks: dict[str, Network],
    init: Callable[[Key], Params],
    next_latent: Callable[[Params, Array, Array], Array],
    reward: Callable[[Params, Latent], Gaussian],
) -> WorldModel:
    """Wraps the networks as a world model over `Latent` beliefs."""
    spaces, lowest = spec.observations, 0.0 if config.norm == "none" else -0.5  # pixels start at lowest

    def initial(batch_shape: tuple[int, ...]) -> Latent:
        latent = jnp.zeros((*batch_shape, config.latent), jnp.float32)
        return Latent(latent, latent, jnp.zeros((*batch_shape, spec.action_size), jnp.float32))

    def preprocess(observation: Mapping[str, Array], key: Key) -> dict[str, Array]:
        del key  # nothing is drawn
        return {name: _preprocess(observation[name], lowest) for name in spaces}

    def observe_step(
        params: Params, belief: Latent, action: Array, embed: Array, is_first: Array, key: Key
    ) -> tuple[Latent, tuple[Array, Array]]:
        del key  # nothing is sampled
        before, action = (jnp.where(is_first[..., None], 0.0, x) for x in (belief.now, action))
        return Latent(embed, before, action), (embed, next_latent(params, before, action))

    def imagine_step(params: Params, belief: Latent, action: Array, key: Key) -> tuple[Latent, Array]:
        del key
        latent = next_latent(params, belief.now, action)
        return Latent(latent, belief.now, action), latent

    def terminal(params: Params, belief: Latent) -> Array:
        return networks["terminal"].apply(params["terminal"], belief.now)[..., 0]

    model = WorldModel(
        init=lambda key: {name: part for name, part in init(key).items() if name not in ("q", "policy")},
        initial=initial,
        preprocess=preprocess,
        postprocess=lambda flat: {name: _postprocess(flat[name], space, lowest) for name, space in spaces.items()},
        encode=lambda params, observation: networks["encoder"].apply(params["encoder"], observation),
        observe_step=observe_step,
        imagine_step=imagine_step,
        divergence=lambda posterior, prior: jnp.mean((posterior - prior) ** 2, -1),
        decode=None,
        reward=reward,
        terminal=terminal if config.predict_terminal else None,
    )
    return checked_model(model, spec, config.latent)


def _make_encoders(config: DecoderFreeConfig, spaces: Mapping[str, ArraySpec]) -> Network:
    """Encodes observations by name into the mean of their latent states."""
    encoders = each({name: _make_encoder(config, space) for name, space in spaces.items()})

    def apply(params: Params, observation: Mapping[str, Array]) -> Array:
        latents = encoders.apply(params, observation)
        return functools.reduce(jnp.add, [latents[name] for name in spaces]) / len(spaces)

    return Network(encoders.init, apply)


def _make_encoder(config: DecoderFreeConfig, space: ArraySpec) -> Network:
    shape = space.shape
    if space.is_image and config.conv == "shallow":
        return _make_shallow_encoder(config, shape)
    if space.is_image:
        check_image_shape(shape)
        conv = make_conv_encoder(shape[0], shape[2], depth=config.conv_depth, style=config.style)
        return chain(conv, _make_mlp_encoder(config, embed_size(shape[0], config.conv_depth), layers=0))
    if len(shape) != 1:
        raise ValueError(f"observations: expected (n,) or (64, 64, channels), got {shape}; flatten it")
    return _make_mlp_encoder(config, shape[0], layers=config.encoder_layers)


def _make_mlp_encoder(config: DecoderFreeConfig, input_size: int, *, layers: int) -> Network:
    return make_normed_mlp(
        input_size,
        config.latent,
        hidden=config.encoder_hidden,
        layers=layers,
        style=config.style,
        simplex=config.simplex,
    )


def _make_shallow_encoder(config: DecoderFreeConfig, shape: tuple[int, ...]) -> Network:
    if shape[0] != shape[1] or shape[0] < 40:
        raise ValueError(
            f"observations: expected square images of at least 40 pixels, got {shape}; render or resize "
            "them to 64, or use conv world_models"
        )
    version: Literal[1, 2] = 1 if config.norm == "none" else 2
    conv = make_shallow_encoder(
        shape[0], shape[2], config.latent, depth=config.conv_depth, version=version, dtype=config.dtype
    )
    if not config.simplex:
        return conv
    return conv._replace(apply=lambda params, x: simnorm(conv.apply(params, x), config.simplex))


def _preprocess(observation: Array, lowest: float) -> Array:
    """Maps pixels to [lowest, lowest + 1] and flattens them; leaves state vectors unchanged."""
    if observation.dtype == jnp.uint8:
        return observation.reshape(*observation.shape[:-3], -1).astype(jnp.float32) / 255 + lowest
    return jnp.asarray(observation, jnp.float32)


def _postprocess(flat: Array, space: ArraySpec, lowest: float) -> Array:
    """The inverse of `_preprocess`."""
    return flat.reshape(*flat.shape[:-1], *space.shape) - lowest * space.is_image
