"""A policy as a planner, and as a source of candidates for the other planners."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from latentplan.config import PositiveInt
from latentplan.planners.config import PlannerConfig
from latentplan.planners.objectives import Evaluate
from latentplan.planners.sampling import Propose, finite_returns
from latentplan.types import AnyBelief, Array, ImagineStep, Key, Params, Planner, PlanOutput, WarmStart


@dataclass(frozen=True, kw_only=True)
class PolicyConfig(PlannerConfig):
    """Acts with the agent's policy; the model only predicts its return."""

    horizon: PositiveInt = 12
    """H, decisions for which the policy is rolled out; the first action is taken."""

    @property
    def evaluations(self) -> int:
        """Number of action sequences evaluated per plan."""
        return 1


def make_policy_planner(
    config: PolicyConfig,
    action_size: int,
    evaluate: Evaluate,
    *,
    discrete: bool = False,
    propose: Propose | None = None,
) -> Planner:
    """Builds a planner that takes the policy's action.

    Args:
        config: planner settings.
        action_size: A.
        evaluate: scores the policy's sequence, for logging.
        discrete: whether actions are one-hot choices.
        propose: samples sequences from the policy; see `propose_by`.

    Returns:
        Planner for one belief. Its info holds `elite_return` [1], the return of the sequence.

    Raises:
        ValueError: there is no policy.
    """
    del action_size, discrete
    if propose is None:
        raise ValueError(
            "planner: 'policy' acts with the agent's policy, and this agent has none; use cem, icem or mppi"
        )

    evaluate = finite_returns(evaluate)

    def plan(params: Params, belief: AnyBelief, key: Key, warm_start: WarmStart = None) -> PlanOutput:
        del warm_start  # a policy needs none
        policy_key, model_key = jax.random.split(key)
        actions = propose(params, belief, policy_key, 1)
        returns = evaluate(params, belief, actions, model_key)
        return PlanOutput(actions[0, 0], actions[:, 0], (), {"elite_return": returns})

    return plan


def propose_by(
    policy: Callable[[Params, AnyBelief, Key], Array],
    imagine_step: ImagineStep,
    horizon: int,
) -> Propose:
    """Builds a sampler of the action sequences that a policy takes in the model.

    Args:
        policy: (params, belief [N], key) -> actions [N, A].
        imagine_step: (params, belief [N], action [N, A], key) -> (belief [N], anything).
        horizon: H.

    Returns:
        Propose: (params, belief, key, N) -> [H, N, A], for one belief.
    """

    def propose(params: Params, belief: AnyBelief, key: Key, num: int) -> Array:
        start = jax.tree.map(lambda x: jnp.broadcast_to(x, (num, *x.shape)), belief)

        def step(belief: AnyBelief, key: Key):
            policy_key, model_key = jax.random.split(key)
            action = policy(params, belief, policy_key)
            return imagine_step(params, belief, action, model_key)[0], action

        _, actions = jax.lax.scan(step, start, jax.random.split(key, horizon))
        return actions

    return propose
