"""Records and protocols that the packages share: arrays travel in records, functions are bundled in them.

Axis letters: T time, B batch, H horizon, N candidates, A action, D deter, S stoch, E embed.
`[...]` stands for any leading batch shape.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

import jax
import jax.numpy as jnp

Array = jax.Array
Key = jax.Array  # a typed key, from jax.random.key
Params = Any  # an immutable pytree of arrays
AnyBelief = Any  # a model's belief, where nobody looks into it: any pytree of arrays
AnyLatent = Any  # what a step tells of the latent state: a distribution, or a point
WarmStart = Any  # what a planner keeps of a plan for the next decision: any pytree of arrays
Metrics = dict[str, Array]

BeliefT = TypeVar("BeliefT")  # where a function gives back the kind of belief that it was given


class ArraySpec(NamedTuple):
    """The space of one observation or one action.

    Attributes:
        shape: of an image [height, width, channels], of a vector (n,).
        dtype: "uint8" for images, "float32" for vectors and actions.
        num_choices: of an action: above 0, it is a choice of so many, as a one-hot vector; 0, it is continuous.
    """

    shape: tuple[int, ...]
    dtype: str = "float32"
    num_choices: int = 0

    @property
    def is_image(self) -> bool:
        """Whether it is an image [height, width, channels]."""
        return len(self.shape) == 3


class EnvSpec(NamedTuple):
    """What an agent has to know about an environment.

    Attributes:
        observations: name -> space of one observation, an image or a vector, in the order in which models read them.
        actions: name -> space of one action. They lie side by side in the flat action [A], in [-1, 1].
        action_repeat: simulator control steps per decision.
        max_decisions: the time limit of an episode in decisions; None where there is none.
    """

    observations: Mapping[str, ArraySpec]
    actions: Mapping[str, ArraySpec]
    action_repeat: int = 1
    max_decisions: int | None = None

    @classmethod
    def single(
        cls,
        shape: tuple[int, ...],
        dtype: str = "float32",
        *,
        action_size: int,
        action_repeat: int = 1,
        max_decisions: int | None = None,
        discrete: bool = False,
    ) -> "EnvSpec":
        """An environment with one observation, named "image" or "state", and one action, named "action".

        Args:
            shape: of the observation.
            dtype: of the observation.
            action_size: A, dimensions or choices.
            action_repeat: control steps per decision.
            max_decisions: the time limit of an episode.
            discrete: whether an action is one of A choices.

        Returns:
            EnvSpec.

        Example:
            >>> EnvSpec.single((24,), action_size=6).observations
            {'state': ArraySpec(shape=(24,), dtype='float32', num_choices=0)}
        """
        observation = ArraySpec(tuple(shape), dtype)
        action = ArraySpec((action_size,), "float32", action_size if discrete else 0)
        name = "image" if observation.is_image else "state"
        return cls({name: observation}, {"action": action}, action_repeat, max_decisions)

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> "EnvSpec":
        """The spec that `to_fields` took apart."""
        spaces = {
            kind: {
                name: ArraySpec(tuple(space["shape"]), space["dtype"], space["num_choices"])
                for name, space in x.items()
            }
            for kind, x in fields.items()
            if kind in ("observations", "actions")
        }
        return cls(**{**fields, **spaces})

    def to_fields(self) -> dict[str, Any]:
        """The fields as plain values that JSON gives back as they are."""

        def plain(spaces: Mapping[str, ArraySpec]) -> dict[str, Any]:
            return {name: space._asdict() | {"shape": list(space.shape)} for name, space in spaces.items()}

        return self._asdict() | {"observations": plain(self.observations), "actions": plain(self.actions)}

    @property
    def action_size(self) -> int:
        """A, the numbers of the flat action."""
        return sum(math.prod(action.shape) for action in self.actions.values())

    @property
    def discrete(self) -> bool:
        """Whether the action is one choice, as a one-hot vector.

        Raises:
            ValueError: there are several actions and choices among them, which planners and policies here cannot draw.
        """
        choices = [name for name, action in self.actions.items() if action.num_choices]
        if choices and len(self.actions) > 1:
            raise ValueError(
                f"actions: expected one choice or continuous actions, got the choices {', '.join(choices)} among "
                f"{len(self.actions)} actions; make one choice of their combinations"
            )
        return bool(choices)

    @property
    def images(self) -> tuple[str, ...]:
        """The names of the observations that are images."""
        return tuple(name for name, space in self.observations.items() if space.is_image)


class Batch(NamedTuple):
    """Recorded steps. Record t holds what arrived together with observation t.

    An episode of n decisions has n + 1 records: the first has a zero action and a zero reward, the last
    holds the final observation, so no reward and no final step is lost.

    Attributes:
        observation: by the names of `EnvSpec.observations`, each [..., *shape], as the environment gave it (uint8
            images or float32 vectors).
        action: [..., A], the action that led to this observation, in [-1, 1]; zero where `is_first`.
        reward: [...], the sum over the repeated control steps that led to this observation.
        is_first: [...] bool, the observation was given by a reset.
        is_last: [...] bool, the episode ends here, by termination or by the time limit.
        is_terminal: [...] bool, the episode ended here by termination: no future return.
    """

    observation: Any
    action: Any
    reward: Any
    is_first: Any
    is_last: Any
    is_terminal: Any


class Sample(NamedTuple):
    """Windows of recorded steps, drawn from replay.

    Attributes:
        batch: [T, B, ...], B windows of T consecutive records, time first.
        weight: [B], what each window weighs in a loss, at most 1 (importance weights; ones where the windows are drawn
            uniformly).
        indices: [B] int, where in the memory they begin; with them the agent's priorities are given back.
    """

    batch: Batch
    weight: Array
    indices: Array

    @classmethod
    def uniform(cls, batch: Batch) -> "Sample":
        """Windows [T, B, ...] that came from elsewhere, of equal weight."""
        number = batch.reward.shape[1]
        return cls(batch, jnp.ones(number), jnp.arange(number))


class Belief(NamedTuple):
    """All that is needed to predict the future from now.

    Attributes:
        deter: [..., D], the deterministic path h_t. Width zero where a model has none.
        stoch: [..., S], the stochastic path s_t. Width zero where a model has none.
    """

    deter: Array
    stoch: Array


@runtime_checkable
class ObserveStep(Protocol):
    """One step of filtering: q(s_t | s_{t-1}, a_{t-1}, o_t), with its prior p(s_t | s_{t-1}, a_{t-1})."""

    def __call__(
        self, params: Params, belief: AnyBelief, action: Array, embed: Array, is_first: Array, key: Key, /
    ) -> tuple[AnyBelief, tuple[AnyLatent, AnyLatent]]:
        """Updates a belief by an action and what was observed after it.

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
    """What is expected at a belief: a distribution over [..., S]."""

    def __call__(self, params: Params, belief: AnyBelief, /) -> Prediction:
        """Predicts from a belief [...]."""


class WorldModel(NamedTuple):
    """A latent world model as pure functions; never holds arrays.

    Its beliefs are `Belief`, or any other pytree of arrays, as in `models.decoder_free`; nobody outside looks into
    them. Observations are dictionaries by the names of `EnvSpec.observations`; O is the number of values in one of
    them, prod(shape).

    Attributes:
        init: (key) -> params.
        initial: (batch_shape) -> Belief, the belief before anything was seen.
        preprocess: (observations by name [..., *shape], key) -> by name [..., O] float32: images reduced in bit depth,
            dequantised and centred; vectors through symlog. What `encode` reads and `decode` predicts.
        postprocess: (by name [..., O]) -> by name [..., *shape] float32: back to pixels in [0, 1], or to the vector's
            units.
        encode: (params, preprocessed by name [..., O]) -> embed [..., E].
        observe_step: (params, belief, action [..., A], embed [..., E], is_first [...], key) ->
            (belief, (posterior, prior)): one step of filtering. `is_first` wipes belief and action.
        imagine_step: (params, belief, action [..., A], key) -> (belief, prior): one step of prediction.
        divergence: (posterior, prior) -> [...], KL in nats; zeros for a deterministic model, and without a decoder
            the mean squared difference of latent states.
        decode: (params, belief) -> by name, a Gaussian over the preprocessed observation [..., O]; None without a
            decoder.
        reward: (params, belief) -> Gaussian or TwoHot over the reward [..., 1].
        terminal: (params, belief) -> [...], the logit of a termination at this belief; None where none is predicted.
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


class PlanOutput(NamedTuple):
    """What a planner returns for one belief.

    Attributes:
        action: [A], the action to take now.
        plan: [H, A], the action sequence the planner settled on.
        warm_start: what the next call may be given; a pytree of arrays that zeros stand for "nothing yet" in.
        info: scalars and small arrays that tell how planning went.
    """

    action: Array
    plan: Array
    warm_start: WarmStart
    info: dict[str, Array]


@runtime_checkable
class Planner(Protocol):
    """Plans for one belief; `jax.vmap` it, or `planners.for_each_belief`, over beliefs.

    What evaluates plans is part of the planner, as is what they are made of: `planners.make_planner` builds one.
    """

    def __call__(self, params: Params, belief: AnyBelief, key: Key, warm_start: WarmStart = None, /) -> PlanOutput:
        """Plans the next H decisions.

        Args:
            params: of the model, and of whatever else values plans or proposes them.
            belief: the belief now, without batch axis; any pytree of arrays.
            key: for candidates and the model's own draws.
            warm_start: of the last decision's `PlanOutput`, or zeros in its shapes; None: plan afresh.

        Returns:
            PlanOutput.
        """


class TrainState(NamedTuple):
    """Training state: all that an update changes.

    Attributes:
        params: the model's parameters.
        opt_state: the optimisers' states, and whatever else learning keeps beside the parameters.
        updates: int32 scalar, gradient steps taken.
    """

    params: Params
    opt_state: Any
    updates: Array


class Carry(NamedTuple):
    """What acting remembers between decisions, one row per environment.

    Attributes:
        belief: the filtered belief, [num_envs, ...]; whatever the model's beliefs are.
        action: [num_envs, A], the last action taken.
        warm_start: [num_envs, ...], what the planner kept of its last plan.
    """

    belief: AnyBelief
    action: Array
    warm_start: WarmStart


Update = Callable[[TrainState, Sample, Key], tuple[TrainState, dict[str, Array]]]
"""(train_state, sample, key) -> (train_state, metrics): a gradient step.

Metrics are scalars and hold `finite`, 1.0 while loss and gradients are finite. An update that tells how much is to be
learned from each window adds `priority` [B], with which replay may draw.
"""


class Agent(NamedTuple):
    """An agent as pure functions; the only thing the driver knows of it.

    Attributes:
        init: (key) -> TrainState.
        initial: (num_envs) -> Carry.
        act: (params, carry, observations by name [num_envs, *shape], is_first [num_envs], key, *, mode) ->
            (action [num_envs, A], Carry, info); mode is "explore" or "eval". Info's arrays are [num_envs, ...]; where
            the agent plans, "eval" adds `planned_rewards` [num_envs, H]: what the model promises for the plan.
        updates: by name. An agent whose parts are all trained together has one, "joint"; one that is trained in stages,
            or whose parts have clocks of their own, has several, and a schedule names them (`driver.schedule.Stage`).
        diagnostics: name -> Diagnostic, what can be measured of the agent; see `latentplan.diagnostics`.
        model: the world model that it filters and plans with, for research code; its functions take `act`'s params. The
            driver does not look at it. None for agents without one.
        planner: what chooses its actions at evaluation, likewise.
    """

    init: Callable[..., TrainState]
    initial: Callable[..., Carry]
    act: Callable[..., tuple[Array, Carry, dict[str, Array]]]
    updates: Mapping[str, Update]
    diagnostics: Mapping[str, "Diagnostic"]
    model: WorldModel | None = None
    planner: Planner | None = None


class Trajectory(NamedTuple):
    """One episode, and what the agent reported while it acted.

    Attributes:
        batch: [n + 1, ...], its records.
        infos: name -> [n, ...], what the policy reported at each decision; see `Agent.act`.
    """

    batch: Batch
    infos: dict[str, Any]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Evidence:
    """What diagnostics measure by: episodes side by side. Context and length are static where it is traced.

    Attributes:
        batch: [T, B, ...]. Episodes differ in length: what follows an `is_last` is padding, up to the next `is_first`.
        infos: name -> [T, B, ...], what the agent reported on seeing each record; zeros where it decided nothing more.
        context: steps that an open-loop prediction observes.
        length: steps of an open-loop prediction in all.
    """

    batch: Batch
    infos: dict[str, Any] = field(default_factory=dict)
    context: int = field(default=5, metadata={"static": True})
    length: int = field(default=50, metadata={"static": True})

    @property
    def valid(self) -> Any:
        """[T, B] bool, whether a record is one of an episode, and no padding."""
        first, last = (flag.astype("int32") for flag in (self.batch.is_first, self.batch.is_last))
        ended, begun = last.cumsum(0) - last, first.cumsum(0) - first[:1]
        return ended <= begun


class Measurement(NamedTuple):
    """What a diagnostic finds.

    Attributes:
        numbers: name -> a scalar or a vector.
        picture: what is drawn, a pytree of arrays; None: nothing.
    """

    numbers: dict[str, Array]
    picture: Any = None


class Diagnostic(NamedTuple):
    """A measurement of what an agent has learned. It is logged under its name in `Agent.diagnostics`.

    Attributes:
        measure: (params, Evidence, key) -> Measurement; pure, and jitted by the driver.
        select: (Evidence) -> the part of it that `measure` reads; None where there is nothing to measure. It runs on
            the host, so that little is moved and few shapes are compiled.
        drawing: how the picture is drawn, by the name of one of the driver's DRAWINGS; None: there is no picture.
    """

    measure: Callable[[Params, Evidence, Key], Measurement]
    select: Callable[[Evidence], Evidence | None] = lambda evidence: evidence
    drawing: str | None = None


class OpenLoop(NamedTuple):
    """An open-loop prediction beside the truth, in the environment's units.

    Attributes:
        true_observation, predicted_observation: by name [T, B, *shape]; pixels as float32 in [0, 1]. The prediction is
            None where a model has no decoder.
        true_reward, predicted_reward: [T, B].
    """

    true_observation: dict[str, Array]
    predicted_observation: dict[str, Array] | None
    true_reward: Array
    predicted_reward: Array


class ImaginedTrajectory(NamedTuple):
    """What a model expects while an actor acts in it, in the environment's units.

    Attributes:
        observation: by name [T, B, *shape]; pixels as float32 in [0, 1]. None where a model has no decoder.
        reward: [T, B].
    """

    observation: dict[str, Array] | None
    reward: Array
