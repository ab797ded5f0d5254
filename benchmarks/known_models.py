"""Planning problems with exactly known models: a quadratic, a linear-quadratic regulator, a cart-pole."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from latentplan.planners.objectives import Evaluate, sum_of_rewards
from latentplan.types import Array, Key, Planner

HORIZON = 12


class Problem(NamedTuple):
    """A family of planning problems.

    Attributes:
        action_size: A.
        evaluate: the objective, exact.
        score: (planner, keys [R]) -> [R], how well it plans for R random cases; more is better.
        unit: of the score.
    """

    action_size: int
    evaluate: Evaluate
    score: Callable[[Planner, Key], Array]
    unit: str


def quadratic(action_size: int = 6) -> Problem:
    """-sum (a - target)^2 with a target of its own for every step and action; score: minus the distance, rms."""

    def evaluate(params: Any, target: Array, actions: Array, key: Key) -> Array:
        return -jnp.sum((actions - target[:, None]) ** 2, (0, 2))

    def score(planner: Planner, keys: Key) -> Array:
        def one(key: Key) -> Array:
            target_key, plan_key = jax.random.split(key)
            target = jax.random.uniform(target_key, (HORIZON, action_size), minval=-0.8, maxval=0.8)
            return -jnp.sqrt(jnp.mean((planner(None, target, plan_key).plan - target) ** 2))

        return jax.lax.map(one, keys)

    return Problem(action_size, evaluate, score, "minus rms distance to the optimum")


class LQR(NamedTuple):
    """x' = a x + b u, cost sum_{t=1..H} x_t' q x_t + u_t' r u_t.

    Attributes:
        a: [n, n].
        b: [n, m].
        q: [n, n].
        r: [m, m].
    """

    a: np.ndarray
    b: np.ndarray
    q: np.ndarray
    r: np.ndarray


def make_lqr(states: int = 4, actions: int = 2, seed: int = 0) -> LQR:
    """A random system on the edge of stability."""
    rng = np.random.default_rng(seed)
    a = rng.normal(size=(states, states))
    a /= np.abs(np.linalg.eigvals(a)).max()
    return LQR(a, rng.normal(size=(states, actions)), np.eye(states), 0.1 * np.eye(actions))


def riccati(system: LQR, horizon: int, start: np.ndarray) -> tuple[np.ndarray, float]:
    """The optimal actions from a state and their cost, by dynamic programming.

    Args:
        system: as above.
        horizon: H.
        start: [n], x_0.

    Returns:
        (actions [H, m], cost).
    """
    a, b, q, r = system
    cost, gains = np.zeros_like(q), []
    for _ in range(horizon):  # cost-to-go of x after k more steps is x' cost x
        ahead = q + cost
        gain = -np.linalg.solve(r + b.T @ ahead @ b, b.T @ ahead @ a)
        gains.append(gain)
        closed = a + b @ gain
        cost = closed.T @ ahead @ closed + gain.T @ r @ gain
    x, plan = start, []
    for gain in reversed(gains):
        plan.append(gain @ x)
        x = a @ x + b @ plan[-1]
    return np.stack(plan), float(start @ cost @ start)


def lqr(system: LQR, horizon: int = HORIZON) -> Problem:
    """Score: minus the cost above the optimum's, as a share of it; starts are such that it stays within the bounds."""
    a, b, q, r = (jnp.asarray(x, jnp.float32) for x in system)
    states, actions = system.b.shape
    # Optimal plans are linear in the start, so those of unit vectors give them all.
    plans = jnp.asarray(np.stack([riccati(system, horizon, x)[0] for x in np.eye(states)]), jnp.float32)

    def step(params: Any, belief: tuple, action: Array, key: Key) -> tuple[tuple, None]:
        return (belief[0] @ a.T + action @ b.T, action), None

    def reward(params: Any, belief: tuple) -> Array:
        x, u = belief
        return -jnp.einsum("...i,ij,...j", x, q, x) - jnp.einsum("...i,ij,...j", u, r, u)

    evaluate = sum_of_rewards(step, reward)

    def score(planner: Planner, keys: Key) -> Array:
        def one(key: Key) -> Array:
            start_key, plan_key = jax.random.split(key)
            start = jax.random.normal(start_key, (states,))
            optimum = jnp.einsum("nhm,n->hm", plans, start)
            scale = 0.8 / jnp.abs(optimum).max()
            belief = (scale * start, jnp.zeros(actions))
            both = jnp.stack([planner(None, belief, plan_key).plan, scale * optimum], 1)
            returns = evaluate(None, belief, both, plan_key)
            return (returns[0] - returns[1]) / -returns[1]

        return jax.lax.map(one, keys)

    return Problem(actions, evaluate, score, "minus cost above the optimum, as a share of it")


def cart_pole(decisions: int = 125) -> Problem:
    """Swing-up in closed loop with the true model; score: return of an episode, at most 1000.

    Masses, lengths, force and reward are those of dm_control's cartpole swingup, its action repeat PlaNet's (8 steps of
    0.01 s); the equations are Barto et al. 1983 for a pole that is a uniform rod, without MuJoCo's friction.
    """
    repeat, dt, gravity, cart, pole, half = 8, 0.01, 9.81, 1.0, 0.1, 0.5

    def substep(state: Array, force: Array) -> Array:
        x, speed, angle, spin = (state[..., i] for i in range(4))  # angle from upright
        sin, cos = jnp.sin(angle), jnp.cos(angle)
        push = (force + pole * half * spin**2 * sin) / (cart + pole)
        turn = (gravity * sin - cos * push) / (half * (4 / 3 - pole * cos**2 / (cart + pole)))
        speed = speed + dt * (push - pole * half * turn * cos / (cart + pole))
        spin = spin + dt * turn
        moved = x + dt * speed
        stopped = jnp.clip(moved, -1.8, 1.8)  # the rail's ends
        speed = jnp.where(moved == stopped, speed, 0.0)
        return jnp.stack([stopped, speed, angle + dt * spin, spin], -1)

    def reward_of(state: Array, action: Array) -> Array:
        x, _, angle, spin = (state[..., i] for i in range(4))
        upright = (1 + jnp.cos(angle)) / 2
        centred = (1 + 0.1 ** ((x / 2) ** 2)) / 2
        calm = (4 + jnp.maximum(0.0, 1 - action[..., 0] ** 2)) / 5
        slow = (1 + 0.1 ** ((spin / 5) ** 2)) / 2
        return upright * centred * calm * slow

    def step(params: Any, belief: tuple, action: Array, key: Key) -> tuple[tuple, None]:
        def one(carry: tuple, _: None) -> tuple[tuple, None]:
            state, total = carry
            state = substep(state, 10.0 * action[..., 0])
            return (state, total + reward_of(state, action)), None

        start = belief[0], jnp.zeros(action.shape[:-1])
        return jax.lax.scan(one, start, length=repeat)[0], None

    evaluate = sum_of_rewards(step, lambda params, belief: belief[1])

    def score(planner: Planner, keys: Key) -> Array:
        def one(key: Key) -> Array:
            start_key, plan_key = jax.random.split(key)
            start = jnp.array([0.0, 0.0, jnp.pi, 0.0]) + 0.01 * jax.random.normal(start_key, (4,))
            belief = (start, jnp.zeros(()))
            nothing = jax.eval_shape(planner, None, belief, plan_key).warm_start
            warm_start = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), nothing)

            def decide(carry: tuple, key: Key) -> tuple[tuple, Array]:
                belief, warm_start = carry
                planned = planner(None, belief, key, warm_start)
                belief, _ = step(None, belief, planned.action, key)
                return (belief, planned.warm_start), belief[1]

            _, rewards = jax.lax.scan(decide, (belief, warm_start), jax.random.split(plan_key, decisions))
            return jnp.sum(rewards)

        return jax.lax.map(one, keys)

    return Problem(1, evaluate, score, "return")
