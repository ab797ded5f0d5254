"""Open-loop and multi-step predictions, imagined trajectories and what a plan promises, on a model one can follow by
hand."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from latentplan import distributions
from latentplan.agents.acting import gaussian_noise, make_act
from latentplan.diagnostics import DIAGNOSTICS, Subject, make_diagnostics
from latentplan.diagnostics.imagination import imagine_trajectory
from latentplan.diagnostics.open_loop import open_loop_errors, predict_open_loop
from latentplan.diagnostics.prediction import make_prediction, multi_step_errors
from latentplan.distributions import Gaussian
from latentplan.types import Batch, Belief, Carry, Evidence, PlanOutput, WorldModel

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
        postprocess=lambda flat: {"state": UNITS * flat["state"]},
        encode=lambda params, observation: observation["state"],
        observe_step=observe_step,
        imagine_step=imagine_step,
        divergence=distributions.kl_divergence,
        decode=lambda params, belief: {"state": unit(belief.deter)},
        reward=lambda params, belief: unit(belief.deter / 2),
    )


def recorded(starts: list[int], length: int) -> Batch:
    """[length, 2], episodes of random steps that begin at these steps."""
    rng = np.random.default_rng(0)
    is_first = np.isin(np.arange(length), starts)[:, None].repeat(2, 1)
    return Batch(
        observation={"state": rng.normal(size=(length, 2, 1)).astype(np.float32)},
        action=rng.normal(size=(length, 2, 1)).astype(np.float32),
        reward=rng.normal(size=(length, 2)).astype(np.float32),
        is_first=is_first,
        is_last=np.append(is_first[1:], np.zeros((1, 2), bool), 0),
        is_terminal=np.zeros((length, 2), bool),
    )


def padded(batch: Batch, steps: int) -> Batch:
    """Its last record ends the episode, and zeros follow."""
    batch.is_last[-1] = True
    return jax.tree.map(lambda x: np.concatenate([x, np.zeros((steps, *x.shape[1:]), x.dtype)]), batch)


def test_open_loop_is_what_was_seen_and_then_what_the_actions_do():
    batch = recorded([0], 7)
    predict = jax.jit(partial(predict_open_loop, counting_model(), context=3))
    predicted = predict({}, batch, jax.random.key(0))
    counts = np.concatenate(
        [batch.observation["state"][:3], batch.observation["state"][2] + np.cumsum(batch.action[3:], 0)]
    )
    np.testing.assert_allclose(predicted.predicted_observation["state"], UNITS * counts, rtol=1e-5)
    np.testing.assert_allclose(predicted.true_observation["state"], UNITS * batch.observation["state"], rtol=1e-5)
    np.testing.assert_allclose(predicted.predicted_reward, counts[..., 0] / 2, rtol=1e-5)
    errors = open_loop_errors(predicted, context=3)
    np.testing.assert_allclose(errors["reward_mae"], np.abs(counts[3:, :, 0] / 2 - batch.reward[3:]).mean(), rtol=1e-5)
    off = UNITS * (counts - batch.observation["state"])[3:]
    np.testing.assert_allclose(errors["observation_mse"], (off**2).mean(), rtol=1e-5)


def test_an_imagined_trajectory_is_what_was_seen_and_then_what_the_policy_does():
    batch = recorded([0], 7)
    policy = lambda params, belief, key: jnp.where(belief.deter > 1e3, 9.0, 0.25)  # noqa: E731
    imagine = jax.jit(partial(imagine_trajectory, counting_model(), policy, context=3, horizon=5))
    imagined = imagine({}, batch, jax.random.key(0))
    last = batch.observation["state"][2:3, :, 0] + 0.25 * np.arange(1, 6)[:, None]
    counts = np.concatenate([batch.observation["state"][:3, :, 0], last])
    np.testing.assert_allclose(imagined.observation["state"][..., 0], UNITS * counts, rtol=1e-5)
    np.testing.assert_allclose(imagined.reward, counts / 2, rtol=1e-5)


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
                if batch.is_first[t - d + 1 : t + 1, row].any():
                    continue  # another episode, which no prediction reaches
                predicted = batch.observation["state"][t - d, row, 0] + batch.action[t - d + 1 : t + 1, row, 0].sum()
                off = predicted - batch.observation["state"][t, row, 0]
                found.append((off**2 / 2, (UNITS * off) ** 2, abs(predicted / 2 - batch.reward[t, row])))
        expected[:, d - 1] = np.mean(found, 0)
    errors = jax.jit(partial(multi_step_errors, counting_model(), distance=distance))({}, batch, jax.random.key(0))
    if starts == [2]:  # a window that begins within an episode: its first step is predicted from the initial belief
        np.testing.assert_allclose(table(errors)[:, 1:], expected[:, 1:], rtol=1e-5)
    else:
        np.testing.assert_allclose(table(errors), expected, rtol=1e-5)


def test_a_window_shorter_than_the_distance_has_zeros_there():
    errors = multi_step_errors(
        counting_model(), {}, jax.tree.map(jnp.asarray, recorded([0], 3)), jax.random.key(0), distance=5
    )
    assert (table(errors)[:, :2] > 0).all() and (table(errors)[:, 2:] == 0).all()


def test_errors_are_averaged_over_the_episodes_that_reach_the_distance():
    """Each by itself, without its padding; of a very long one the beginning, in whole fifties."""
    whole = recorded([0], 62)
    evidence = Evidence(padded(jax.tree.map(lambda x: x.copy(), whole), 3))
    evidence.batch.is_last[3, 1] = True  # the second is over after four records
    diagnostic = make_prediction(Subject(counting_model(), 5))
    selected = diagnostic.select(evidence)
    assert selected.batch.reward.shape == (50, 2)
    found = jax.jit(diagnostic.measure)({}, selected, jax.random.key(0)).numbers
    first = jax.tree.map(lambda x: jnp.asarray(x[:50, :1]), whole)
    alone = multi_step_errors(counting_model(), {}, first, jax.random.key(0), distance=5)
    assert found.keys() == {"kl", "observation_mse", "reward_mae"}
    for name, value in found.items():
        np.testing.assert_allclose(value, getattr(alone, name), rtol=1e-5)
    assert diagnostic.select(Evidence(jax.tree.map(lambda x: x[:5], evidence.batch))) is None
    long = Evidence(jax.tree.map(lambda x: np.zeros((2049, *x.shape[1:]), x.dtype), evidence.batch))
    assert diagnostic.select(long).batch.reward.shape == (1000, 2)


def test_padding_does_not_count():
    batch = recorded([0, 4], 7)
    both = Evidence(padded(batch, 3)).valid, Evidence(recorded([2], 7)).valid
    assert both[0][:7].all() and not both[0][7:].any() and both[1].all()
    subject = Subject(counting_model(), 3)
    measure = jax.jit(make_prediction(subject).measure)
    found = [measure({}, Evidence(x), jax.random.key(0)).numbers for x in (recorded([0, 4], 7), padded(batch, 3))]
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5), *found)


@pytest.mark.parametrize("name", ["open_loop", "imagination"])
def test_a_picture_begins_at_the_first_episodes_beginning(name):
    subject = Subject(counting_model(), 3, policy=lambda params, belief, key: jnp.zeros_like(belief.deter))
    diagnostic = make_diagnostics(subject)[name]
    evidence = Evidence(padded(recorded([0], 7), 3), {"unused": np.zeros((10, 2))}, context=2, length=20)
    selected = diagnostic.select(evidence)
    assert selected.batch.reward.shape == (7, 1) and selected.infos == {}
    picture = jax.jit(diagnostic.measure)({}, selected, jax.random.key(0)).picture
    shape = {"open_loop": (7, 1), "imagination": (20, 4)}[name]
    assert all(leaf.shape[:2] == shape for leaf in jax.tree.leaves(picture))
    assert diagnostic.select(Evidence(evidence.batch, context=7)) is None  # nothing is left to predict


def test_an_agent_has_those_whose_needs_are_met():
    blind = counting_model()._replace(decode=None)
    assert make_diagnostics(Subject(blind, 3)).keys() == {"open_loop", "prediction", "planning"}
    policy = lambda params, belief, key: belief.deter  # noqa: E731
    assert make_diagnostics(Subject(blind, 3, policy)).keys() == DIAGNOSTICS.keys()
    assert not Subject(blind, 3).has("decode") and Subject(counting_model(), 3).has("decode")
    with pytest.raises(ValueError, match="needs: expected names among init, .*policy.*, got decoder"):
        Subject(blind, 3).has("decoder")


def test_at_evaluation_a_plan_comes_with_the_rewards_the_model_promises():
    plans = jnp.array([[[1.0], [2.0], [-0.5]], [[0.0], [0.0], [1.0]]])

    def planner(params, belief, key, warm_start=None):
        plan = jnp.where(belief.deter[0] > 3, plans[1], plans[0])
        return PlanOutput(plan[0], plan, plan, {"told": jnp.float32(7)})

    act = make_act(counting_model(), planner, gaussian_noise(0.0))
    model, observation = counting_model(), {"state": jnp.array([[2.0], [4.0]])}
    carry = Carry(model.initial((2,)), jnp.zeros((2, 1)), jnp.zeros((2, 3, 1)))
    arguments = ({}, carry, observation, jnp.array([True, True]), jax.random.key(0))
    _, _, info = act(*arguments, mode="eval")
    np.testing.assert_allclose(info["planned_rewards"], [[1.5, 2.5, 2.25], [2.0, 2.0, 2.5]])
    np.testing.assert_array_equal(info["told"], [7, 7])
    assert act(*arguments, mode="explore")[2].keys() == {"told"}
