"""Prediction errors by distance, up to the planning horizon."""

from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Bool

from latentplan.diagnostics.subject import Subject
from latentplan.diagnostics.windows import expectation, squared_error_per_value
from latentplan.losses.overshooting import latent_overshooting, mean_per_distance, overshoot
from latentplan.models.rollout import observe, previous_beliefs
from latentplan.types import AnyBelief, Array, Batch, Diagnostic, Evidence, Key, Measurement, Params, WorldModel

_UNIT = 50  # records; lengths are rounded down to a multiple of it, to limit the number of compiled programs
_LONGEST = 1000  # records; a game's episode may have 27,000


class MultiStepErrors(NamedTuple):
    """Errors of predictions 1 to D decisions ahead; means over the steps of a batch.

    Attributes:
        reward_mae: [D], mean absolute error.
        kl: [D], KL(posterior || d-step prior), in nats; None without a decoder.
        observation_mse: [D], mean squared error per value, averaged over several observations; pixels in [0, 1],
            vectors in their units; None without a decoder.
        latent_mse: [D], mean squared difference of predicted and encoded latent states; None with a decoder.
    """

    reward_mae: Array
    kl: Array | None = None
    observation_mse: Array | None = None
    latent_mse: Array | None = None


def multi_step_errors(
    model: WorldModel, params: Params, batch: Batch, key: Key, *, distance: int, valid: Bool[Array, "T B"] | None = None
) -> MultiStepErrors:
    """Errors of the model's predictions up to `distance` decisions ahead.

    From every step's posterior the prior is rolled d = 1..D decisions ahead with the recorded actions, as in latent
    overshooting (PlaNet section 4), and compared with the posterior, observation and reward recorded there.

    Args:
        model: any world model.
        params: its parameters.
        batch: [T, B].
        key: for posterior and prior samples.
        distance: D.
        valid: [T, B], mask of the steps to average; None for all.

    Returns:
        MultiStepErrors; zero for distances longer than the batch.
    """
    pixel_key, filter_key, ahead_key = jax.random.split(key, 3)
    observation = model.preprocess(batch.observation, pixel_key)
    initial, actions = model.initial(batch.reward.shape[1:]), jnp.where(batch.is_first[..., None], 0, batch.action)
    embeds = model.encode(params, observation)
    beliefs, (posteriors, _) = observe(model, params, initial, actions, embeds, batch.is_first, filter_key)
    previous = previous_beliefs(initial, beliefs, batch.is_first)
    ahead = overshoot(model.imagine_step, params, previous, actions, batch.is_first, ahead_key, distance=distance)
    truth = model.postprocess(observation)

    def errors(belief: AnyBelief) -> MultiStepErrors:
        expected, reward = expectation(model, params, belief)
        off = jnp.abs(reward - batch.reward)
        if expected is None:
            return MultiStepErrors(off)
        return MultiStepErrors(off, observation_mse=squared_error_per_value(expected, truth, 2))

    predictable = ahead.valid & ~batch.is_first[None]  # the state after a reset is not
    predictable = predictable if valid is None else predictable & valid[None]
    found = jax.lax.map(errors, ahead.belief)  # one distance at a time: decoding all images at once takes gigabytes
    divergence = latent_overshooting(model.divergence, posteriors, ahead)
    found = found._replace(**{"kl" if model.decode else "latent_mse": divergence})
    return jax.tree.map(lambda x: mean_per_distance(x, predictable), found)


def make_prediction(subject: Subject) -> Diagnostic:
    """`MultiStepErrors` up to the subject's horizon D, averaged over the episodes that reach it: NAME [D] each."""
    distance = subject.horizon

    def select(evidence: Evidence) -> Evidence | None:
        if int(evidence.valid.sum(0).max()) <= distance:
            return None
        steps = min(len(evidence.batch.reward), _LONGEST)
        steps = steps // _UNIT * _UNIT or steps
        return replace(evidence, batch=jax.tree.map(lambda x: x[:steps], evidence.batch), infos={})

    def measure(params: Params, evidence: Evidence, key: Key) -> Measurement:
        batch = evidence.batch._replace(reward=subject.reward_target(evidence.batch.reward))
        valid = evidence.valid

        def episode(i: Array) -> MultiStepErrors:
            one, counted = jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, i, 1, 1), (batch, valid))
            row_key = jax.random.fold_in(key, i)
            return multi_step_errors(subject.model, params, one, row_key, distance=distance, valid=counted)

        found = jax.lax.map(episode, jnp.arange(valid.shape[1]))  # one episode at a time, likewise to save memory
        reached = jnp.sum(valid, 0) > distance
        count = jnp.sum(reached, dtype=jnp.float32)
        mean = lambda x: jnp.where(reached[:, None], x, 0.0).sum(0) / count  # noqa: E731
        return Measurement({name: mean(x) for name, x in found._asdict().items() if x is not None})

    return Diagnostic(measure, select=select)
