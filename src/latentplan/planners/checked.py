"""Planners whose input and output are checked while JAX traces, so a compiled plan pays nothing."""

from latentplan.checks import call_problem, described, expect_shape, expect_type
from latentplan.planners.objectives import Evaluate
from latentplan.types import AnyBelief, Array, Key, Params, Planner, PlanOutput, WarmStart, WorldModel


def checked_evaluate(evaluate: Evaluate) -> Evaluate:
    """An objective whose returns must be [N]. The shape is checked while JAX traces, so a compiled plan pays nothing.

    Args:
        evaluate: (params, belief, actions [H, N, A], key) -> returns [N].

    Returns:
        Evaluate with the same values.

    Raises:
        ValueError: it is no function; when called: its returns have another shape.
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
        return returns

    return scored


def checked_planner(name: str, planner: Planner, action_size: int) -> Planner:
    """A planner whose output must be a PlanOutput with an action [A] and a plan [H, A].

    Args:
        name: of the planner's entry, for messages.
        planner: as its builder returned it.
        action_size: A.

    Returns:
        Planner with the same output.

    Raises:
        ValueError: it does not take (params, belief, key, warm_start); when called: its output is none such.
    """
    if problem := call_problem(planner, ("params", "belief", "key", "warm_start")):
        raise ValueError(f"{name}.make, what it returned: {problem}; give it these arguments")

    def plan(params: Params, belief: AnyBelief, key: Key, warm_start: WarmStart = None) -> PlanOutput:
        output = planner(params, belief, key, warm_start)
        expect_type(f"{name}, plan", output, PlanOutput, "return PlanOutput(action, plan, warm_start, info)")
        expect_shape(f"{name}, action", output.action, (action_size,), "it is the action to take now, [A]")
        expect_shape(f"{name}, plan", output.plan, ("H", action_size), "it is the sequence of actions, [H, A]")
        return output

    return plan
