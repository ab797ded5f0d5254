"""What a model expects once the observations are taken away, and how wrong it is; for any model."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from latentplan.losses.overshooting import latent_overshooting, mean_per_distance, overshoot
from latentplan.models.rollout import imagine, imagine_with, observe, previous_beliefs
from latentplan.types import (
    Array,
    Batch,
    Belief,
    ImaginedTrajectory,
    Key,
    MultiStepErrors,
    OpenLoop,
    Params,
    WorldModel,
)


def make_open_loop(model: WorldModel) -> Callable:
    """Prediction with the observations taken away after a few steps.

    Args:
        model: the world model.

    Returns:
        `Agent.open_loop`: (params, batch [B, T], key, *, context) -> OpenLoop.
    """

    def open_loop(params: Params, batch: Batch, key: Key, *, context: int) -> OpenLoop:
        pixel_key, filter_key, imagine_key = jax.random.split(key, 3)
        time_major = jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), batch)
        observation = model.preprocess(time_major.observation, pixel_key)
        beliefs, last = _seen(model, params, time_major, observation, filter_key, context)
        future, _ = imagine(model, params, last, time_major.action[context:], imagine_key)
        whole = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), beliefs, future)
        predicted, reward = _expected(model, params, whole)
        result = OpenLoop(model.postprocess(observation), predicted, time_major.reward, reward)
        return jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), result)

    return open_loop


def make_dream_view(model: WorldModel, policy: Callable[[Params, Belief, Key], Array]) -> Callable:
    """What an actor learns from, to be looked at: a few steps of an episode, then the actor in the model.

    Args:
        model: any world model.
        policy: (params, belief [...], key) -> action [..., A].

    Returns:
        `Agent.dream`: (params, batch [B, T], key, *, context, horizon) -> ImaginedTrajectory [B, context + horizon].
    """

    def dream(params: Params, batch: Batch, key: Key, *, context: int, horizon: int) -> ImaginedTrajectory:
        pixel_key, filter_key, imagine_key = jax.random.split(key, 3)
        time_major = jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), batch)
        observation = model.preprocess(time_major.observation, pixel_key)
        beliefs, last = _seen(model, params, time_major, observation, filter_key, context)
        act = lambda belief, key: policy(params, belief, key)  # noqa: E731
        future, _ = imagine_with(model, params, last, act, imagine_key, horizon=horizon)
        whole = jax.tree.map(
            lambda a, b: jnp.concatenate([a, b[1:]]), beliefs, future
        )  # future begins with the last one
        return jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), ImaginedTrajectory(*_expected(model, params, whole)))

    return dream


def _seen(
    model: WorldModel, params: Params, batch: Batch, observation: Array, key: Key, context: int
) -> tuple[Belief, Belief]:
    """Beliefs of the first `context` steps of [T, B], and the last of them."""
    seen = jax.tree.map(lambda x: x[:context], batch)
    embeds = model.encode(params, observation[:context])
    initial = model.initial(batch.reward.shape[1:])
    beliefs, _ = observe(model, params, initial, seen.action, embeds, seen.is_first, key)
    return beliefs, jax.tree.map(lambda x: x[-1], beliefs)


def _expected(model: WorldModel, params: Params, beliefs: Belief) -> tuple[Array | None, Array]:
    """The expected observation, where a model decodes one, and reward, in the environment's units."""
    observation = None if model.decode is None else model.postprocess(model.decode(params, beliefs).mean)
    return observation, model.reward(params, beliefs).mean[..., 0]


def make_predict_ahead(model: WorldModel, distance: int) -> Callable:
    """How wrong the model is about the next `distance` decisions: what a planner with that horizon builds on.

    From every step's posterior the prior is rolled d = 1..D decisions ahead with the recorded actions, as in latent
    overshooting (PlaNet section 4), and held against the posterior, observation and reward that came.

    Args:
        model: the world model.
        distance: D.

    Returns:
        `Agent.predict_ahead`: (params, batch [B, T], key) -> MultiStepErrors. A distance that no step of the batch
        reaches has zeros.
    """

    def predict_ahead(params: Params, batch: Batch, key: Key) -> MultiStepErrors:
        pixel_key, filter_key, ahead_key = jax.random.split(key, 3)
        batch = jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), batch)  # [T, B, ...]
        observation = model.preprocess(batch.observation, pixel_key)
        initial, actions = model.initial(batch.reward.shape[1:]), jnp.where(batch.is_first[..., None], 0, batch.action)
        embeds = model.encode(params, observation)
        beliefs, (posteriors, _) = observe(model, params, initial, actions, embeds, batch.is_first, filter_key)
        previous = previous_beliefs(initial, beliefs, batch.is_first)
        ahead = overshoot(model.imagine_step, params, previous, actions, batch.is_first, ahead_key, distance=distance)
        truth = model.postprocess(observation)

        def errors(belief: Any) -> MultiStepErrors:
            reward = jnp.abs(model.reward(params, belief).mean[..., 0] - batch.reward)
            if model.decode is None:
                return MultiStepErrors(reward)
            squared = (model.postprocess(model.decode(params, belief).mean) - truth) ** 2
            return MultiStepErrors(reward, observation_mse=jnp.mean(squared, tuple(range(2, squared.ndim))))

        known = ahead.valid & ~batch.is_first  # a reset is not foreseen
        found = jax.lax.map(errors, ahead.belief)  # one distance at a time: all images would take gigabytes
        divergence = latent_overshooting(model.divergence, posteriors, ahead)
        found = found._replace(**{"kl" if model.decode else "latent_mse": divergence})
        return jax.tree.map(lambda x: mean_per_distance(x, known), found)

    return predict_ahead
