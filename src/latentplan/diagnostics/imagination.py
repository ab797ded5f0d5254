"""Imagined trajectories of an actor: what it learns from, to be looked at (Dreamer, figure 4)."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from latentplan.diagnostics.subject import Subject
from latentplan.diagnostics.windows import expectation, first_window, observe_context
from latentplan.models.rollout import imagine_with
from latentplan.types import (
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

SIDE_BY_SIDE = 4  # trajectories, from the same beginning


def imagine_trajectory(
    model: WorldModel,
    policy: Callable[[Params, Any, Key], Array],
    params: Params,
    batch: Batch,
    key: Key,
    *,
    context: int,
    horizon: int,
) -> ImaginedTrajectory:
    """Observes a few steps of an episode, then lets a policy act in the model.

    Args:
        model: any world model.
        policy: (params, belief [...], key) -> action [..., A].
        params: of both.
        batch: [T, B].
        key: for posterior, prior and policy samples.
        context: steps that are observed, at least 1.
        horizon: steps that are imagined.

    Returns:
        ImaginedTrajectory [context + horizon, B].
    """
    pixel_key, filter_key, imagine_key = jax.random.split(key, 3)
    observation = model.preprocess(batch.observation, pixel_key)
    beliefs, last = observe_context(model, params, batch, observation, filter_key, context=context)
    act = lambda belief, key: policy(params, belief, key)  # noqa: E731
    future, _ = imagine_with(model, params, last, act, imagine_key, horizon=horizon)  # begins with the last one
    whole = jax.tree.map(lambda seen, imagined: jnp.concatenate([seen, imagined[1:]]), beliefs, future)
    return ImaginedTrajectory(*expectation(model, params, whole))


def make_imagination(subject: Subject) -> Diagnostic:
    """The actor in the model from the first episode's beginning on, drawn a few times side by side. No numbers."""
    model, policy = subject.model, subject.policy
    assert policy is not None  # the registry's entry says so

    def measure(params: Params, evidence: Evidence, key: Key) -> Measurement:
        several = jax.tree.map(lambda x: jnp.repeat(x, SIDE_BY_SIDE, 1), evidence.batch)
        context, horizon = evidence.context, evidence.length - evidence.context
        return Measurement(
            {}, imagine_trajectory(model, policy, params, several, key, context=context, horizon=horizon)
        )

    return Diagnostic(measure, select=first_window, drawing="imagined_trajectory")
