"""Planners whose input and output are checked while JAX traces, so a compiled plan pays nothing."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from latentplan.checks import call_problem, described, expect_shape, expect_type
from latentplan.planners.objectives import Evaluate
from latentplan.types import AnyBelief, Array, Key, Params, Planner, PlanOutput, WarmStart, WorldModel


def checked_evaluate(evaluate: Evaluate) -> Evaluate:
    """An objective whose returns must be real and [N], checked while JAX traces, so a compiled plan pays nothing.

    Args:
        evaluate: (params, belief, actions [H, N, A], key) -> returns [N].

    Returns:
        Evaluate with the same values.

    Raises:
        ValueError: it is no function; when called: its returns have another shape or are complex.
    """
    signature = "(params, belief, actions [H, N, A], key) -> returns [N]"
    if not callable(evaluate):
        advice = "; use model_returns(model)" if isinstance(evaluate, WorldModel) else ""
        raise ValueError(f"evaluate: expected a function {signature}, got {described(evaluate)}{advice}")

    def scored(params: Params, belief: AnyBelief, actions: Array, key: Key) -> Array:
        returns = evaluate(params, belief, actions, key)
        expected, got = (actions.shape[1],), getattr(returns, "shape", described(returns))
        if got != expected:
            raise ValueError(
                f"evaluate: expected returns [N] = {expected}, got {got}; return one number for each action sequence"
            )
        if jnp.issubdtype(returns.dtype, jnp.complexfloating):
            raise ValueError(
                f"evaluate: expected real returns, got {returns.dtype}; return real numbers, which can be ranked"
            )
        return returns

    return scored


def checked_planner(name: str, planner: Planner, action_size: int) -> Planner:
    """A planner whose output must be a PlanOutput with an action [A] and a plan [H, A], and whose warm start must fit.

    Numbers of a warm start that are not finite count as zeros, so that one failed plan does not spoil all later ones.

    Args:
        name: of the planner's entry, for messages.
        planner: as its builder returned it.
        action_size: A.

    Returns:
        Planner with the same output.

    Raises:
        ValueError: it does not take (params, belief, key, warm_start); when called: its output is none such, or
            a warm start has another structure or other shapes than the one that it returns.
    """
    if problem := call_problem(planner, ("params", "belief", "key", "warm_start")):
        raise ValueError(f"{name}.make, what it returned: {problem}; give it these arguments")

    def plan(params: Params, belief: AnyBelief, key: Key, warm_start: WarmStart = None) -> PlanOutput:
        start = jax.tree.map(lambda x: jnp.where(jnp.isfinite(x), x, jnp.zeros_like(x)), warm_start)
        try:
            output = planner(params, belief, key, start)
        except Exception:
            if start is not None:  # perhaps it failed because of it
                _check_warm_start(start, jax.eval_shape(planner, params, belief, key, None))
            raise
        expect_type(f"{name}, plan", output, PlanOutput, "return PlanOutput(action, plan, warm_start, info)")
        expect_shape(f"{name}, action", output.action, (action_size,), "it is the action to take now, [A]")
        expect_shape(f"{name}, plan", output.plan, ("H", action_size), "it is the sequence of actions, [H, A]")
        if start is not None:
            _check_warm_start(start, output)
        return output

    return plan


def _check_warm_start(given: WarmStart, output: PlanOutput) -> None:
    """Raises unless a warm start has the shapes of the one that a planner returned."""
    expected, got = (_shapes(x) for x in (output.warm_start, given))
    if got != expected:
        raise ValueError(
            f"warm_start: expected shapes {expected}, got {got}; give the last plan's warm_start, or None"
        ) from None


def _shapes(tree: Any) -> Any:
    return jax.tree.map(np.shape, tree)
