"""World models and the protocols of their functions."""

from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol, runtime_checkable

from latentplan.types.arrays import AnyBelief, AnyLatent, Array, Key, Params


class Belief(NamedTuple):
    """A latent state: all that a model needs to predict the future.

    Attributes:
        deter: [..., D], the deterministic path h_t; D = 0 if the model has none.
        stoch: [..., S], the stochastic path s_t; S = 0 if the model has none.
    """

    deter: Array
    stoch: Array


@runtime_checkable
class ObserveStep(Protocol):
    """One step of filtering: q(s_t | s_{t-1}, a_{t-1}, o_t), with its prior p(s_t | s_{t-1}, a_{t-1})."""

    def __call__(
        self, params: Params, belief: AnyBelief, action: Array, embed: Array, is_first: Array, key: Key, /
    ) -> tuple[AnyBelief, tuple[AnyLatent, AnyLatent]]:
        """Updates a belief with an action and the observation that followed it.

        Args:
            params: of the model.
            belief: [...], before the action.
            action: [..., A], that led to the observation.
            embed: [..., E], of the observation.
            is_first: [...] bool; where true, belief and action are zeroed first.
            key: for the sample.

        Returns:
            (belief sampled from the posterior, (posterior, prior)).
        """


@runtime_checkable
class ImagineStep(Protocol):
    """One step of prediction: p(s_t | s_{t-1}, a_{t-1})."""

    def __call__(self, params: Params, belief: AnyBelief, action: Array, key: Key, /) -> tuple[AnyBelief, AnyLatent]:
        """Predicts the belief after an action.

        Args:
            params: of the model.
            belief: [...], before the action.
            action: [..., A].
            key: for the sample.

        Returns:
            (belief sampled from the prior, prior).
        """


@runtime_checkable
class Prediction(Protocol):
    """A predicted distribution, one of the records in `latentplan.distributions`."""

    @property
    def mean(self) -> Array:
        """[..., S]."""


@runtime_checkable
class Predict(Protocol):
    """A prediction from a belief: a distribution over [..., S]."""

    def __call__(self, params: Params, belief: AnyBelief, /) -> Prediction:
        """Predicts from a belief [...]."""


class WorldModel(NamedTuple):
    """A latent world model as pure functions; it holds no arrays.

    Beliefs are `Belief`, or any other pytree of arrays (as in `models.decoder_free`), which code outside the model
    treats as opaque. Observations are dictionaries keyed as `EnvSpec.observations`; O = prod(shape) is the size of one
    observation.

    Attributes:
        init: (key) -> params.
        initial: (batch_shape) -> Belief, the belief before the first observation.
        preprocess: (observations by name [..., *shape], key) -> by name [..., O] float32: images reduced in bit depth,
            dequantised and centred; vectors through symlog. The input of `encode` and the target of `decode`.
        postprocess: (by name [..., O]) -> by name [..., *shape] float32: back to pixels in [0, 1], or to the vector's
            units.
        encode: (params, preprocessed by name [..., O]) -> embed [..., E].
        observe_step: (params, belief, action [..., A], embed [..., E], is_first [...], key) ->
            (belief, (posterior, prior)): one step of filtering. `is_first` resets belief and action.
        imagine_step: (params, belief, action [..., A], key) -> (belief, prior): one step of prediction.
        divergence: (posterior, prior) -> [...], KL in nats; zeros for a deterministic model; the mean squared
            difference of latent states for a model without a decoder.
        decode: (params, belief) -> by name, a Gaussian over the preprocessed observation [..., O]; None without a
            decoder.
        reward: (params, belief) -> Gaussian or TwoHot over the reward [..., 1].
        terminal: (params, belief) -> [...], the logit of termination at this belief; None if termination is not
            modelled.
    """

    init: Callable[[Key], Params]
    initial: Callable[[tuple[int, ...]], AnyBelief]
    preprocess: Callable[[Mapping[str, Array], Key], dict[str, Array]]
    postprocess: Callable[[Mapping[str, Array]], dict[str, Array]]
    encode: Callable[[Params, Mapping[str, Array]], Array]
    observe_step: ObserveStep
    imagine_step: ImagineStep
    divergence: Callable[[AnyLatent, AnyLatent], Array]
    decode: Callable[[Params, AnyBelief], Mapping[str, Prediction]] | None
    reward: Predict
    terminal: Callable[[Params, AnyBelief], Array] | None = None
