"""The bound: hand numbers, and on a linear-Gaussian model against the exact Kalman log-likelihood."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from latentplan import distributions
from latentplan.distributions import Gaussian
from latentplan.losses.elbo import ElboTerms, elbo
from latentplan.models.rollout import observe
from latentplan.types import Belief, WorldModel

# Two independent latent dimensions, each with an observation of its own; the reward sees the first dimension only.
# So the exact posterior is diagonal, and a diagonal q can reach it.
STEPS = 6
DECAY, DRIFT = np.array([0.9, -0.6]), np.array([0.5, 1.0])  # s' = DECAY s + DRIFT a + noise
PROCESS_STD = np.array([0.7, 0.4])
GAIN, OBSERVATION_STD = np.array([1.5, -0.8]), np.array([0.5, 0.9])  # o = GAIN s + noise
REWARD_GAIN, REWARD_STD = 0.7, 1.0  # r = REWARD_GAIN s[0] + noise


def simulate(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    actions, s, observations, rewards = rng.normal(size=(STEPS, 1)), np.zeros(2), [], []
    for action in actions:
        s = DECAY * s + DRIFT * action + PROCESS_STD * rng.normal(size=2)
        observations.append(GAIN * s + OBSERVATION_STD * rng.normal(size=2))
        rewards.append(REWARD_GAIN * s[0] + REWARD_STD * rng.normal())
    return actions, np.array(observations), np.array(rewards)


ACTIONS, OBSERVATIONS, REWARDS = simulate(0)
SENSORS = np.array([[GAIN[0], 0.0], [0.0, GAIN[1]], [REWARD_GAIN, 0.0]])
SENSOR_STD = np.array([*OBSERVATION_STD, REWARD_STD])
READINGS = np.concatenate([OBSERVATIONS, REWARDS[:, None]], 1)


def kalman_log_likelihood() -> float:
    """log p(o_1:T, r_1:T | a_1:T) by the Kalman filter, in matrix form, from a known first belief s_0 = 0."""
    mean, cov, total = np.zeros(2), np.zeros((2, 2)), 0.0
    for action, reading in zip(ACTIONS, READINGS, strict=True):
        mean, cov = DECAY * mean + DRIFT * action, np.diag(DECAY) @ cov @ np.diag(DECAY) + np.diag(PROCESS_STD**2)
        seen_cov = SENSORS @ cov @ SENSORS.T + np.diag(SENSOR_STD**2)
        total += stats.multivariate_normal.logpdf(reading, SENSORS @ mean, seen_cov)
        gain = cov @ SENSORS.T @ np.linalg.inv(seen_cov)
        mean, cov = mean + gain @ (reading - SENSORS @ mean), cov - gain @ SENSORS @ cov
    return total


def joint_log_likelihood() -> float:
    """The same number without a filter: all readings are one big Gaussian."""
    mean, state, effect = [], np.zeros(2), np.zeros((2, 2 * STEPS))
    rows = []
    for t, action in enumerate(ACTIONS):
        state = DECAY * state + DRIFT * action
        effect = DECAY[:, None] * effect
        effect[:, 2 * t : 2 * t + 2] += np.diag(PROCESS_STD)
        mean.append(SENSORS @ state)
        rows.append(SENSORS @ effect)
    rows = np.concatenate(rows)
    cov = rows @ rows.T + np.diag(np.tile(SENSOR_STD**2, STEPS))
    return stats.multivariate_normal.logpdf(READINGS.reshape(-1), np.concatenate(mean), cov)


def backward_messages() -> np.ndarray:
    """[T, 4]: p(readings_t:T | s_t) is proportional to exp(-precision s^2 / 2 + weight s), per dimension."""
    precision, weight, messages = np.zeros(2), np.zeros(2), []
    for action, reading in zip(ACTIONS[::-1], READINGS[::-1], strict=True):
        precision = precision + (SENSORS**2 / SENSOR_STD[:, None] ** 2).sum(0)
        weight = weight + (SENSORS * reading[:, None] / SENSOR_STD[:, None] ** 2).sum(0)
        messages.append(np.concatenate([precision, weight]))
        shrink = 1 + PROCESS_STD**2 * precision
        weight = DECAY * (weight - precision * DRIFT * action) / shrink
        precision = DECAY**2 * precision / shrink
    return np.array(messages[::-1])


def linear_gaussian_model(shift: float = 0.0, spread: float = 1.0) -> WorldModel:
    """q(s_t | s_t-1, readings t..T), exact where shift is 0 and spread is 1; `embed` holds the messages."""

    def prior(belief, action):
        return Gaussian(
            belief.stoch * DECAY[None] + action * DRIFT[None], jnp.broadcast_to(PROCESS_STD, belief.stoch.shape)
        )

    def observe_step(params, belief, action, embed, is_first, key):
        before = prior(belief, action)
        precision, weight = jnp.split(embed, 2, -1)
        variance = 1 / (1 / before.std**2 + precision)
        exact = Gaussian(variance * (before.mean / before.std**2 + weight), jnp.sqrt(variance))
        posterior = Gaussian(exact.mean + shift * exact.std, exact.std * spread)
        return Belief(belief.deter, distributions.sample(posterior, key)), (posterior, before)

    return WorldModel(
        init=None, initial=None, preprocess=None, postprocess=None, encode=None, imagine_step=None,
        observe_step=observe_step,
        divergence=distributions.kl_divergence,
        decode=lambda params, belief: Gaussian(belief.stoch * GAIN[None, None], OBSERVATION_STD[None, None]),
        reward=lambda params, belief: Gaussian(belief.stoch[..., :1] * REWARD_GAIN, jnp.float32(REWARD_STD)),
    )  # fmt: skip


def sampled_elbo(model: WorldModel, count: int = 20_000) -> tuple[float, float]:
    """Mean of the window's bound over `count` posterior samples, and its standard error."""

    def wide(x) -> jax.Array:
        x = jnp.asarray(x, jnp.float32)
        return jnp.broadcast_to(x[:, None], (STEPS, count, *x.shape[1:]))

    start = Belief(jnp.zeros((count, 0)), jnp.zeros((count, 2)))
    beliefs, (posteriors, priors) = observe(
        model, None, start, wide(ACTIONS), wide(backward_messages()), jnp.zeros((STEPS, count), bool), jax.random.key(0)
    )
    terms = ElboTerms(
        distributions.log_prob(model.decode(None, beliefs), wide(OBSERVATIONS)),
        distributions.log_prob(model.reward(None, beliefs), wide(REWARDS)[..., None]),
        model.divergence(posteriors, priors),
    )
    bounds = np.asarray(jnp.sum(elbo(terms), 0), np.float64)
    return bounds.mean(), bounds.std() / np.sqrt(count)


def test_the_two_exact_likelihoods_of_this_file_agree():
    np.testing.assert_allclose(kalman_log_likelihood(), joint_log_likelihood(), rtol=1e-10)


def test_the_bound_touches_the_kalman_likelihood_at_the_exact_posterior():
    bound, error = sampled_elbo(linear_gaussian_model())
    assert error < 0.05
    assert abs(bound - kalman_log_likelihood()) < 4 * error


@pytest.mark.parametrize(("shift", "spread"), [(0.5, 1.0), (-0.5, 1.0), (0.0, 1.5), (0.0, 0.6)])
def test_the_bound_stays_below_the_kalman_likelihood_by_the_posteriors_divergence(shift, spread):
    bound, error = sampled_elbo(linear_gaussian_model(shift, spread))
    gap = kalman_log_likelihood() - bound
    # Chain rule: the gap is the sum over steps and dimensions of KL(q || exact), the same in each here.
    expected = 2 * STEPS * (np.log(1 / spread) + (spread**2 + shift**2 - 1) / 2)
    assert gap > 5 * error
    assert abs(gap - expected) < 5 * error


def test_hand_numbers_with_reward_scale_and_free_nats():
    terms = ElboTerms(jnp.array([-1.0, -2.0]), jnp.array([-0.5, -0.25]), jnp.array([1.0, 4.0]))
    np.testing.assert_allclose(elbo(terms), [-2.5, -6.25])
    np.testing.assert_allclose(elbo(terms, reward_scale=10.0, free_nats=3.0), [-6.0, -5.5])


def test_the_bound_keeps_leading_axes():
    terms = ElboTerms(*(jnp.ones((2, 3, 4)) for _ in range(3)))
    assert elbo(terms).shape == (2, 3, 4)
