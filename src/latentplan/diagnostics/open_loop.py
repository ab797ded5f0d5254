"""Open-loop prediction: observe the first steps, imagine the rest with the recorded actions (PlaNet, figure 8)."""

import jax
import jax.numpy as jnp
from jaxtyping import Float

from latentplan.diagnostics.subject import Subject
from latentplan.diagnostics.windows import expectation, first_window, observe_context, squared_error_per_value
from latentplan.models.rollout import imagine
from latentplan.types import Array, Batch, Diagnostic, Evidence, Key, Measurement, OpenLoop, Params, WorldModel


def predict_open_loop(model: WorldModel, params: Params, batch: Batch, key: Key, *, context: int) -> OpenLoop:
    """Predicts a window open loop after its first `context` steps.

    Args:
        model: any world model.
        params: its parameters.
        batch: [T, B].
        key: for posterior and prior samples.
        context: number of observed steps, at least 1.

    Returns:
        OpenLoop [T, B]; its first `context` steps are reconstructions from filtered beliefs.
    """
    pixel_key, filter_key, imagine_key = jax.random.split(key, 3)
    observation = model.preprocess(batch.observation, pixel_key)
    beliefs, last = observe_context(model, params, batch, observation, filter_key, context=context)
    future, _ = imagine(model, params, last, batch.action[context:], imagine_key)
    whole = jax.tree.map(lambda seen, imagined: jnp.concatenate([seen, imagined]), beliefs, future)
    predicted, reward = expectation(model, params, whole)
    return OpenLoop(model.postprocess(observation), predicted, batch.reward, reward)


def open_loop_errors(predicted: OpenLoop, *, context: int) -> dict[str, Float[Array, ""]]:
    """Errors of an open-loop prediction over its imagined steps.

    Args:
        predicted: [T, B].
        context: number of observed steps.

    Returns:
        `reward_mae`, mean absolute error; with a decoder, `observation_mse`, mean squared error per value, averaged
        over observations.
    """
    errors = {"reward_mae": jnp.mean(jnp.abs(predicted.predicted_reward - predicted.true_reward)[context:])}
    if predicted.predicted_observation is not None:
        model, true = jax.tree.map(lambda x: x[context:], (predicted.predicted_observation, predicted.true_observation))
        errors["observation_mse"] = squared_error_per_value(model, true, 0)
    return errors


def make_open_loop(subject: Subject) -> Diagnostic:
    """Open-loop prediction of the start of the first episode: errors, and a video or plot beside the truth."""

    def measure(params: Params, evidence: Evidence, key: Key) -> Measurement:
        batch = evidence.batch._replace(reward=subject.reward_target(evidence.batch.reward))
        predicted = predict_open_loop(subject.model, params, batch, key, context=evidence.context)
        return Measurement(open_loop_errors(predicted, context=evidence.context), predicted)

    return Diagnostic(measure, select=first_window, drawing="open_loop")
