"""Optimisers that optax does not provide ready-made."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax

from latentplan.config import ClipNorm, Config, PositiveFloat, Share
from latentplan.types import Params


@dataclass(frozen=True, kw_only=True)
class AdamsConfig(Config):
    """Adam for the model, the actor and the critic. Defaults: Dreamer V1 (danijar/dreamer, `dreamer.py`)."""

    model_rate: PositiveFloat = 6e-4
    """Learning rate of the model. Dreamer V2: 3e-4 on the control suite, 2e-4 on Atari."""
    actor_rate: PositiveFloat = 8e-5
    """Learning rate of the actor. Dreamer V2: 8e-5, 4e-5."""
    critic_rate: PositiveFloat = 8e-5
    """Learning rate of the critic. Dreamer V2: 8e-5, 1e-4."""
    eps: PositiveFloat = 1e-7
    """Adam's epsilon. Dreamer V2: 1e-5."""
    clip_norm: ClipNorm = 100.0
    """Maximum global norm of each gradient."""
    weight_decay: Share = 0.0
    """Decoupled weight decay: fraction by which every parameter shrinks per update. Dreamer V2: 1e-6."""


def chain(*steps: optax.GradientTransformation) -> optax.GradientTransformation:
    """`optax.chain`, also under JAX's strict dtype promotion, which refuses optax's products of integers and floats."""
    chained = optax.chain(*steps)

    def init(params: Params) -> optax.OptState:
        with jax.numpy_dtype_promotion("standard"):
            return chained.init(params)

    def update(updates: Params, state: optax.OptState, params: Params | None = None) -> tuple[Params, optax.OptState]:
        with jax.numpy_dtype_promotion("standard"):
            return chained.update(updates, state, params)

    return optax.GradientTransformation(init, update)


def rate_schedule(learning_rate: float, *, warmup: int, decay: tuple[int, int], least: float) -> optax.Schedule:
    """A learning rate that grows linearly from 0, is constant, and falls linearly to a fraction of itself.

    Args:
        learning_rate: the largest.
        warmup: updates over which it grows; 0 for none.
        decay: (first, last) update of its fall; (0, 0) for none.
        least: the final fraction.

    Returns:
        (updates) -> learning rate.
    """
    grow = optax.linear_schedule(0.0, learning_rate, warmup) if warmup else optax.constant_schedule(learning_rate)
    if not decay[1]:
        return grow
    fall = optax.linear_schedule(learning_rate, least * learning_rate, decay[1] - decay[0])
    return optax.join_schedules([grow, fall], [decay[0]])


def laprop(
    learning_rate: float | optax.Schedule, *, beta1: float, beta2: float, eps: float
) -> optax.GradientTransformation:
    """LaProp: momentum of normalised gradients, where Adam normalises the momentum (Ziyin et al. 2020).

    Args:
        learning_rate: a number, or a function of the updates.
        beta1: decay of the momentum.
        beta2: decay of the mean square.
        eps: added to the root of the mean square.

    Returns:
        A transformation from gradients to updates.
    """
    return chain(
        optax.scale_by_rms(beta2, eps, eps_in_sqrt=False, bias_correction=True),
        optax.ema(beta1, debias=True),
        optax.scale_by_learning_rate(learning_rate),
    )


def adaptive_clip(share: float, floor: float = 1e-3) -> optax.GradientTransformation:
    """Clips every tensor's gradient norm to a fraction of the tensor's own norm (Brock et al. 2021, as in Dreamer V3).

    `optax.adaptive_grad_clip` clips every unit of a layer separately; Dreamer V3 clips whole tensors.

    Args:
        share: maximum gradient norm relative to the tensor's norm. Dreamer V3 uses 0.3.
        floor: lower bound on the tensor's norm, so that zero-initialised tensors can learn.

    Returns:
        A transformation that needs the parameters.
    """

    def clip(updates: Params, params: Params) -> Params:
        def one(update, param):
            bound = share * jnp.maximum(jnp.linalg.norm(param.ravel()), floor)
            return update / jnp.maximum(1.0, jnp.linalg.norm(update.ravel()) / bound)

        return jax.tree.map(one, updates, params)

    return optax.stateless(clip)


def scale_parts(scales: dict[str, float]) -> optax.GradientTransformation:
    """Scales the updates of some parts of the parameters.

    Args:
        scales: part -> factor of its updates; other parts are unchanged.

    Returns:
        A transformation of updates that are a dict of parts.
    """

    def scaled(updates: Params, params: Params) -> Params:
        del params
        return {name: optax.tree.scale(scales.get(name, 1.0), part) for name, part in updates.items()}

    return optax.stateless(scaled)


def clipped_adam(
    learning_rate: float, *, eps: float, clip_norm: float, weight_decay: float = 0.0
) -> optax.GradientTransformation:
    """Clipping by global norm, Adam, then params *= 1 - weight_decay, independent of the learning rate (Dreamer V2).

    Args:
        learning_rate: Adam's.
        eps: Adam's.
        clip_norm: maximum global norm of the gradient.
        weight_decay: fraction by which every parameter shrinks per update.

    Returns:
        A transformation; with weight decay, its `update` needs the parameters.
    """
    steps = [optax.clip_by_global_norm(clip_norm), optax.adam(learning_rate, eps=eps)]
    if weight_decay:
        decay = lambda updates, params: jax.tree.map(lambda u, p: u - weight_decay * p, updates, params)  # noqa: E731
        steps.append(optax.stateless(decay))
    return chain(*steps)


def make_adams(config: AdamsConfig) -> tuple[optax.GradientTransformation, ...]:
    """`clipped_adam` for the model, the actor and the critic."""
    shared = {"eps": config.eps, "clip_norm": config.clip_norm, "weight_decay": config.weight_decay}
    return tuple(clipped_adam(rate, **shared) for rate in (config.model_rate, config.actor_rate, config.critic_rate))
