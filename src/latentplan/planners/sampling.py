"""Helpers of the sampling-based planners: policy candidates, returns that are not finite, config checks."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from latentplan.planners.objectives import Evaluate
from latentplan.types import AnyBelief, Array, Key, Params

Propose = Callable[[Params, AnyBelief, Key, int], Array]
"""(params, belief, key, N) -> actions [H, N, A]: samples sequences from a policy; see `policy`."""


_LARGEST = 1e15  # whose square, summed over any number of candidates, is still a float32


def finite_returns(evaluate: Evaluate) -> Evaluate:
    """Makes returns finite float32 numbers, so that every plan made from them is finite, and so is its gradient.

    NaN, infinity and overflow say that the model's prediction failed, so such a sequence ranks below all others,
    whatever the sign. Finite returns are clipped to +-1e15. Numbers of a gradient (by params, belief or actions) to
    which a failed prediction contributes NaN or infinity are zero; only reverse-mode differentiation is supported.

    Args:
        evaluate: (params, belief, actions [H, N, A], key) -> returns [N], of any real dtype.

    Returns:
        Evaluate.
    """

    def evaluated(params: Params, belief: AnyBelief, actions: Array, key: Key) -> Array:
        params, belief, actions = jax.tree.map(_with_finite_gradient, (params, belief, actions))
        returns = evaluate(params, belief, actions, key).astype(jnp.float32)
        return jnp.where(jnp.isfinite(returns), jnp.clip(returns, -_LARGEST, _LARGEST), -_LARGEST)

    return evaluated


def _with_finite_gradient(x: Any) -> Any:
    """The same; what flows back through it is zero where it is not finite. A `where` would not do: 0 * NaN is NaN."""
    return _identity(x) if jnp.issubdtype(getattr(x, "dtype", int), jnp.floating) else x


@jax.custom_vjp
def _identity(x: Array) -> Array:
    return x


_identity.defvjp(
    lambda x: (x, None), lambda _, gradient: (jnp.where(jnp.isfinite(gradient), gradient, jnp.zeros_like(gradient)),)
)


def make_guides(config: Any, propose: Propose | None) -> Callable[[Params, AnyBelief, Key], list[Array]]:
    """Builds the sampler of the candidates that a policy contributes to every round.

    Args:
        config: a planner's; `policy_candidates` is their number, 0 for none.
        propose: samples sequences from the policy.

    Returns:
        (params, belief, key) -> a list of zero or one array [H, N, A], to concatenate with other candidates.

    Raises:
        ConfigError: `policy_candidates` is set, but there is no policy.
    """
    num = config.policy_candidates
    advice = "set it to 0, or pass `propose` to the planner's builder"
    config.require(not num or propose, "policy_candidates", "0 for an agent without a policy", advice)
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
    """Raises unless fewer candidates come from the policy than there are in all.

    Args:
        config: a planner's, with `policy_candidates` and `num_candidates`.

    Raises:
        ConfigError: with both numbers.
    """
    few = f"fewer than num_candidates = {config.num_candidates}"
    advice = "lower policy_candidates or raise num_candidates"
    config.require(config.policy_candidates < config.num_candidates, "policy_candidates", few, advice)


def refuse_discrete(name: str, discrete: bool) -> None:
    """Raises if the actions are discrete, for planners that need continuous ones.

    Raises:
        ValueError: the actions are discrete.
    """
    if discrete:
        raise ValueError(f"planner: {name} needs continuous actions, got discrete ones; use cem, mppi or shooting")
