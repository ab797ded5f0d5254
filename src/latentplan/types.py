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
AnyBelief = Any  # a model's belief, treated as opaque: any pytree of arrays
AnyLatent = Any  # a step's latent state: a distribution or a point estimate
WarmStart = Any  # what a planner passes on to the next decision: any pytree of arrays
Metrics = dict[str, Array]

BeliefT = TypeVar("BeliefT")  # for functions that return the same belief type that they take


class ArraySpec(NamedTuple):
    """The space of one observation or one action.

    Attributes:
        shape: (height, width, channels) for an image, (n,) for a vector.
        dtype: "uint8" for images, "float32" for vectors and actions.
        num_choices: for actions only: the number of choices of a discrete action (a one-hot vector); 0 if continuous.
    """

    shape: tuple[int, ...]
    dtype: str = "float32"
    num_choices: int = 0

    @property
    def is_image(self) -> bool:
        """Whether the shape is that of an image, [height, width, channels]."""
        return len(self.shape) == 3


class EnvSpec(NamedTuple):
    """An environment's observation and action spaces and timing: all an agent needs to know of it.

    Attributes:
        observations: name -> space of an observation, an image or a vector, in the order in which models encode them.
        actions: name -> space of an action. They are concatenated into the flat action [A], in [-1, 1].
        action_repeat: simulator control steps per decision.
        max_decisions: an episode's time limit in decisions; None if there is no limit.
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

        Examples:
            >>> EnvSpec.single((24,), action_size=6).observations
            {'state': ArraySpec(shape=(24,), dtype='float32', num_choices=0)}
        """
        observation = ArraySpec(tuple(shape), dtype)
        action = ArraySpec((action_size,), "float32", action_size if discrete else 0)
        name = "image" if observation.is_image else "state"
        return cls({name: observation}, {"action": action}, action_repeat, max_decisions)

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> "EnvSpec":
        """Rebuilds a spec from the output of `to_fields`."""
        spaces = {
            kind: {
                name: ArraySpec(tuple(space["shape"]), space["dtype"], space["num_choices"])
                for name, space in x.items()
            }
            for kind, x in fields.items()
            if kind in ("observations", "actions")
        }
        return cls(**{**fields, **spaces})

    def to_fields(self) -> dict[str, object]:
        """The fields as plain values that survive a round trip through JSON."""

        def plain(spaces: Mapping[str, ArraySpec]) -> dict[str, object]:
            return {name: space._asdict() | {"shape": list(space.shape)} for name, space in spaces.items()}

        return self._asdict() | {"observations": plain(self.observations), "actions": plain(self.actions)}

    def __hash__(self) -> int:
        """So that a spec can be a static argument of jit, and a key; dictionaries alone cannot."""
        spaces = (frozenset(self.observations.items()), frozenset(self.actions.items()))
        return hash((*spaces, self.action_repeat, self.max_decisions))

    @property
    def action_size(self) -> int:
        """A, the size of the flat action."""
        return sum(math.prod(action.shape) for action in self.actions.values())

    @property
    def discrete(self) -> bool:
        """Whether the action is one choice, as a one-hot vector.

        Raises:
            ValueError: there are several actions and at least one is discrete; no planner or policy here samples those.
        """
        choices = [name for name, action in self.actions.items() if action.num_choices]
        if choices and len(self.actions) > 1:
            raise ValueError(
                "actions: expected one discrete action, or continuous ones only, got discrete "
                f"{', '.join(choices)} among {len(self.actions)} actions; merge them into one discrete action over "
                "their combinations"
            )
        return bool(choices)

    def check_names(self, observation: Mapping[str, Any]) -> None:
        """Refuses observations that do not have the names of `observations`.

        Raises:
            ValueError: it is no dictionary, or entries are missing or unknown.
        """
        expected = ", ".join(self.observations)
        if not isinstance(observation, Mapping):
            raise ValueError(
                f"observation: expected a dictionary with {expected}, got {type(observation).__name__}; "
                "give each observation under its name in EnvSpec.observations"
            )
        if set(observation) != set(self.observations):
            raise ValueError(f"observation: expected {expected}, got {', '.join(observation)}; rename its entries")

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
        batch: [T, B, ...], B windows of T consecutive records, time-major.
        weight: [B], importance weight of each window in the loss, at most 1; all ones under uniform sampling.
        indices: [B] int, each window's start in the replay memory, needed to update its priority.
    """

    batch: Batch
    weight: Array
    indices: Array

    @classmethod
    def uniform(cls, batch: Batch) -> "Sample":
        """Wraps windows [T, B, ...] that were not drawn from replay, with equal weights."""
        number = batch.reward.shape[1]
        return cls(batch, jnp.ones(number), jnp.arange(number))


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


class PlanOutput(NamedTuple):
    """What a planner returns for one belief.

    Attributes:
        action: [A], the action to take now.
        plan: [H, A], the action sequence the planner settled on.
        warm_start: an optional input to the next call; a pytree of arrays in which zeros mean "no plan yet".
        info: scalars and small arrays that describe the search, for logging.
    """

    action: Array
    plan: Array
    warm_start: WarmStart
    info: dict[str, Array]


@runtime_checkable
class Planner(Protocol):
    """Plans for one belief; `jax.vmap` it, or `planners.for_each_belief`, over beliefs.

    Its objective and its action space are fixed when it is built, by `planners.make_planner`.
    """

    def __call__(self, params: Params, belief: AnyBelief, key: Key, warm_start: WarmStart = None, /) -> PlanOutput:
        """Plans the next H decisions.

        Args:
            params: of the model, and of any value function or policy that the planner uses.
            belief: the belief now, without batch axis; any pytree of arrays.
            key: for sampling candidates and model states.
            warm_start: from the last decision's `PlanOutput`, or zeros of its shapes; None plans from scratch.

        Returns:
            PlanOutput.
        """


class TrainState(NamedTuple):
    """Training state: everything that an update changes.

    Attributes:
        params: the model's parameters.
        opt_state: the optimisers' states and other learner state, such as target networks.
        updates: int32 scalar, gradient steps taken.
    """

    params: Params
    opt_state: Any
    updates: Array


class Carry(NamedTuple):
    """An agent's recurrent state while it acts, one row per environment.

    Attributes:
        belief: [num_envs, ...], the filtered belief, of the model's own type.
        action: [num_envs, A], the last action taken.
        warm_start: [num_envs, ...], from the planner's last output.
    """

    belief: AnyBelief
    action: Array
    warm_start: WarmStart


Update = Callable[[TrainState, Sample, Key], tuple[TrainState, dict[str, Array]]]
"""(train_state, sample, key) -> (train_state, metrics): a gradient step.

Metrics are scalars and include `finite`, 1.0 while loss and gradients are finite. An update may also return `priority`
[B], one per window, for prioritised replay.
"""


class Agent(NamedTuple):
    """An agent as pure functions; the only interface that the driver uses.

    Attributes:
        init: (key) -> TrainState.
        initial: (num_envs) -> Carry.
        act: (params, carry, observations by name [num_envs, *shape], is_first [num_envs], key, *, mode) ->
            (action [num_envs, A], Carry, info); mode is "explore" or "eval". Info's arrays are [num_envs, ...]; where
            the agent plans, "eval" adds `planned_rewards` [num_envs, H], the model's predicted rewards along the plan.
        updates: name -> update. An agent trained end to end has one, "joint"; an agent trained in stages, or whose
            parts are updated at different rates, has several, and a schedule names them (`driver.schedule.Stage`).
        diagnostics: name -> Diagnostic; the measurements that this agent supports, see `latentplan.diagnostics`.
        model: the agent's world model, for research code; its functions take the same params as `act`. The driver does
            not use it. None for agents without one.
        planner: the planner that selects actions at evaluation; likewise for research code.
    """

    init: Callable[..., TrainState]
    initial: Callable[..., Carry]
    act: Callable[..., tuple[Array, Carry, dict[str, Array]]]
    updates: Mapping[str, Update]
    diagnostics: Mapping[str, "Diagnostic"]
    model: WorldModel | None = None
    planner: Planner | None = None


class Trajectory(NamedTuple):
    """One episode with the agent's per-decision infos.

    Attributes:
        batch: [n + 1, ...], its records.
        infos: name -> [n, ...], the info that `Agent.act` returned at each decision.
    """

    batch: Batch
    infos: dict[str, Any]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Evidence:
    """The input of diagnostics: a batch of padded episodes. Context and length are static under tracing.

    Attributes:
        batch: [T, B, ...]. Episodes differ in length: records between an `is_last` and the next `is_first` are padding.
        infos: name -> [T, B, ...], the agent's info at each record; zeros where it made no decision.
        context: number of observed steps before an open-loop prediction.
        length: total number of steps of an open-loop prediction, context included.
    """

    batch: Batch
    infos: dict[str, Any] = field(default_factory=dict)
    context: int = field(default=5, metadata={"static": True})
    length: int = field(default=50, metadata={"static": True})

    @property
    def valid(self) -> Any:
        """[T, B] bool, whether a record belongs to an episode rather than to padding."""
        first, last = (flag.astype("int32") for flag in (self.batch.is_first, self.batch.is_last))
        ended, begun = last.cumsum(0) - last, first.cumsum(0) - first[:1]
        return ended <= begun


class Measurement(NamedTuple):
    """The result of a diagnostic.

    Attributes:
        numbers: name -> a scalar or a vector.
        picture: a pytree of arrays to draw; None if there is nothing to draw.
    """

    numbers: dict[str, Array]
    picture: Any = None


class Diagnostic(NamedTuple):
    """A measurement of an agent. Its results are logged under its name in `Agent.diagnostics`.

    Attributes:
        measure: (params, Evidence, key) -> Measurement; pure, and jitted by the driver.
        select: (Evidence) -> the part that `measure` needs; None if there is nothing to measure. It runs on the host,
            to limit transfers to the device and the number of compiled shapes.
        drawing: the name in the driver's DRAWINGS of the function that draws the picture; None without a picture.
    """

    measure: Callable[[Params, Evidence, Key], Measurement]
    select: Callable[[Evidence], Evidence | None] = lambda evidence: evidence
    drawing: str | None = None


class OpenLoop(NamedTuple):
    """An open-loop prediction beside the truth, in the environment's units.

    Attributes:
        true_observation, predicted_observation: by name [T, B, *shape]; pixels as float32 in [0, 1]. The prediction is
            None if the model has no decoder.
        true_reward, predicted_reward: [T, B].
    """

    true_observation: dict[str, Array]
    predicted_observation: dict[str, Array] | None
    true_reward: Array
    predicted_reward: Array


class ImaginedTrajectory(NamedTuple):
    """The model's predictions along a policy's imagined trajectory, in the environment's units.

    Attributes:
        observation: by name [T, B, *shape]; pixels as float32 in [0, 1]. None if the model has no decoder.
        reward: [T, B].
    """

    observation: dict[str, Array] | None
    reward: Array
