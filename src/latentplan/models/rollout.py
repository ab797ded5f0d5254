"""Scans over the model's steps: filtering, open-loop prediction, and rolling out a policy."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float

from latentplan.checks import expect_shape
from latentplan.types import AnyBelief, AnyLatent, Array, Batch, BeliefT, Key, Params, WorldModel


def observe(
    model: WorldModel,
    params: Params,
    belief: BeliefT,
    actions: Float[Array, "T *batch A"],
    embeds: Float[Array, "T *batch E"],
    is_first: Bool[Array, "T *batch"],
    key: Key,
) -> tuple[BeliefT, tuple[AnyLatent, AnyLatent]]:
    """Filters a sequence: q(s_t | o_<=t, a_<=t) for t = 1..T.

    Args:
        model: any WorldModel.
        params: its parameters.
        belief: [...], the belief before the first step.
        actions: [T, ..., A]; action t led to observation t.
        embeds: [T, ..., E].
        is_first: [T, ...] bool.
        key: for the posterior samples.

    Returns:
        (beliefs [T, ...], (posteriors, priors) [T, ..., S]).
    """

    def step(belief, inputs):
        belief, statistics = model.observe_step(params, belief, *inputs)
        return belief, (belief, statistics)

    _check_steps("observe", belief, {"actions": actions, "embeds": embeds}, is_first.shape)
    keys = jax.random.split(key, len(actions))
    return jax.lax.scan(step, belief, (actions, embeds, is_first, keys))[1]


def _check_steps(where: str, belief: AnyBelief, inputs: dict[str, Array], steps: tuple[int, ...]) -> None:
    """Refuses a sequence whose parts do not have the axes [T, ...] of its steps, or does not go with the belief."""
    for name, x in inputs.items():
        expect_shape(f"{where}: {name}", x, (*steps, "size"), f"the steps are [T, ...] = {steps}")
    for leaf in jax.tree.leaves(belief):
        expect_shape(f"{where}: belief", leaf, (*steps[1:], "..."), f"the steps are [T, ...] = {steps}")


class Filtered(NamedTuple):
    """Recorded windows with the model's filtered beliefs at each step.

    Attributes:
        observation: by name [T, B, O], preprocessed.
        initial: [B, ...], the belief before the windows.
        beliefs: [T, B, ...], sampled from the posteriors.
        posteriors, priors: [T, B, ...], as returned by the model's `observe_step`.
    """

    observation: dict[str, Array]
    initial: AnyBelief
    beliefs: AnyBelief
    posteriors: AnyLatent
    priors: AnyLatent


def filter_windows(model: WorldModel, params: Params, batch: Batch, pixel_key: Key, filter_key: Key) -> Filtered:
    """Preprocesses, encodes and filters recorded windows, starting from the initial belief.

    Args:
        model: any WorldModel.
        params: its parameters.
        batch: [T, B, ...].
        pixel_key: for preprocessing.
        filter_key: for the posterior samples.

    Returns:
        Filtered.
    """
    observation = model.preprocess(batch.observation, pixel_key)
    initial = model.initial(batch.reward.shape[1:])
    embeds = model.encode(params, observation)
    beliefs, statistics = observe(model, params, initial, batch.action, embeds, batch.is_first, filter_key)
    return Filtered(observation, initial, beliefs, *statistics)


def imagine(
    model: WorldModel, params: Params, belief: BeliefT, actions: Float[Array, "T *batch A"], key: Key
) -> tuple[BeliefT, AnyLatent]:
    """Predicts a sequence: p(s_t | s_0, a_1..t) for t = 1..T, sampling at every step.

    Args:
        model: any WorldModel.
        params: its parameters.
        belief: [...], the belief now.
        actions: [T, ..., A].
        key: for the prior samples.

    Returns:
        (beliefs [T, ...], priors [T, ..., S]).
    """
    _check_steps("imagine", belief, {"actions": actions}, actions.shape[:-1])

    def step(belief, inputs):
        belief, prior = model.imagine_step(params, belief, *inputs)
        return belief, (belief, prior)

    return jax.lax.scan(step, belief, (actions, jax.random.split(key, len(actions))))[1]


def imagine_with(
    model: WorldModel,
    params: Params,
    belief: BeliefT,
    policy: Callable[[BeliefT, Key], Array],
    key: Key,
    *,
    horizon: int,
) -> tuple[BeliefT, Float[Array, "steps *batch A"]]:
    """Rolls out a policy in the model: a_t ~ policy(s_t), s_{t+1} ~ p(s_{t+1} | s_t, a_t) for t = 0..H-1.

    Args:
        model: any WorldModel.
        params: its parameters.
        belief: [...], s_0.
        policy: (belief [...], key) -> action [..., A]; clipped to [-1, 1] for the model, with a straight-through
            gradient.
        key: for policy and prior samples.
        horizon: H.

    Returns:
        (beliefs [H + 1, ...] starting with s_0, actions [H, ..., A] before clipping).
    """

    def step(belief: BeliefT, key: Key) -> tuple[BeliefT, tuple[BeliefT, Array]]:
        policy_key, model_key = jax.random.split(key)
        action = policy(belief, policy_key)
        # Straight-through: clipping keeps the gradient.
        bounded = action + jax.lax.stop_gradient(jnp.clip(action, -1.0, 1.0) - action)
        belief, _ = model.imagine_step(params, belief, bounded, model_key)
        return belief, (belief, action)

    _, (later, actions) = jax.lax.scan(step, belief, jax.random.split(key, horizon))
    return jax.tree.map(lambda x, y: jnp.concatenate([x[None], y]), belief, later), actions


def previous_beliefs(initial: BeliefT, beliefs: BeliefT, is_first: Bool[Array, "T *batch"]) -> BeliefT:
    """The belief before each step; the initial belief before the first step of the window and of every episode.

    Args:
        initial: [...], before the window.
        beliefs: [T, ...].
        is_first: [T, ...] bool.

    Returns:
        [T, ...].
    """

    def shift(first: Array, rest: Array) -> Array:
        shifted = jnp.concatenate([first[None], rest[:-1]])
        return jnp.where(is_first[..., None], first[None], shifted)

    return jax.tree.map(shift, initial, beliefs)
