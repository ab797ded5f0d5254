"""Latent overshooting against brute-force loops, a linear-Gaussian transition, and the plain KL at distance 1."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from latentplan import distributions
from latentplan.agents.planet import LossConfig, PlaNetConfig, make_loss
from latentplan.distributions import Gaussian
from latentplan.losses.overshooting import average_distances, latent_overshooting, mean_per_distance, overshoot
from latentplan.models.dynamics import reset_at_first
from latentplan.models.rollout import observe, previous_beliefs
from latentplan.models.world_model import DYNAMICS, make_world_model
from latentplan.types import Batch, Belief, WorldModel

STEPS, BATCH = 7, 3
FIRSTS = np.zeros((STEPS, BATCH), bool)
FIRSTS[0, 0] = FIRSTS[3, 1] = FIRSTS[1, 2] = FIRSTS[5, 2] = FIRSTS[6, 2] = True


def is_valid(distance: int, t: int, row: int) -> bool:
    """Distance 1 always; beyond, step t - distance is in the window and no episode starts after it, up to t."""
    return distance == 1 or (t - distance >= 0 and not FIRSTS[t - distance + 1 : t + 1, row].any())


def add_up(params, belief, action, key):
    """A transition without noise, s' = 0.8 s + a, so that predictions can be recomputed exactly."""
    del key
    stoch = 0.8 * belief.stoch + action * (1.0 if params is None else params)
    return Belief(belief.deter, stoch), Gaussian(stoch, jnp.full_like(stoch, 0.5))


def belief_of(stoch) -> Belief:
    stoch = jnp.asarray(stoch, jnp.float32)
    return Belief(jnp.zeros((*stoch.shape[:-1], 0)), stoch)


def roll(previous, actions, first, distance):
    previous, actions, first = belief_of(previous), jnp.asarray(actions), jnp.asarray(first)
    return overshoot(add_up, None, previous, actions, first, jax.random.key(0), distance=distance)


RNG = np.random.default_rng(0)
PREVIOUS = RNG.normal(size=(STEPS, BATCH, 1)).astype(np.float32)
ACTIONS = RNG.normal(size=(STEPS, BATCH, 1)).astype(np.float32)
NO_FIRST = np.zeros((STEPS, BATCH), bool)


@pytest.mark.parametrize("distance", [1, 2, 4, STEPS + 3])
def test_the_valid_mask_is_the_brute_force_one(distance):
    expected = [[[is_valid(d, t, b) for b in range(BATCH)] for t in range(STEPS)] for d in range(1, distance + 1)]
    np.testing.assert_array_equal(roll(PREVIOUS, ACTIONS, FIRSTS, distance).valid, expected)


def test_predictions_roll_from_the_posterior_d_steps_before_with_the_actions_in_between():
    predicted = roll(PREVIOUS, ACTIONS, FIRSTS, 4)
    checked = 0
    for d, t, b in np.ndindex(4, STEPS, BATCH):
        if not is_valid(d + 1, t, b):
            continue
        s = PREVIOUS[t - d, b]  # the posterior before step t - d
        for action in ACTIONS[t - d : t + 1, b]:
            s = 0.8 * s + action
        np.testing.assert_allclose(predicted.prior.mean[d, t, b], s, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(predicted.belief.stoch[d, t, b], predicted.prior.mean[d, t, b])
        checked += 1
    assert checked == np.sum(predicted.valid)


def test_changing_one_posterior_changes_only_what_was_predicted_from_it():
    other = PREVIOUS.copy()
    other[2] += 1.0
    before, after = (roll(x, ACTIONS, NO_FIRST, 3) for x in (PREVIOUS, other))
    changed = np.asarray(before.prior.mean != after.prior.mean)[..., 0] & np.asarray(before.valid)
    expected = np.zeros((3, STEPS, BATCH), bool)
    for d in range(3):
        expected[d, 2 + d] = True  # never via the prior of the step in between
    np.testing.assert_array_equal(changed, expected & np.asarray(before.valid))
    assert changed.any((1, 2)).all()


def test_multi_step_priors_of_a_linear_gaussian_transition_have_the_predictive_mean_and_variance():
    decay, drift, noise, count, distance = np.array([0.9, -0.7]), np.array([0.5, 1.0]), np.array([0.6, 0.3]), 20_000, 4

    def imagine_step(params, belief, action, key):
        rate, push, std = (jnp.broadcast_to(x, belief.stoch.shape) for x in (decay, drift, noise))
        prior = Gaussian(rate * belief.stoch + push * action, std)
        return Belief(belief.deter, distributions.sample(prior, key)), prior

    previous = np.broadcast_to(RNG.normal(size=(STEPS, 1, 2)), (STEPS, count, 2))
    actions = np.broadcast_to(RNG.normal(size=(STEPS, 1, 1)), (STEPS, count, 1))
    first = jnp.zeros((STEPS, count), bool)
    predicted = overshoot(
        imagine_step, None, belief_of(previous), jnp.asarray(actions), first, jax.random.key(5), distance=distance
    )
    for d in range(distance):
        for t in range(d + 1, STEPS):
            mean, variance = previous[t - d, 0], np.zeros(2)
            for action in actions[t - d : t + 1, 0]:
                mean, variance = decay * mean + drift * action, decay**2 * variance + noise**2
            drawn = np.asarray(predicted.belief.stoch[d, t])
            np.testing.assert_allclose(drawn.mean(0), mean, atol=5 * np.sqrt(variance.max() / count))
            np.testing.assert_allclose(drawn.var(0), variance, rtol=0.06)
            mixture = np.asarray(predicted.prior.std)[d, t] ** 2 + np.asarray(predicted.prior.mean)[d, t].var(0)
            np.testing.assert_allclose(np.mean(mixture, 0), variance, rtol=0.06)


def test_predictions_of_different_distances_draw_different_noise():
    def imagine_step(params, belief, action, key):
        prior = Gaussian(jnp.zeros_like(belief.stoch), jnp.ones_like(belief.stoch))
        return Belief(belief.deter, distributions.sample(prior, key)), prior

    previous, actions, first = belief_of(PREVIOUS), jnp.asarray(ACTIONS), jnp.asarray(NO_FIRST)
    predicted = overshoot(imagine_step, None, previous, actions, first, jax.random.key(0), distance=3)
    assert len(np.unique(predicted.belief.stoch)) == 3 * STEPS * BATCH


# Distance 1 is the plain KL, for every model.


@pytest.fixture(scope="module", params=sorted(DYNAMICS))
def learner(request, tiny_model_config, tiny_specs, numpy_params):
    """(kind, KL and prior of the scan, the same of distance 1, gradient of either)."""
    model = make_world_model(tiny_model_config(kind=request.param), tiny_specs["state"])
    rng = np.random.default_rng(1)
    actions = jnp.asarray(rng.uniform(-1, 1, (STEPS, BATCH, 2)), jnp.float32)
    observation = jnp.asarray(rng.normal(size=(STEPS, BATCH, 5)), jnp.float32)
    first = jnp.asarray(FIRSTS)
    weights = jnp.asarray(rng.normal(size=(STEPS, BATCH)), jnp.float32)

    def both(params):
        initial = model.initial((BATCH,))
        embeds = model.encode(params, {"state": observation})
        beliefs, (posteriors, priors) = observe(model, params, initial, actions, embeds, first, jax.random.key(2))
        masked = jnp.where(first[..., None], 0.0, actions)
        previous = previous_beliefs(initial, beliefs, first)
        predicted = overshoot(model.imagine_step, params, previous, masked, first, jax.random.key(3), distance=1)
        kl = latent_overshooting(model.divergence, posteriors, predicted)
        plain = model.divergence(posteriors, priors), priors.mean, priors.std
        return plain, (kl[0], predicted.prior.mean[0], predicted.prior.std[0])

    def weighted(params, choice):
        """A weighted sum of the KL (for the rnn, which has none, of the prior), and all values."""
        plain, overshot = both(params)
        term = 1 if request.param == "rnn" else 0
        sums = [jnp.sum(weights.reshape(*weights.shape, *(1,) * term) * x[term]) for x in (plain, overshot)]
        return jnp.where(choice == 0, *sums), (plain, overshot)

    function, params = jax.jit(jax.grad(weighted, has_aux=True)), numpy_params(model.init)
    (to_plain, values), (to_overshot, _) = (function(params, choice) for choice in (0, 1))
    return request.param, *values, to_plain, to_overshot


def assert_trees_close(got, expected, **tolerance):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **tolerance), got, expected)


def test_distance_one_is_the_plain_kl_in_value(learner):
    kind, plain, overshot, _, _ = learner
    assert_trees_close(overshot, plain, rtol=1e-5, atol=1e-6)
    assert np.all(np.asarray(plain[0]) > 0) != (kind == "rnn")


def test_distance_one_is_the_plain_kl_in_gradient(learner):
    *_, to_plain, to_overshot = learner
    assert_trees_close(to_overshot, to_plain, rtol=1e-4, atol=1e-5)
    assert max(np.abs(leaf).max() for leaf in jax.tree.leaves(to_plain)) > 1e-3


# Stop-gradients, means, and distances that leave the window.


def kl_of(posterior_mean, prior_mean, distance=3, first=FIRSTS):
    predicted = roll(PREVIOUS, ACTIONS, first, distance)
    predicted = predicted._replace(prior=Gaussian(prior_mean, jnp.full_like(prior_mean, 0.5)))
    posterior = Gaussian(posterior_mean, jnp.full_like(posterior_mean, 0.4))
    return latent_overshooting(distributions.kl_divergence, posterior, predicted), predicted.valid


def test_posteriors_are_a_fixed_target_beyond_distance_one_only_and_priors_learn_at_every_distance():
    posterior = jnp.asarray(RNG.normal(size=(STEPS, BATCH, 1)), jnp.float32)
    prior = jnp.asarray(RNG.normal(size=(3, STEPS, BATCH, 1)), jnp.float32)
    to_posterior = jax.jit(jax.jacrev(lambda x: jnp.sum(kl_of(x, prior)[0], (1, 2))))(posterior)
    to_prior = jax.jit(jax.grad(lambda x: jnp.sum(kl_of(posterior, x)[0])))(prior)
    assert np.all(np.asarray(to_posterior[0]) != 0)
    np.testing.assert_array_equal(to_posterior[1:], 0.0)
    np.testing.assert_array_equal(np.asarray(to_prior)[..., 0] != 0, kl_of(posterior, prior)[1])


def test_values_are_the_kl_where_valid_and_zero_elsewhere():
    posterior = jnp.asarray(RNG.normal(size=(STEPS, BATCH, 1)), jnp.float32)
    prior = jnp.asarray(RNG.normal(size=(3, STEPS, BATCH, 1)), jnp.float32)
    kl, _ = kl_of(posterior, prior)
    for d, t, b in np.ndindex(3, STEPS, BATCH):
        gap = (posterior[t, b, 0] - prior[d, t, b, 0]) / 0.5
        expected = np.log(0.5 / 0.4) + (0.4**2 / 0.5**2 + gap**2 - 1) / 2
        np.testing.assert_allclose(kl[d, t, b], expected if is_valid(d + 1, t, b) else 0.0, rtol=1e-4, atol=1e-6)


def test_mean_per_distance_is_numpys_over_the_valid_entries():
    values = RNG.normal(size=(3, STEPS, BATCH)).astype(np.float32)
    valid = RNG.random((3, STEPS, BATCH)) < 0.5
    valid[2] = False
    expected = [values[0][valid[0]].mean(), values[1][valid[1]].mean(), 0.0]
    np.testing.assert_allclose(mean_per_distance(jnp.asarray(values), jnp.asarray(valid)), expected, rtol=1e-5)


def test_a_distance_longer_than_the_window_is_finite_and_adds_nothing():
    posterior = jnp.asarray(RNG.normal(size=(STEPS, BATCH, 1)), jnp.float32)

    def total(scale):
        previous, actions, first = belief_of(PREVIOUS), jnp.asarray(ACTIONS), jnp.asarray(FIRSTS)
        predicted = overshoot(add_up, scale, previous, actions, first, jax.random.key(0), distance=12)
        target = Gaussian(posterior, jnp.full_like(posterior, 0.4))
        kl = latent_overshooting(distributions.kl_divergence, target, predicted)
        return mean_per_distance(kl, predicted.valid)

    means, gradient = jax.jit(lambda scale: jax.jvp(total, (scale,), (1.0,)))(1.0)
    assert np.all(np.isfinite(means)) and np.all(np.isfinite(gradient))
    assert np.all(np.asarray(means[: STEPS - 1]) > 0)
    np.testing.assert_array_equal(means[STEPS - 1 :], 0.0)
    np.testing.assert_array_equal(gradient[STEPS - 1 :], 0.0)


def test_the_released_average_keeps_the_one_step_kl_whole_and_equation_7_divides_it_by_the_distance():
    per_distance = jnp.array([8.0, 1.0, 2.0, 3.0, 6.0])
    gradient = {name: jax.grad(average_distances)(per_distance, (1.0,), name) for name in ("released", "eq7")}
    np.testing.assert_allclose(gradient["released"], [1.0, 0.25, 0.25, 0.25, 0.25])
    np.testing.assert_allclose(gradient["eq7"], 0.2)
    np.testing.assert_allclose(average_distances(per_distance, (2.0, 0.5), "released"), 2 * 8 + 0.5 * 3, rtol=1e-6)
    np.testing.assert_allclose(average_distances(per_distance, (2.0, 0.5), "eq7"), (16 + 6) / 5, rtol=1e-6)
    for name in ("released", "eq7"):
        assert average_distances(per_distance[:1], (1.0,), name) == 8.0


# The agent's loss, on a model without noise, against a loop over every step, row and distance.


def noiseless_model() -> WorldModel:
    """Posteriors and priors are Gaussians, but the "samples" are their means."""

    def observe_step(params, belief, action, embed, is_first, key):
        belief, prior = add_up(None, *reset_at_first(belief, action, is_first), key)
        posterior = Gaussian(0.5 * prior.mean + 0.5 * embed, jnp.full_like(prior.mean, 0.4))
        return belief._replace(stoch=posterior.mean), (posterior, prior)

    return WorldModel(
        init=None,
        initial=lambda shape: belief_of(jnp.zeros((*shape, 1))),
        preprocess=lambda observation, key: observation,
        postprocess=None,
        encode=lambda params, observation: observation["state"],
        observe_step=observe_step,
        imagine_step=add_up,
        divergence=distributions.kl_divergence,
        decode=lambda params, belief: {"state": Gaussian(2.0 * belief.stoch, jnp.float32(0.7))},
        reward=lambda params, belief: Gaussian(-belief.stoch, jnp.float32(1.0)),
    )


RECORDS = np.random.default_rng(3)
RECORDED = Batch(
    observation={"state": RECORDS.normal(size=(BATCH, STEPS, 1)).astype(np.float32)},
    action=RECORDS.normal(size=(BATCH, STEPS, 1)).astype(np.float32),
    reward=RECORDS.normal(size=(BATCH, STEPS)).astype(np.float32),
    is_first=FIRSTS.T,
    is_last=np.zeros((BATCH, STEPS), bool),
    is_terminal=np.zeros((BATCH, STEPS), bool),
)


def kl(m, s, n, r):
    return np.log(r / s) + (s**2 + (m - n) ** 2) / (2 * r**2) - 0.5


def loop_loss(config: LossConfig, weight: float = 1.0) -> float:
    """The loss as written in the paper, one number at a time; `weight` is that of observations."""
    distance, decoded = config.overshooting_distance, config.observation_overshooting_distance or 0
    per_kl, per_reward, per_both = ([[] for _ in range(max(distance, decoded))] for _ in range(3))
    plain, to_normal = [], []
    for b in range(BATCH):
        actions = [0.0 if RECORDED.is_first[b, t] else RECORDED.action[b, t, 0] for t in range(STEPS)]
        posterior: list[float] = []
        for t in range(STEPS):
            o, r = RECORDED.observation["state"][b, t, 0], RECORDED.reward[b, t]
            for d in range(1, max(distance, decoded) + 1):
                if not is_valid(d, t, b):
                    continue
                starts_here = t - d < 0 or RECORDED.is_first[b, t - d + 1]
                s = 0.0 if starts_here else posterior[t - d]
                for action in actions[t - d + 1 : t + 1]:
                    s = 0.8 * s + action
                if d == 1:
                    posterior.append(0.5 * s + 0.5 * o)
                    likelihood = weight * stats.norm.logpdf(o, 2 * posterior[t], 0.7)
                    plain.append(likelihood + config.reward_scale * stats.norm.logpdf(r, -posterior[t], 1.0))
                    to_normal.append(max(0.0, kl(posterior[t], 0.4, 0.0, 1.0) - config.free_nats))
                log_reward = stats.norm.logpdf(r, -s, 1.0)
                per_kl[d - 1].append(max(0.0, kl(posterior[t], 0.4, s, 0.5) - config.free_nats))
                per_reward[d - 1].append(log_reward)
                per_both[d - 1].append(weight * stats.norm.logpdf(o, 2 * s, 0.7) + config.reward_scale * log_reward)
    beta = [config.overshooting_beta[min(d, len(config.overshooting_beta) - 1)] for d in range(distance)]
    total = (config.dynamics_scale - 1) * np.mean(per_kl[0])
    weighted = [w * np.mean(x) for w, x in zip(beta, per_kl, strict=False)]
    if config.overshooting_average == "eq7":
        total += sum(weighted) / distance - np.mean(plain)
    else:
        further = sum(weighted[1:]) / (distance - 1) if distance > 1 else 0.0
        total += weighted[0] + further - np.mean(plain)
    if config.overshooting_reward_scale and distance > 1:
        total -= config.overshooting_reward_scale * np.mean([np.mean(x) for x in per_reward[1:distance]])
    if decoded:
        total -= np.mean([np.mean(x) for x in per_both[:decoded]])
    return total + config.global_prior_scale * np.mean(to_normal)


def agent_loss(config: LossConfig, updates: int = 0) -> tuple[float, dict]:
    loss = make_loss(PlaNetConfig(loss=config), noiseless_model())
    return loss(
        None, jax.tree.map(lambda x: jnp.asarray(x).swapaxes(0, 1), RECORDED), jax.random.key(0), jnp.int32(updates)
    )


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"free_nats": 0.0},
        {"dynamics_scale": 5.0, "free_nats": 0.3},
        {"dynamics_scale": 2.0, "overshooting_distance": 3},
        {"reward_scale": 2.0, "global_prior_scale": 0.1, "free_nats": 0.5},
        {"overshooting_distance": 3, "free_nats": 0.0},
        {"overshooting_distance": 3, "free_nats": 0.0, "overshooting_average": "eq7"},
        {"overshooting_distance": 4, "overshooting_beta": (2.0, 0.5, 0.25), "overshooting_average": "eq7"},
        {"overshooting_distance": 4, "overshooting_beta": (2.0, 0.5, 0.25), "free_nats": 0.3},
        {"overshooting_distance": 3, "overshooting_beta": (0.0, 1.0), "overshooting_reward_scale": 100.0},
        {"observation_overshooting_distance": 1, "free_nats": 0.2},
        {"observation_overshooting_distance": 3, "overshooting_distance": 2, "reward_scale": 3.0},
        {"observation_overshooting_distance": 2, "overshooting_distance": 4, "overshooting_reward_scale": 1.0},
    ],
    ids=str,
)
def test_the_agents_loss_is_the_loop_over_steps_rows_and_distances(changes):
    config = LossConfig(**changes)
    total, _ = agent_loss(config)
    np.testing.assert_allclose(total, loop_loss(config), rtol=1e-5)


@pytest.mark.parametrize(("updates", "weight"), [(0, 0.25), (50, 0.5), (100, 1.0), (200, 1.0)])
@pytest.mark.parametrize(
    "changes", [{}, {"overshooting_distance": 3}, {"observation_overshooting_distance": 2}], ids=str
)
def test_observations_weigh_less_at_first(changes, updates, weight):
    config = LossConfig(**changes, observation_start=0.25, observation_ramp=100)
    total, _ = agent_loss(config, updates)
    np.testing.assert_allclose(total, loop_loss(config, weight), rtol=1e-5)


def test_observation_overshooting_at_distance_one_is_the_likelihood_of_one_step_predictions():
    _, metrics = agent_loss(LossConfig(observation_overshooting_distance=1, reward_scale=2.0))
    records = jax.tree.map(lambda x: jnp.swapaxes(jnp.asarray(x), 0, 1), RECORDED)
    model, seen = noiseless_model(), records.observation["state"]
    _, (_, priors) = observe(
        model, None, model.initial((BATCH,)), records.action, seen, records.is_first, jax.random.key(0)
    )
    log_observation = stats.norm.logpdf(seen, 2 * priors.mean, 0.7)[..., 0]
    log_reward = stats.norm.logpdf(records.reward, -priors.mean[..., 0], 1.0)
    expected = -np.mean(log_observation + 2.0 * log_reward)
    np.testing.assert_allclose(metrics["observation_overshooting_nll"], expected, rtol=1e-5)
