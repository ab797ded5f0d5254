"""Planned against realised rewards, against hand numbers."""

import jax
import numpy as np
import pytest

from latentplan.diagnostics.planning import make_planning
from latentplan.diagnostics.subject import Subject
from latentplan.types import Batch, Evidence

PLANNING = make_planning(Subject(model=None, horizon=2))


def episodes(*rewards) -> Batch:
    """[T, B]: one episode per list of rewards, which come after the reset's record."""
    steps = max(map(len, rewards)) + 1
    reward, last = np.zeros((steps, len(rewards)), np.float32), np.zeros((steps, len(rewards)), bool)
    for i, values in enumerate(rewards):
        reward[1 : len(values) + 1, i], last[len(values), i] = values, True
    first = np.broadcast_to(np.arange(steps)[:, None] == 0, last.shape)
    return Batch({"state": reward[..., None]}, reward[..., None], reward, first, last, np.zeros_like(last))


def measured(evidence):
    return jax.jit(PLANNING.measure)({}, PLANNING.select(evidence), jax.random.key(0)).numbers


def test_planned_and_realised_rewards_lie_over_each_other_by_steps_ahead():
    planned = [[[1, 1], [30, 50]], [[2, 3], [99, 99]], [[99, 99], [0, 0]], [[0, 0], [0, 0]]]  # [T, B, H]
    elite = [[[1, 5], [4, 8]], [[2, 6], [5, 9]], [[3, 7], [0, 0]], [[0, 0], [0, 0]]]
    infos = {"planned_rewards": np.array(planned, "f"), "elite_return": np.array(elite, "f")}
    values = measured(Evidence(episodes([1, 2, 4], [10, 20]), infos))
    # decisions 0 and 1 of the first, 0 of the second have 2 more to come
    np.testing.assert_allclose(values["realised_rewards"], [(1 + 2 + 10) / 3, (2 + 4 + 20) / 3])
    np.testing.assert_allclose(values["planned_rewards"], [(1 + 2 + 30) / 3, (1 + 3 + 50) / 3])
    assert values["realised_return"] == pytest.approx(13) and values["planned_return"] == 29
    np.testing.assert_allclose(values["elite_return"], [3, 7])


def test_no_promise_reaches_into_another_episode():
    batch = episodes([1, 2, 4, 8, 16])
    batch = batch._replace(is_first=batch.is_first | (np.arange(6) == 3)[:, None], is_last=batch.is_last.copy())
    batch.is_last[2] = True  # records 0 to 2 and 3 to 5
    values = measured(Evidence(batch, {"planned_rewards": np.arange(6.0)[:, None, None] * np.ones((6, 1, 2))}))
    np.testing.assert_allclose(values["planned_rewards"], [1.5, 1.5])  # decisions 0 and 3
    np.testing.assert_allclose(values["realised_rewards"], [(1 + 8) / 2, (2 + 16) / 2])


def test_agents_that_plan_nothing_and_episodes_shorter_than_the_horizon():
    assert PLANNING.select(Evidence(episodes([1]))) is None
    assert PLANNING.select(Evidence(episodes([1]), {"planned_rewards": np.ones((2, 1, 2))})) is None
    short = {"planned_rewards": np.ones((2, 1, 2)), "std": np.ones((2, 1))}
    assert measured(Evidence(episodes([1]), short)) == {"std": 1.0}
