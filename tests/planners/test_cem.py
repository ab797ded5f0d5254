"""CEM: its arithmetic against NumPy, its optimum against known ones, its options."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from latentplan.planners.cem import CEMConfig, make_cem
from latentplan.planners.objectives import sum_of_rewards
from latentplan.types import Belief

TARGET = np.array([[0.5, -0.3], [-0.7, 0.1], [0.0, 0.9]], np.float32)  # a different one for every step and action


def bowl(params, belief, actions, key):
    return -jnp.sum((actions - TARGET[:, None]) ** 2, (0, 2))


def reference(noise, config, returns_of, start=None):
    """CEM in NumPy, with the same noise in every round."""
    mean = np.zeros((noise.shape[0], noise.shape[2])) if start is None else start
    std = np.full_like(mean, config.init_std)
    elite_return, return_std, action_std = [], [], []
    for _ in range(config.num_iterations):
        actions = np.clip(mean[:, None] + std[:, None] * noise, -1, 1)
        returns = returns_of(actions)
        order = np.argsort(-returns)[: config.num_elites]
        elites = actions[:, order]
        mean = elites.sum(1) / config.num_elites
        var = ((elites - mean[:, None]) ** 2).sum(1) / config.num_elites
        std = np.sqrt(var + config.min_std**2)
        elite_return.append(returns[order].mean())
        return_std.append(returns.std())
        action_std.append(std.mean())
    return mean, {"elite_return": elite_return, "return_std": return_std, "action_std": action_std}


@pytest.fixture
def inject(monkeypatch):
    """Makes every draw of a planner this noise."""

    def normal(noise):
        def draw(key, shape, dtype):
            assert shape == noise.shape
            return jnp.asarray(noise, jnp.float32)

        monkeypatch.setattr(jax.random, "normal", draw)

    return normal


@pytest.mark.parametrize("rounds", [1, 2, 4])
def test_equals_numpy_on_the_same_noise(inject, rounds):
    noise = np.random.default_rng(1).normal(size=(3, 40, 2))
    config = CEMConfig(horizon=3, num_iterations=rounds, num_candidates=40, num_elites=6, init_std=0.7, min_std=0.05)
    inject(noise)
    output = make_cem(config, 2, bowl)(None, None, jax.random.key(0))
    plan, info = reference(noise, config, lambda a: -((a - TARGET[:, None]) ** 2).sum((0, 2)))
    np.testing.assert_allclose(output.plan, plan, atol=1e-5)
    np.testing.assert_allclose(output.action, plan[0], atol=1e-5)
    assert output.info.keys() == info.keys()
    for name, value in info.items():
        assert output.info[name].shape == (rounds,)
        np.testing.assert_allclose(output.info[name], value, rtol=1e-4, err_msg=name)


def test_elites_are_the_best_and_not_the_worst(inject):
    noise = np.linspace(-0.9, 0.9, 10).reshape(1, 10, 1)
    inject(noise)
    config = CEMConfig(horizon=1, num_iterations=1, num_candidates=10, num_elites=3)
    output = make_cem(config, 1, lambda params, belief, actions, key: actions[0, :, 0])(None, None, jax.random.key(0))
    np.testing.assert_allclose(output.plan, [[np.mean([0.5, 0.7, 0.9])]], rtol=1e-5)
    np.testing.assert_allclose(output.info["elite_return"], [0.7], rtol=1e-5)


@pytest.mark.parametrize("min_std", [0.0, 0.3])
def test_refits_the_population_std_with_a_floor_in_quadrature(inject, min_std):
    inject(np.array([0.2, 0.8]).reshape(1, 2, 1))
    config = CEMConfig(horizon=1, num_iterations=1, num_candidates=2, num_elites=2, min_std=min_std)
    output = make_cem(config, 1, lambda params, belief, actions, key: actions[0, :, 0])(None, None, jax.random.key(0))
    population = 0.3  # the sample std, with K - 1, would be 0.42
    np.testing.assert_allclose(output.info["action_std"], [np.sqrt(population**2 + min_std**2)], rtol=1e-5)


def test_the_first_round_draws_around_zero_with_init_std():
    drawn = []

    def evaluate(params, belief, actions, key):
        jax.debug.callback(lambda x: drawn.append(np.asarray(x)), actions)
        return actions[0, :, 0]

    config = CEMConfig(horizon=2, num_iterations=1, num_candidates=4000, num_elites=1, init_std=0.2)
    make_cem(config, 3, evaluate)(None, None, jax.random.key(1))
    jax.effects_barrier()
    (actions,) = drawn
    assert actions.shape == (2, 4000, 3)
    np.testing.assert_allclose(actions.mean(1), 0.0, atol=5 * 0.2 / 4000**0.5)
    np.testing.assert_allclose(actions.std(1), 0.2, rtol=0.06)  # 5 standard errors


def test_zero_iterations_return_the_start():
    planner = make_cem(CEMConfig(horizon=3, num_iterations=0, warm_start=True), 2, bowl)
    output = planner(None, None, jax.random.key(0))
    np.testing.assert_array_equal(output.plan, np.zeros((3, 2)))
    np.testing.assert_array_equal(output.action, np.zeros(2))
    assert all(value.shape == (0,) for value in output.info.values())


def test_a_warm_start_is_shifted_by_one_decision_and_padded_with_zero():
    planner = make_cem(CEMConfig(horizon=3, num_iterations=0, warm_start=True), 2, bowl)
    output = planner(None, None, jax.random.key(0), jnp.asarray(TARGET))
    np.testing.assert_array_equal(output.plan, [TARGET[1], TARGET[2], [0.0, 0.0]])
    np.testing.assert_array_equal(output.action, TARGET[1])


def test_a_warm_start_is_where_the_first_round_draws(inject):
    noise = np.random.default_rng(2).normal(size=(3, 20, 2))
    inject(noise)
    config = CEMConfig(horizon=3, num_iterations=2, num_candidates=20, num_elites=4, init_std=0.1, warm_start=True)
    output = make_cem(config, 2, bowl)(None, None, jax.random.key(0), jnp.asarray(TARGET))
    start = np.stack([TARGET[1], TARGET[2], np.zeros(2)])
    plan, _ = reference(noise, config, lambda a: -((a - TARGET[:, None]) ** 2).sum((0, 2)), start)
    np.testing.assert_allclose(output.plan, plan, atol=1e-5)


def test_a_warm_start_is_ignored_unless_configured():
    config = CEMConfig(horizon=3, num_iterations=1, num_candidates=10, num_elites=2, init_std=0.1)
    planner = jax.jit(make_cem(config, 2, bowl))
    cold = planner(None, None, jax.random.key(0))
    given = planner(None, None, jax.random.key(0), jnp.asarray(TARGET))
    np.testing.assert_array_equal(cold.plan, given.plan)


def test_finds_the_bottom_of_a_bowl_that_differs_by_step_and_action():
    planner = make_cem(CEMConfig(horizon=3, num_candidates=200, num_elites=20), 2, bowl)
    output = jax.vmap(planner, (None, None, 0))(None, None, jax.random.split(jax.random.key(0), 8))
    np.testing.assert_allclose(output.plan, np.tile(TARGET, (8, 1, 1)), atol=0.02)
    np.testing.assert_array_equal(output.action, output.plan[:, 0])
    assert np.all(np.diff(output.info["elite_return"]) > -1e-3)  # rounds do not get worse


def test_an_asymmetric_objective_is_climbed_and_not_descended():
    slope = jnp.array([1.0, -2.0])

    def evaluate(params, belief, actions, key):
        return jnp.sum(jnp.exp(actions @ slope), 0)

    config = CEMConfig(horizon=4, num_candidates=200, num_elites=20)
    output = make_cem(config, 2, evaluate)(None, None, jax.random.key(0))
    np.testing.assert_allclose(output.plan, np.tile([1.0, -1.0], (4, 1)), atol=0.02)


def point_mass(params, belief, action, key):
    """A mass on a plane: deter = [position, velocity]."""
    position, velocity = jnp.split(belief.deter, 2, -1)
    velocity = 0.9 * velocity + 0.3 * action
    return Belief(jnp.concatenate([position + 0.3 * velocity, velocity], -1), belief.stoch), None


def near_the_goal(params, belief):
    position = belief.deter[..., :2]
    return -jnp.sum((position - jnp.broadcast_to(jnp.array([0.4, -0.25]), position.shape)) ** 2, -1)


def test_beats_random_shooting_with_the_same_number_of_candidates():
    config = CEMConfig(horizon=10, num_iterations=5, num_candidates=200, num_elites=20)
    evaluate = sum_of_rewards(point_mass, near_the_goal)
    belief = Belief(jnp.zeros(4), jnp.zeros(0))

    def compare(key):
        plan_key, shoot_key, key = jax.random.split(key, 3)
        plan = make_cem(config, 2, evaluate)(None, belief, plan_key).plan
        shots = jax.random.uniform(shoot_key, (10, config.num_iterations * config.num_candidates, 2), minval=-1.0)
        return evaluate(None, belief, plan[:, None], key)[0], jnp.max(evaluate(None, belief, shots, key))

    planned, shot = jax.jit(jax.vmap(compare))(jax.random.split(jax.random.key(0), 16))
    assert np.mean(planned > shot) >= 0.8  # pair by pair; a round of CEM can still settle too early
    idle = float(evaluate(None, belief, jnp.zeros((10, 1, 2)), jax.random.key(0))[0])
    assert np.mean(planned) > np.mean(shot) + 0.05 and np.mean(shot) > idle + 0.5


A = np.array([[1.0, 0.2, 0.0], [0.0, 0.9, 0.3], [0.1, 0.0, 0.8]])
B = np.array([[0.3, 0.0], [0.1, 0.4], [-0.2, 0.3]])
Q = np.diag([1.0, 0.5, 0.2])
R = np.array([[0.3, 0.05], [0.05, 0.2]])
X0 = np.array([0.6, -0.5, 0.4])
LQR_HORIZON = 5


def riccati():
    """The cheapest actions and their cost: x_1..x_H pay Q, u_0..u_H-1 pay R."""
    p, gains = Q, []
    for _ in range(LQR_HORIZON):
        gain = np.linalg.solve(R + B.T @ p @ B, B.T @ p @ A)
        gains.append(gain)
        p = Q + A.T @ p @ (A - B @ gain)
    x, actions = X0, []
    for gain in reversed(gains):
        actions.append(-gain @ x)
        x = A @ x + B @ actions[-1]
    return np.array(actions), X0 @ (p - Q) @ X0


def cost(actions):
    x, total = X0, 0.0
    for u in actions:
        x = A @ x + B @ u
        total += x @ Q @ x + u @ R @ u
    return total


def test_linear_dynamics_and_quadratic_cost_against_riccati():
    def linear(params, belief, action, key):
        return Belief(belief.deter @ params["A"].T + action @ params["B"].T, action), None

    def minus_cost(params, belief):
        x, u = belief.deter, belief.stoch  # the last action is kept in the belief
        return -jnp.einsum("...i,ij,...j", x, params["Q"], x) - jnp.einsum("...i,ij,...j", u, params["R"], u)

    optimal, least = riccati()
    assert np.abs(optimal).max() < 0.9  # inside the bounds, so that Riccati's answer is the answer
    np.testing.assert_allclose(cost(optimal), least, rtol=1e-9)
    assert cost(np.zeros_like(optimal)) > 1.5 * least

    params = {name: jnp.asarray(x, jnp.float32) for name, x in dict(A=A, B=B, Q=Q, R=R).items()}
    config = CEMConfig(horizon=LQR_HORIZON, num_iterations=15, num_candidates=400, num_elites=40)
    planner = make_cem(config, 2, sum_of_rewards(linear, minus_cost))
    belief = Belief(jnp.asarray(X0, jnp.float32), jnp.zeros(2))
    output = jax.jit(planner)(params, belief, jax.random.key(0))
    np.testing.assert_allclose(output.action, optimal[0], atol=0.02)
    np.testing.assert_allclose(output.plan, optimal, atol=0.02)
    assert least <= cost(np.asarray(output.plan, np.float64)) < 1.001 * least
    np.testing.assert_allclose(output.info["elite_return"][-1], -least, rtol=0.01)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (dict(num_elites=11, num_candidates=10), ("num_elites", "num_candidates", "10", "11")),
        (dict(horizon=0), ("horizon", "1", "0")),
        (dict(num_iterations=-1), ("num_iterations", "-1")),
        (dict(num_candidates=0), ("num_candidates", "1", "0")),
        (dict(num_elites=0), ("num_elites", "1", "0")),
        (dict(init_std=0.0), ("init_std", "0.0")),
        (dict(min_std=-0.1), ("min_std", "-0.1")),
    ],
)
def test_a_wrong_config_names_the_field_and_the_numbers(values, words):
    with pytest.raises(ValueError) as error:
        CEMConfig(**values)
    assert all(word in str(error.value) for word in words)


def test_the_defaults_are_the_papers():
    config = CEMConfig()
    assert (config.horizon, config.num_iterations, config.num_candidates, config.num_elites) == (12, 10, 1000, 100)
    assert (config.init_std, config.warm_start) == (1.0, False)
