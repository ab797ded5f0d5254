"""Optimisers that optax has no single name for."""

import jax
import jax.numpy as jnp
import optax

from latentplan.types import Params


def laprop(
    learning_rate: float, *, beta1: float, beta2: float, eps: float, warmup: int
) -> optax.GradientTransformation:
    """LaProp: momentum on gradients that are normalised first, unlike Adam's (Ziyin et al. 2020).

    Args:
        learning_rate: after the warm-up.
        beta1: decay of the momentum.
        beta2: decay of the mean square.
        eps: added to its root.
        warmup: updates over which the rate rises linearly from zero; 0: none.

    Returns:
        A transformation from gradients to updates.
    """
    rate = optax.linear_schedule(0.0, learning_rate, warmup) if warmup else learning_rate
    return optax.chain(
        optax.scale_by_rms(beta2, eps, eps_in_sqrt=False, bias_correction=True),
        optax.ema(beta1, debias=True),
        optax.scale_by_learning_rate(rate),
    )


def adaptive_clip(share: float, floor: float = 1e-3) -> optax.GradientTransformation:
    """Bounds every tensor's gradient norm by a share of the tensor's own norm (Brock et al. 2021, as in Dreamer V3).

    `optax.adaptive_grad_clip` bounds every unit of a layer by itself; Dreamer V3 every tensor as a whole.

    Args:
        share: of the tensor's norm. Dreamer V3 has 0.3.
        floor: least norm that a tensor counts with, so that zeros can learn.

    Returns:
        A transformation that needs the parameters.
    """

    def clip(updates: Params, params: Params) -> Params:
        def one(update, param):
            bound = share * jnp.maximum(jnp.linalg.norm(param.ravel()), floor)
            return update / jnp.maximum(1.0, jnp.linalg.norm(update.ravel()) / bound)

        return jax.tree.map(one, updates, params)

    return optax.stateless(clip)


def clipped_adam(
    learning_rate: float, *, eps: float, clip_norm: float, weight_decay: float = 0.0
) -> optax.GradientTransformation:
    """Clipping by global norm, Adam, then params *= 1 - weight_decay, which is not scaled by the rate (Dreamer V2).

    Args:
        learning_rate: Adam's.
        eps: Adam's.
        clip_norm: largest global norm of the gradient.
        weight_decay: share of every parameter that is lost at every update.

    Returns:
        A transformation that needs the parameters where there is a decay.
    """
    steps = [optax.clip_by_global_norm(clip_norm), optax.adam(learning_rate, eps=eps)]
    if weight_decay:
        decay = lambda updates, params: jax.tree.map(lambda u, p: u - weight_decay * p, updates, params)  # noqa: E731
        steps.append(optax.stateless(decay))
    return optax.chain(*steps)
