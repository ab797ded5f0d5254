"""Shared parts of TD-MPC's and TD-MPC2's updates: transitions from windows, latent rollouts, optimiser steps."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Bool, Float

from latentplan.losses.td import check_length, in_one_episode
from latentplan.models.decoder_free import DecoderFreeModel
from latentplan.nets.network import split_by_name
from latentplan.transforms import random_shift
from latentplan.types import Array, Batch, Key, Metrics, Params, WorldModel

Part = Any  # parameters, an optimiser, its state, a gradient or a loss
Extra = TypeVar("Extra")


class Window(NamedTuple):
    """A replay window as H transitions; transition t leads from observation t to t + 1.

    Attributes:
        observation: by name [H + 1, B, O], preprocessed; images are randomly shifted.
        action: [H, B, A].
        reward: [H, B].
        is_terminal: [H, B] bool.
        valid: [H, B] bool, whether the transition belongs to the window's first episode.
    """

    observation: dict[str, Array]
    action: Array
    reward: Array
    is_terminal: Array
    valid: Array


def read_window(model: WorldModel, batch: Batch, shift: int, shift_key: Key, pixel_key: Key) -> Window:
    """Converts a replay batch into preprocessed transitions.

    Args:
        model: whose preprocessing is used.
        batch: [H + 1, B], from replay.
        shift: maximum random shift of images, in pixels.
        shift_key: for the shifts.
        pixel_key: for the preprocessing.

    Returns:
        Window.

    Raises:
        ValueError: the windows contain no transition.
    """
    check_length(len(batch.reward))
    keys = split_by_name(shift_key, sorted(batch.observation))
    shifted = {
        name: random_shift(x, shift, keys[name]) if x.dtype == jnp.uint8 else x for name, x in batch.observation.items()
    }
    observation = model.preprocess(shifted, pixel_key)
    valid = in_one_episode(batch.is_first)
    return Window(observation, batch.action[1:], batch.reward[1:], batch.is_terminal[1:], valid)


def unroll(
    model: DecoderFreeModel, params: Params, first: Float[Array, "B L"], actions: Float[Array, "H B A"]
) -> Float[Array, "H+1 B L"]:
    """Latent rollout: z_0 and z_{t+1} = d(z_t, a_t).

    Args:
        model: whose dynamics are used.
        params: of the model.
        first: z_0, [B, L].
        actions: [H, B, A].

    Returns:
        [H + 1, B, L].
    """

    def step(latent: Array, action: Array) -> tuple[Array, Array]:
        latent = model.next(params, latent, action)
        return latent, latent

    _, later = jax.lax.scan(step, first, actions)
    return jnp.concatenate([first[None], later])


def prepend_valid(valid: Bool[Array, "H *batch"]) -> Bool[Array, "H+1 *batch"]:
    """Mask of a rollout's latent states [H + 1, B], from that of its transitions [H, B]; the first is always valid."""
    return jnp.concatenate([jnp.ones((1, *valid.shape[1:]), bool), valid])


def weighted_sum(scales: object, terms: dict[str, Float[Array, ""]]) -> tuple[Float[Array, ""], Metrics]:
    """A weighted sum of loss terms.

    Args:
        scales: a config with a weight `NAME_scale` for every term.
        terms: name -> scalar.

    Returns:
        (loss, metrics `NAME_loss` of the unweighted terms).
    """
    total = sum(getattr(scales, f"{name}_scale") * term for name, term in terms.items())
    return jnp.asarray(total), {f"{name}_loss": term for name, term in terms.items()}


class ModelAndPolicy(NamedTuple):
    """One entry each for model and policy: parameters, optimisers, or optimiser states."""

    model: Part
    policy: Part


def split(params: Params) -> ModelAndPolicy:
    """Splits the parameters into those of the model's networks and of the policy, without non-network entries."""
    rest = {name: part for name, part in params.items() if name not in ("policy", "progress")}
    return ModelAndPolicy(rest, params["policy"])


def learn(
    optimizers: ModelAndPolicy,
    states: ModelAndPolicy,
    params: ModelAndPolicy,
    model_loss: Callable[[Params], tuple[Array, tuple[Metrics, Array, Array]]],
    policy_loss: Callable[[Params, Params, Array, Array], tuple[Array, Extra]],
) -> tuple[ModelAndPolicy, ModelAndPolicy, Metrics, Extra]:
    """One optimiser step of the model, then one of the policy on the model's latent rollout.

    Args:
        optimizers: of model and policy.
        states: theirs.
        params: of both.
        model_loss: (model's params) -> (loss, (metrics with `value_target`, latent states [H + 1, B, L],
            valid [H, B])).
        policy_loss: (policy's params, model's params after its step, latent states, valid) -> (loss, more).

    Returns:
        (params, states, metrics, more).
    """
    (total, (metrics, latents, valid)), gradients = jax.value_and_grad(model_loss, has_aux=True)(params.model)
    steps, model_state = optimizers.model.update(gradients, states.model)
    networks = optax.apply_updates(params.model, steps)
    (policy_total, more), policy_gradients = jax.value_and_grad(policy_loss, has_aux=True)(
        params.policy, networks, latents, valid
    )
    steps, policy_state = optimizers.policy.update(policy_gradients, states.policy)
    policy = optax.apply_updates(params.policy, steps)
    norms = optax.tree.norm(gradients), optax.tree.norm(policy_gradients)
    # Value targets are checked, too: two-hot targets would mask an infinite one.
    finite = jnp.all(jnp.isfinite(jnp.stack([total, policy_total, *norms, metrics["value_target"]])))
    metrics |= {"loss": total, "policy_loss": policy_total, "grad_norm": norms[0], "policy_grad_norm": norms[1]}
    metrics["finite"] = finite.astype(jnp.float32)
    return ModelAndPolicy(networks, policy), ModelAndPolicy(model_state, policy_state), metrics, more
