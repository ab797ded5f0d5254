"""Temporal differences and losses over rollouts, by hand."""

import jax.numpy as jnp
import numpy as np
import pytest

from latentplan.losses.td import discount_of, in_one_episode, rho_weighted_mean, running_scale, td_target


def test_a_target_has_no_value_after_a_termination():
    reward, value = jnp.array([1.0, 2.0]), jnp.array([10.0, 10.0])
    np.testing.assert_allclose(td_target(reward, jnp.array([False, True]), value, 0.9), [10.0, 2.0])


def test_a_value_that_is_not_a_number_does_not_pass_a_termination():
    target = td_target(jnp.array([2.0]), jnp.array([True]), jnp.array([jnp.nan]), 0.9)
    np.testing.assert_allclose(target, [2.0])


@pytest.mark.parametrize(
    ("decisions", "expected"), [(None, 0.995), (5, 0.95), (100, 0.95), (200, 0.975), (500, 0.99), (10_000, 0.995)]
)
def test_discounts_follow_the_episodes_length(decisions, expected):
    assert discount_of(decisions, 5.0, 0.95, 0.995) == pytest.approx(expected)


def test_transitions_of_the_episode_that_a_window_starts_in():
    is_first = jnp.array([[True, False, False], [False, True, False], [False, False, True], [False, False, False]])
    np.testing.assert_array_equal(
        in_one_episode(is_first), [[True, False, True], [True, False, False], [True, False, False]]
    )


def test_later_steps_count_less_and_invalid_ones_not_at_all():
    values = jnp.array([[1.0, 3.0], [10.0, 99.0], [99.0, 99.0]])
    valid = jnp.array([[True, True], [True, False], [False, False]])
    np.testing.assert_allclose(rho_weighted_mean(values, valid, 0.5), (2.0 + 0.5 * 10.0) / 3)
    np.testing.assert_allclose(rho_weighted_mean(values.at[2].set(jnp.nan), valid, 0.5), (2.0 + 0.5 * 10.0) / 3)


def test_the_scale_moves_towards_the_range_of_values():
    values = jnp.asarray(np.random.default_rng(0).normal(size=200) * 30, jnp.float32)
    low, high = np.percentile(values, [5, 95])
    np.testing.assert_allclose(running_scale(jnp.float32(2.0), values, 0.1), 2 + 0.1 * (high - low - 2), rtol=1e-5)
    np.testing.assert_allclose(running_scale(jnp.float32(2.0), 0 * values, 0.1), 2 + 0.1 * (1 - 2), rtol=1e-5)
