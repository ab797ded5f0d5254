"""Agents, their training state and their state while they act."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from latentplan.types.arrays import AnyBelief, Array, Key, Params, WarmStart
from latentplan.types.diagnostics import Diagnostic
from latentplan.types.models import WorldModel
from latentplan.types.planners import Planner
from latentplan.types.records import Sample


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
        init: (key, params=None) -> TrainState; with random parameters, or with the given ones, of the same structure:
            optimisers and target networks then start from these.
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
    diagnostics: Mapping[str, Diagnostic]
    model: WorldModel | None = None
    planner: Planner | None = None
