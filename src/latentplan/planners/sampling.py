"""What all planners that draw candidates share: guides from a policy, returns that can be sorted, checks."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from latentplan.planners.objectives import Evaluate
from latentplan.types import AnyBelief, Array, Key, Params

Propose = Callable[[Params, AnyBelief, Key, int], Array]
"""(params, belief, key, N) -> actions [H, N, A]: sequences that a policy would take; see `policy`."""


def nan_to_minus_inf(evaluate: Evaluate) -> Evaluate:
    """Returns of NaN become -inf: `top_k` would take NaN for the best."""

    def evaluated(params: Params, belief: AnyBelief, actions: Array, key: Key) -> Array:
        returns = evaluate(params, belief, actions, key)
        return jnp.where(jnp.isnan(returns), -jnp.inf, returns)

    return evaluated


def make_guides(config: Any, propose: Propose | None) -> Callable[[Params, AnyBelief, Key], list[Array]]:
    """The candidates that a policy contributes to every round.

    Args:
        config: a planner's; `policy_candidates` says how many, 0 is none.
        propose: the policy's sequences.

    Returns:
        (params, belief, key) -> a list of no or one [H, N, A], to be concatenated with others.

    Raises:
        ConfigError: guides are asked for and there is no policy.
    """
    num = config.policy_candidates
    advice = "set it to 0, or give the planner's builder a `propose`"
    config.require(not num or propose, "policy_candidates", "0 where the agent has no policy", advice)
    if not num or propose is None:
        return lambda params, belief, key: []
    return lambda params, belief, key: [propose(params, belief, key, num)]


def check_elites(config: Any) -> None:
    """Raises if there are more elites than candidates.

    Args:
        config: a planner's, with `num_elites` and `num_candidates`.

    Raises:
        ConfigError: with both numbers.
    """
    few = f"at most num_candidates = {config.num_candidates}"
    advice = "lower num_elites or raise num_candidates"
    config.require(config.num_elites <= config.num_candidates, "num_elites", few, advice)


def check_policy_candidates(config: Any) -> None:
    """Raises if all candidates, or more, would be the policy's.

    Args:
        config: a planner's, with `policy_candidates` and `num_candidates`.

    Raises:
        ConfigError: with both numbers.
    """
    few = f"less than num_candidates = {config.num_candidates}"
    advice = "lower policy_candidates or raise num_candidates"
    config.require(config.policy_candidates < config.num_candidates, "policy_candidates", few, advice)


def refuse_discrete(name: str, discrete: bool) -> None:
    """For planners of continuous actions.

    Raises:
        ValueError: the actions are discrete.
    """
    if discrete:
        raise ValueError(f"planner: {name} plans continuous actions, and these are discrete; use cem, mppi or shooting")
