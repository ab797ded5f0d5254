"""Pictures of an actor's imagined trajectories, the data on which it is trained (Dreamer, figure 4)."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from latentplan.diagnostics.subject import Subject
from latentplan.diagnostics.windows import expectation, first_window, observe_context
from latentplan.models.rollout import imagine_with
from latentplan.types import (
    AnyBelief,
    Array,
    Batch,
    Diagnostic,
    Evidence,
    ImaginedTrajectory,
    Key,
    Measurement,
    Params,
    WorldModel,
)

SIDE_BY_SIDE = 4  # trajectories, all from the same start


def imagine_trajectory(
    model: WorldModel,
    policy: Callable[[Params, AnyBelief, Key], Array],
    params: Params,
    batch: Batch,
    key: Key,
    *,
    context: int,
    horizon: int,
) -> ImaginedTrajectory:
    """Filters the first steps of an episode, then rolls a policy out in the model.

    Args:
        model: any world model.
        policy: (params, belief [...], key) -> action [..., A].
        params: of both.
        batch: [T, B].
        key: for posterior, prior and policy samples.
        context: number of observed steps, at least 1.
        horizon: number of imagined steps.

    Returns:
        ImaginedTrajectory [context + horizon, B].
    """
    pixel_key, filter_key, imagine_key = jax.random.split(key, 3)
    observation = model.preprocess(batch.observation, pixel_key)
    beliefs, last = observe_context(model, params, batch, observation, filter_key, context=context)
    act = lambda belief, key: policy(params, belief, key)  # noqa: E731
    future, _ = imagine_with(model, params, last, act, imagine_key, horizon=horizon)  # includes the last observed step
    whole = jax.tree.map(lambda seen, imagined: jnp.concatenate([seen, imagined[1:]]), beliefs, future)
    return ImaginedTrajectory(*expectation(model, params, whole))


def make_imagination(subject: Subject) -> Diagnostic:
    """A few imagined trajectories from the start of the first episode, drawn side by side; no numbers."""
    model, policy = subject.model, subject.policy
    assert policy is not None  # required by the registry's entry

    def measure(params: Params, evidence: Evidence, key: Key) -> Measurement:
        several = jax.tree.map(lambda x: jnp.repeat(x, SIDE_BY_SIDE, 1), evidence.batch)
        context, horizon = evidence.context, evidence.length - evidence.context
        return Measurement(
            {}, imagine_trajectory(model, policy, params, several, key, context=context, horizon=horizon)
        )

    return Diagnostic(measure, select=first_window, drawing="imagined_trajectory")
