"""What all planners that draw candidates share: guides from a policy, returns that can be sorted, checks."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from latentplan.planners.objectives import Evaluate
from latentplan.types import Array, Key, Params

Propose = Callable[[Params, Any, Key, int], Array]
"""(params, belief, key, num) -> actions [H, num, A]: sequences that a policy would take; see `policy`."""


def nan_to_minus_inf(evaluate: Evaluate) -> Evaluate:
    """Returns of NaN become -inf: `top_k` would take NaN for the best."""

    def evaluated(params: Params, belief: Any, actions: Array, key: Key) -> Array:
        returns = evaluate(params, belief, actions, key)
        return jnp.where(jnp.isnan(returns), -jnp.inf, returns)

    return evaluated


def make_guides(num: int, propose: Propose | None) -> Callable[[Params, Any, Key], list[Array]]:
    """The candidates that a policy contributes to every round.

    Args:
        num: how many; 0 for none.
        propose: the policy's sequences.

    Returns:
        (params, belief, key) -> a list of no or one [H, num, A], to be concatenated with others.

    Raises:
        ValueError: guides are asked for and there is no policy.
    """
    if num and propose is None:
        raise ValueError(
            f"planner.policy_candidates: expected 0 where the agent has no policy, got {num}; "
            "set it to 0, or give the planner's builder a `propose`"
        )
    if not num or propose is None:
        return lambda params, belief, key: []
    return lambda params, belief, key: [propose(params, belief, key, num)]


def check(values: Any, **least: int | float) -> None:
    """Refuses fields of a planner's config that are below the least they can be.

    Raises:
        ValueError: with the field, what was expected and what came.
    """
    for field, bound in least.items():
        if not getattr(values, field) >= bound:
            raise ValueError(f"planner.{field}: expected at least {bound}, got {getattr(values, field)}")


def check_elites(values: Any) -> None:
    """Refuses more elites than candidates.

    Raises:
        ValueError: with both numbers.
    """
    if values.num_elites > values.num_candidates:
        raise ValueError(
            f"planner.num_elites: expected at most num_candidates = {values.num_candidates}, got "
            f"{values.num_elites}; lower num_elites or raise num_candidates"
        )


def check_policy_candidates(values: Any) -> None:
    """Refuses as many policy candidates as candidates, or more.

    Raises:
        ValueError: with both numbers.
    """
    if not 0 <= values.policy_candidates < values.num_candidates:
        raise ValueError(
            f"planner.policy_candidates: expected 0 to num_candidates - 1 = {values.num_candidates - 1}, "
            f"got {values.policy_candidates}"
        )


def refuse_discrete(name: str, discrete: bool) -> None:
    """For planners of continuous actions.

    Raises:
        ValueError: the actions are discrete.
    """
    if discrete:
        raise ValueError(f"planner: {name} plans continuous actions, and these are discrete; use cem, mppi or shooting")
