"""Planners: pure functions built from an objective; they never import a model."""

from collections.abc import Callable, Mapping
from numbers import Integral
from types import MappingProxyType
from typing import Annotated, Any, NamedTuple

import jax

from latentplan.checks import call_problem
from latentplan.config import ConfigOf, entry_name
from latentplan.planners.cem import CEMConfig, make_cem
from latentplan.planners.checked import checked_evaluate, checked_planner
from latentplan.planners.config import PlannerConfig
from latentplan.planners.gradient import GradientConfig, make_gradient
from latentplan.planners.icem import ICEMConfig, make_icem
from latentplan.planners.mppi import MPPIConfig, make_mppi
from latentplan.planners.objectives import Evaluate
from latentplan.planners.policy import PolicyConfig, make_policy_planner
from latentplan.planners.shooting import ShootingConfig, make_shooting
from latentplan.registry import Registry, config_problem
from latentplan.types import AnyBelief, Key, Params, Planner, PlanOutput, WarmStart


class PlannerEntry(NamedTuple):
    """Registry entry of a planner: its config and its builder.

    Attributes:
        config: its config dataclass.
        make: (config, action_size, evaluate, *, discrete=False, propose=None) -> Planner; see
            `objectives.Evaluate` and `sampling.Propose`.
        needs_policy: whether it cannot plan without the agent's policy.
        small: settings of the preset for two CPU cores, where CEM's (4 rounds of 150 candidates) do not suit it.
    """

    config: type[PlannerConfig]
    make: Callable[..., Planner]
    needs_policy: bool = False
    small: Mapping[str, Any] = MappingProxyType({})

    def problem(self) -> str:
        """What keeps the entry from being used; "" if nothing does."""
        call = call_problem(self.make, ("config", "action_size", "evaluate"), ("discrete", "propose"))
        return config_problem(self.config, PlannerConfig) or (call and f"make: {call}; correct its arguments")


PLANNERS = Registry(
    "PLANNERS",
    PlannerEntry,
    {
        "cem": PlannerEntry(CEMConfig, make_cem),
        "icem": PlannerEntry(
            ICEMConfig, make_icem, small={"num_iterations": 3, "num_candidates": 40, "num_elites": 10}
        ),
        "mppi": PlannerEntry(MPPIConfig, make_mppi),
        "gradient": PlannerEntry(GradientConfig, make_gradient, small={"num_iterations": 12, "num_candidates": 24}),
        "shooting": PlannerEntry(ShootingConfig, make_shooting, small={"num_candidates": 600}),
        "policy": PlannerEntry(PolicyConfig, make_policy_planner, needs_policy=True),
    },
)
"""Name -> planner."""


AnyPlanner = Annotated[PlannerConfig, ConfigOf(PLANNERS)]
"""Annotation of a config field that holds the config of any registered planner."""


def make_planner(config: PlannerConfig, action_size: int, evaluate: Evaluate, **options: Any) -> Planner:
    """Builds the planner that a config describes.

    Args:
        config: of any planner in `PLANNERS`: `CEMConfig`, `MPPIConfig`, ...
        action_size: A, the width of an action.
        evaluate: (params, belief, actions [H, N, A], key) -> returns [N]; `objectives.model_returns` builds it from a
            world model; any other function with this signature works.
        options: passed to the builder: `discrete`, whether actions are one-hot, and `propose`, which samples sequences
            from a policy.

    Returns:
        Planner, for one belief: (params, belief, key, warm_start=None) -> PlanOutput.

    Raises:
        ValueError: the config is of no planner, there is no action, `evaluate` is no function, or the planner does not
            support this action space or needs a policy; see the builder. When planning: the returns are not [N], or the
            planner of an extension does not return a PlanOutput with an action [A] and a plan [H, A].

    Examples:
        >>> import jax, jax.numpy as jnp
        >>> towards_half = lambda params, belief, actions, key: -jnp.sum((actions - 0.5) ** 2, (0, 2))
        >>> plan = make_planner(CEMConfig(horizon=3), 2, towards_half)
        >>> plan(None, None, jax.random.key(0)).plan.shape
        (3, 2)
    """
    name = planner_name(config)
    if not isinstance(action_size, Integral) or action_size < 1:
        raise ValueError(
            f"action_size: expected a whole number, at least 1, got {action_size}; it is an action's width"
        )
    planner = PLANNERS[name].make(config, int(action_size), checked_evaluate(evaluate), **options)
    return checked_planner(f"PLANNERS[{name!r}]", planner, action_size)


def planner_name(config: PlannerConfig) -> str:
    """The registry name of a config's planner.

    Raises:
        ValueError: it is the config of no planner in `PLANNERS`.
    """
    return entry_name("planner", PLANNERS, config)


def for_each_belief(planner: Planner) -> Planner:
    """Batches a planner over beliefs: in parallel, or sequentially on CPU, where one plan already uses all cores.

    Args:
        planner: for one belief.

    Returns:
        (params, beliefs [B, ...], keys [B], warm_starts [B, H, A] or None) -> PlanOutput, each field [B, ...].
    """

    def plan(params: Params, beliefs: AnyBelief, keys: Key, warm_starts: WarmStart = None) -> PlanOutput:
        rows = (beliefs, keys, warm_starts)
        return jax.lax.platform_dependent(
            params,
            rows,
            cpu=lambda params, rows: jax.lax.map(lambda row: planner(params, *row), rows),
            default=lambda params, rows: jax.vmap(lambda row: planner(params, *row))(rows),
        )

    return plan
