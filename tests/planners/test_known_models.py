"""Planners against optima that are known: Riccati's for linear systems; and the models that benchmarks plan with."""

import jax
import jax.numpy as jnp
import known_models
import numpy as np
import planner_quality
import pytest
from scipy.optimize import minimize

from latentplan.planners import PLANNERS

SYSTEM = known_models.make_lqr(states=3, actions=2, seed=1)
START = np.array([0.3, -0.2, 0.1])
HORIZON = 4
ENOUGH = {  # what the optimum takes
    "cem": dict(num_iterations=20, num_candidates=400, num_elites=40),
    "icem": dict(num_iterations=20, num_candidates=400, num_elites=40, candidate_decay=1.0),
    "mppi": dict(
        num_iterations=20, num_candidates=400, num_elites=40, init_std=1.0, temperature=5.0, min_std=0.0, choose="mean"
    ),
    "gradient": dict(num_iterations=300, num_candidates=4, learning_rate=0.02),
    "shooting": dict(num_candidates=200_000),
}


def cost_of(plan):
    x, total = START, 0.0
    for u in np.reshape(plan, (HORIZON, 2)):
        x = SYSTEM.a @ x + SYSTEM.b @ u
        total += x @ SYSTEM.q @ x + u @ SYSTEM.r @ u
    return total


def test_riccatis_plan_is_what_scipy_finds_by_descent():
    plan, cost = known_models.riccati(SYSTEM, HORIZON, START)
    found = minimize(cost_of, np.zeros(HORIZON * 2), tol=1e-12)
    assert cost == pytest.approx(cost_of(plan), rel=1e-9) == pytest.approx(found.fun, rel=1e-6)
    np.testing.assert_allclose(plan.ravel(), found.x, atol=1e-4)


@pytest.mark.parametrize("name", sorted(ENOUGH))
def test_every_planner_comes_near_riccatis_optimum(name):
    problem = known_models.lqr(SYSTEM, HORIZON)
    planner = PLANNERS[name].make(PLANNERS[name].config(horizon=HORIZON, **ENOUGH[name]), 2, problem.evaluate)
    scores = jax.jit(lambda keys: problem.score(planner, keys))(jax.random.split(jax.random.key(0), 3))
    allowed = 3.0 if name == "shooting" else 0.05  # 8 numbers at once are too many for blind chance
    assert (-allowed < scores).all() and (scores <= 1e-5).all()


def test_the_optimum_scores_zero():
    problem = known_models.lqr(SYSTEM, HORIZON)

    def optimal(params, belief, key):
        start = belief[0]
        plans = jnp.stack([jnp.asarray(known_models.riccati(SYSTEM, HORIZON, x)[0]) for x in np.eye(3)])
        return PlanLike(jnp.einsum("nhm,n->hm", plans, start))

    scores = problem.score(optimal, jax.random.split(jax.random.key(1), 4))
    np.testing.assert_allclose(scores, 0.0, atol=1e-4)


class PlanLike:
    def __init__(self, plan):
        self.plan = plan


def test_the_cart_pole_keeps_its_energy_when_nothing_pushes_and_falls_the_right_way():
    problem = known_models.cart_pole()
    rewards = []
    for angle in (0.0, 0.1, 3.1):
        belief = (jnp.array([0.0, 0.0, angle, 0.0]), jnp.zeros(()))
        rewards.append(float(problem.evaluate(None, belief, jnp.zeros((12, 1, 1)), jax.random.key(0))[0]))
    assert rewards[0] == pytest.approx(12 * 8, rel=1e-3)  # upright and still: one per step
    assert rewards[0] > rewards[1] > rewards[2] >= 0


@pytest.mark.parametrize("name", planner_quality.COMPARED)
@pytest.mark.parametrize("budget", [120, 600, 10_000])
def test_budgets_are_kept_and_used(name, budget):
    config = planner_quality.with_budget(PLANNERS[name].config(horizon=3, warm_start=True), budget)
    assert 0.85 * budget <= config.evaluations <= budget


@pytest.mark.parametrize("budget", [120, 600])
def test_a_budget_holds_for_planners_that_a_policy_helps(budget):
    config = planner_quality.with_budget(PLANNERS["mppi"].config(horizon=3, policy_candidates=24), budget)
    assert 0.85 * budget <= config.evaluations <= budget
    assert 0 < config.policy_candidates <= config.num_candidates / 8
