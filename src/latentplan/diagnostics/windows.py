"""Helpers of diagnostics: window selection, filtering of the context, decoding, errors."""

import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
from jaxtyping import Float

from latentplan.models.rollout import observe
from latentplan.types import AnyBelief, Array, Batch, Evidence, Key, Params, WorldModel


def first_window(evidence: Evidence) -> Evidence | None:
    """The first `evidence.length` records of the first episode, or all of it if it is shorter.

    Args:
        evidence: whole episodes, on the host.

    Returns:
        Evidence [T, 1]; None if the episode is not longer than the context.
    """
    steps = min(int(evidence.valid[:, 0].sum()), evidence.length)
    if steps <= evidence.context:
        return None
    return replace(evidence, batch=jax.tree.map(lambda x: x[:steps, :1], evidence.batch), infos={})


def observe_context(
    model: WorldModel,
    params: Params,
    batch: Batch,
    observation: dict[str, Float[Array, "T B _"]],
    key: Key,
    *,
    context: int,
) -> tuple[AnyBelief, AnyBelief]:
    """Filters the first `context` steps of a window.

    Args:
        model: any world model.
        params: its parameters.
        batch: [T, B].
        observation: by name [T, B, O], preprocessed.
        key: for the posterior samples.
        context: number of observed steps.

    Returns:
        (beliefs [context, B, ...], the last of them [B, ...]).
    """
    seen, observed = jax.tree.map(lambda x: x[:context], (batch, observation))
    embeds = model.encode(params, observed)
    initial = model.initial(batch.reward.shape[1:])
    beliefs, _ = observe(model, params, initial, seen.action, embeds, seen.is_first, key)
    return beliefs, jax.tree.map(lambda x: x[-1], beliefs)


def expectation(
    model: WorldModel, params: Params, beliefs: AnyBelief
) -> tuple[dict[str, Float[Array, "..."]] | None, Float[Array, "*batch"]]:
    """Decodes the mean observations and reward at a belief, in the environment's units.

    Args:
        model: any world model.
        params: its parameters.
        beliefs: [...].

    Returns:
        (mean observations by name [..., *shape], or None without a decoder; mean reward [...]).
    """
    reward = model.reward(params, beliefs).mean[..., 0]
    if model.decode is None:
        return None, reward
    means = {name: decoded.mean for name, decoded in model.decode(params, beliefs).items()}
    return model.postprocess(means), reward


def squared_error_per_value(
    predicted: dict[str, Float[Array, "..."]], true: dict[str, Float[Array, "..."]], axes: int
) -> Float[Array, "..."]:
    """Squared errors, averaged over an observation's values and over the observations.

    Args:
        predicted: by name [..., *shape].
        true: by name, the same.
        axes: number of leading axes to keep.

    Returns:
        [...].
    """
    squared = [(predicted[name] - true[name]) ** 2 for name in true]
    means = [jnp.mean(x, tuple(range(axes, x.ndim))) for x in squared]
    return functools.reduce(jnp.add, means) / len(means)
