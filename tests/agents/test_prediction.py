"""Prediction errors by distance and what a plan promises, against NumPy loops on a model one can follow by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from latentplan import distributions
from latentplan.agents.acting import gaussian_noise, make_act
from latentplan.agents.prediction import make_dream_view, make_predict_ahead
from latentplan.distributions import Gaussian
from latentplan.types import Batch, Belief, Carry, PlanOutput, WorldModel

UNITS = 10.0  # postprocess gives the environment's units


def counting_model() -> WorldModel:
    """Sees the number o exactly; expects it to grow by the action; expects o / 2 as reward."""
    unit = lambda mean: Gaussian(mean, jnp.ones_like(mean))  # noqa: E731

    def imagine_step(params, belief, action, key):
        deter = belief.deter + action
        return Belief(deter, belief.stoch), unit(deter)

    def observe_step(params, belief, action, embed, is_first, key):
        _, prior = imagine_step(params, belief, action, key)
        return Belief(embed, belief.stoch), (unit(embed), prior)

    return WorldModel(
        init=lambda key: {},
        initial=lambda shape: Belief(jnp.full((*shape, 1), 100.0), jnp.zeros((*shape, 0))),
        preprocess=lambda observation, key: observation,
        postprocess=lambda flat: UNITS * flat,
        encode=lambda params, observation: observation,
        observe_step=observe_step,
        imagine_step=imagine_step,
        divergence=distributions.kl_divergence,
        decode=lambda params, belief: unit(belief.deter),
        reward=lambda params, belief: unit(belief.deter / 2),
    )


def recorded(starts: list[int], length: int) -> Batch:
    rng = np.random.default_rng(0)
    is_first = np.isin(np.arange(length), starts)[None].repeat(2, 0)
    return Batch(
        observation=rng.normal(size=(2, length, 1)).astype(np.float32),
        action=rng.normal(size=(2, length, 1)).astype(np.float32),
        reward=rng.normal(size=(2, length)).astype(np.float32),
        is_first=is_first,
        is_last=np.roll(is_first, -1, 1),
        is_terminal=np.zeros((2, length), bool),
    )


def test_a_dream_is_what_was_seen_and_then_what_the_policy_does():
    batch = recorded([0], 7)
    dream = make_dream_view(counting_model(), lambda params, belief, key: jnp.where(belief.deter > 1e3, 9.0, 0.25))
    dreamt = jax.jit(dream, static_argnames=("context", "horizon"))({}, batch, jax.random.key(0), context=3, horizon=5)
    counts = np.concatenate([batch.observation[:, :3, 0], batch.observation[:, 2] + 0.25 * np.arange(1, 6)], 1)
    np.testing.assert_allclose(dreamt.observation[..., 0], UNITS * counts, rtol=1e-5)
    np.testing.assert_allclose(dreamt.reward, counts / 2, rtol=1e-5)


def table(errors):
    assert errors.latent_mse is None  # the model has a decoder
    return np.array([errors.kl, errors.observation_mse, errors.reward_mae])


@pytest.mark.parametrize("starts", [[0], [0, 4], [2]])
def test_errors_ahead_are_those_of_a_loop_over_starts_and_distances(starts):
    batch, distance = recorded(starts, 7), 3
    expected = np.zeros((3, distance))
    for d in range(1, distance + 1):
        found = []
        for row in range(2):
            for t in range(d, 7):
                if batch.is_first[row, t - d + 1 : t + 1].any():
                    continue  # another episode, which no prediction reaches
                predicted = batch.observation[row, t - d, 0] + batch.action[row, t - d + 1 : t + 1, 0].sum()
                off = predicted - batch.observation[row, t, 0]
                found.append((off**2 / 2, (UNITS * off) ** 2, abs(predicted / 2 - batch.reward[row, t])))
        expected[:, d - 1] = np.mean(found, 0)
    errors = jax.jit(make_predict_ahead(counting_model(), distance))({}, batch, jax.random.key(0))
    if starts == [2]:  # a window that begins within an episode: its first step is predicted from the initial belief
        np.testing.assert_allclose(table(errors)[:, 1:], expected[:, 1:], rtol=1e-5)
    else:
        np.testing.assert_allclose(table(errors), expected, rtol=1e-5)


def test_a_window_shorter_than_the_distance_has_zeros_there():
    errors = make_predict_ahead(counting_model(), 5)({}, recorded([0], 3), jax.random.key(0))
    assert (table(errors)[:, :2] > 0).all() and (table(errors)[:, 2:] == 0).all()


def test_at_evaluation_a_plan_comes_with_the_rewards_the_model_promises():
    plans = jnp.array([[[1.0], [2.0], [-0.5]], [[0.0], [0.0], [1.0]]])

    def planner(params, belief, key, warm_start=None):
        plan = jnp.where(belief.deter[0] > 3, plans[1], plans[0])
        return PlanOutput(plan[0], plan, plan, {"told": jnp.float32(7)})

    act = make_act(counting_model(), planner, gaussian_noise(0.0))
    model, observation = counting_model(), jnp.array([[2.0], [4.0]])
    carry = Carry(model.initial((2,)), jnp.zeros((2, 1)), jnp.zeros((2, 3, 1)))
    arguments = ({}, carry, observation, jnp.array([True, True]), jax.random.key(0))
    _, _, info = act(*arguments, mode="eval")
    np.testing.assert_allclose(info["planned_rewards"], [[1.5, 2.5, 2.25], [2.0, 2.0, 2.5]])
    np.testing.assert_array_equal(info["told"], [7, 7])
    assert act(*arguments, mode="explore")[2].keys() == {"told"}
