"""What evaluation episodes tell, against hand numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from latentplan.driver.diagnosis import planning_metrics, prediction_metrics
from latentplan.types import Batch, MultiStepErrors


def episode(rewards) -> Batch:
    reward = np.array([0.0, *rewards], np.float32)  # the first record is the reset's
    flags = np.zeros(len(reward), bool)
    return Batch(np.arange(len(reward), dtype=np.float32)[:, None], reward[:, None], reward, flags, flags, flags)


def test_planned_and_realised_rewards_lie_over_each_other_by_steps_ahead():
    episodes = [episode([1, 2, 4]), episode([10, 20])]
    infos = [
        {"planned_rewards": np.array([[1, 1], [2, 3], [99, 99]]), "elite_return": np.array([[1, 5], [2, 6], [3, 7]])},
        {"planned_rewards": np.array([[30, 50], [99, 99]]), "elite_return": np.array([[4, 8], [5, 9]])},
    ]
    values = planning_metrics(episodes, infos)  # decisions 0 and 1 of the first, 0 of the second have 2 more to come
    np.testing.assert_allclose(values["planning/realised_rewards"], [(1 + 2 + 10) / 3, (2 + 4 + 20) / 3])
    np.testing.assert_allclose(values["planning/planned_rewards"], [(1 + 2 + 30) / 3, (1 + 3 + 50) / 3])
    assert values["planning/realised_return"] == pytest.approx(13) and values["planning/planned_return"] == 29
    np.testing.assert_allclose(values["planning/elite_return"], [3, 7])


def test_agents_that_plan_nothing_and_episodes_shorter_than_the_horizon():
    assert planning_metrics([episode([1])], [{}]) == {}
    assert planning_metrics([episode([1])], [{"planned_rewards": np.ones((1, 2))}]) == {}


def test_prediction_errors_are_averaged_over_episodes_cut_to_few_lengths():
    shapes = []

    def predict_ahead(params, batch, key):
        shapes.append(batch.reward.shape)
        value = jnp.full(2, params * batch.reward.shape[1])
        return MultiStepErrors(reward_mae=value, kl=value, observation_mse=value)  # as of a model with a decoder

    episodes = [episode(np.ones(n - 1)) for n in (126, 50, 49, 2)]
    values = prediction_metrics(predict_ahead, 2.0, episodes, jax.random.key(0))
    assert shapes == [(1, 100), (1, 50), (1, 49), (1, 2)]
    np.testing.assert_allclose(values["prediction/kl"], [2 * (100 + 50 + 49) / 3] * 2)  # the last never goes 2 ahead
    assert values.keys() == {"prediction/kl", "prediction/observation_mse", "prediction/reward_mae"}
    assert prediction_metrics(predict_ahead, 2.0, episodes[3:], jax.random.key(0)) == {}
    prediction_metrics(predict_ahead, 2.0, [episode(np.ones(2049))], jax.random.key(0))
    assert shapes[-1] == (1, 1000)  # of a very long one the beginning
