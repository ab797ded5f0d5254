"""Which part of the evidence is looked at, and what a model makes of its first steps."""

import functools
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp

from latentplan.models.rollout import observe
from latentplan.types import Array, Batch, Evidence, Key, Params, WorldModel


def first_window(evidence: Evidence) -> Evidence | None:
    """The beginning of the first episode, up to `evidence.length` records.

    Args:
        evidence: whole episodes, on the host.

    Returns:
        Evidence [T, 1]; None where the episode is over before there is anything to predict.
    """
    steps = min(int(evidence.valid[:, 0].sum()), evidence.length)
    if steps <= evidence.context:
        return None
    return replace(evidence, batch=jax.tree.map(lambda x: x[:steps, :1], evidence.batch), infos={})


def observe_context(
    model: WorldModel, params: Params, batch: Batch, observation: dict[str, Array], key: Key, *, context: int
) -> tuple[Any, Any]:
    """Filters the first `context` steps of a window.

    Args:
        model: any world model.
        params: its parameters.
        batch: [T, B].
        observation: by name [T, B, ...], preprocessed.
        key: for the posterior samples.
        context: how many steps are observed.

    Returns:
        (beliefs [context, B, ...], the last of them [B, ...]).
    """
    seen, observed = jax.tree.map(lambda x: x[:context], (batch, observation))
    embeds = model.encode(params, observed)
    initial = model.initial(batch.reward.shape[1:])
    beliefs, _ = observe(model, params, initial, seen.action, embeds, seen.is_first, key)
    return beliefs, jax.tree.map(lambda x: x[-1], beliefs)


def expectation(model: WorldModel, params: Params, beliefs: Any) -> tuple[dict[str, Array] | None, Array]:
    """What a model expects at a belief, in the environment's units.

    Args:
        model: any world model.
        params: its parameters.
        beliefs: [...].

    Returns:
        (the mean observations by name [..., *shape], None without a decoder; the mean reward [...]).
    """
    reward = model.reward(params, beliefs).mean[..., 0]
    if model.decode is None:
        return None, reward
    means = {name: decoded.mean for name, decoded in model.decode(params, beliefs).items()}
    return model.postprocess(means), reward


def squared_error_per_value(predicted: dict[str, Array], true: dict[str, Array], axes: int) -> Array:
    """Squared errors, averaged over an observation's values and over the observations.

    Args:
        predicted: by name [..., *shape].
        true: by name, the same.
        axes: how many leading axes stay.

    Returns:
        [...].
    """
    squared = [(predicted[name] - true[name]) ** 2 for name in true]
    means = [jnp.mean(x, tuple(range(axes, x.ndim))) for x in squared]
    return functools.reduce(jnp.add, means) / len(means)
