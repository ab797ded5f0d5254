"""Sampling distributions over action sequences: Gaussian for continuous actions, categorical for discrete ones."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from latentplan.types import Array, Key

GaussianState = tuple[Array, Array]
"""Mean and standard deviation, [H, A] each."""
State = Any  # a distribution's parameters: a pytree of arrays


class Proposals(NamedTuple):
    """A family of distributions over action sequences [H, A], as pure functions of its state.

    Attributes:
        start: (warm_start [H, A] or None) -> state; a warm start is shifted by one decision.
        draw: (state, key, N) -> actions [H, N, A].
        refit: (state, actions [H, K, A], weights [K] that sum to 1) -> state.
        plan: (state) -> [H, A], its most likely sequence.
        warm_start: (state) -> [H, A], the input of `start` at the next decision.
        spread: (state) -> scalar: mean std, or for categoricals the mean probability of deviating from the plan.
    """

    start: Callable[[Array | None], State]
    draw: Callable[[State, Key, int], Array]
    refit: Callable[[State, Array, Array], State]
    plan: Callable[[State], Array]
    warm_start: Callable[[State], Array]
    spread: Callable[[State], Array]


def gaussian(
    horizon: int,
    action_size: int,
    *,
    init_std: float,
    min_std: float,
    max_std: float | None = None,
    momentum: float = 0.0,
    std_momentum: float | None = None,
    noise_beta: float = 0.0,
) -> Proposals:
    """N(mean, std^2) per step and action, clipped to [-1, 1].

    Args:
        horizon: H.
        action_size: A.
        init_std: of the first round, in action units.
        min_std: floor. Without `max_std` it is added in quadrature, sqrt(var + min_std^2), as in PlaNet's CEM; with
            `max_std` the std is clipped to [min_std, max_std], as in TD-MPC's MPPI.
        max_std: ceiling.
        momentum: weight of the previous mean and std in a refit.
        std_momentum: likewise for the std, if it differs.
        noise_beta: exponent of the noise's power spectrum along the horizon, 1 / frequency^beta; 0 is white noise.

    Returns:
        Proposals whose state is (mean [H, A], std [H, A]).
    """
    shape = (horizon, action_size)
    filter_matrix = jnp.asarray(coloured_filter(horizon, noise_beta), jnp.float32) if noise_beta else None

    def start(warm_start: Array | None) -> GaussianState:
        mean = jnp.zeros(shape, jnp.float32) if warm_start is None else jnp.clip(shift(warm_start), -1.0, 1.0)
        return mean, jnp.full(shape, init_std, jnp.float32)

    def draw(state: GaussianState, key: Key, num: int) -> Array:
        mean, std = state
        noise = jax.random.normal(key, (horizon, num, action_size), jnp.float32)
        if filter_matrix is not None:
            noise = jnp.einsum("ht,tna->hna", filter_matrix, noise)
        return jnp.clip(mean[:, None] + std[:, None] * noise, -1.0, 1.0)

    def refit(state: GaussianState, actions: Array, weights: Array) -> GaussianState:
        mean = jnp.einsum("k,hka->ha", weights, actions)
        var = jnp.einsum("k,hka->ha", weights, (actions - mean[:, None]) ** 2)
        var = var + min_std**2 if max_std is None else var
        std = jnp.where(var > 0, jnp.sqrt(jnp.where(var > 0, var, 1.0)), 0.0)  # whose gradient at 0 is 0, not infinite
        std = std if max_std is None else jnp.clip(std, min_std, max_std)
        kept = momentum, momentum if std_momentum is None else std_momentum
        if not any(kept):
            return mean, std
        both = zip(kept, state, (mean, std), strict=True)
        mean, std = (share * old + (1 - share) * new for share, old, new in both)
        return mean, std

    return Proposals(
        start, draw, refit, lambda state: state[0], lambda state: state[0], lambda state: jnp.mean(state[1])
    )


def categorical(horizon: int, action_size: int, *, min_prob: float, momentum: float = 0.0) -> Proposals:
    """One of A choices per step, as one-hot actions.

    Args:
        horizon: H.
        action_size: A, the number of choices.
        min_prob: weight of the uniform distribution mixed in at every refit, so that no choice vanishes.
        momentum: weight of the previous probabilities in a refit.

    Returns:
        Proposals whose state is the probabilities [H, A]. A warm start is averaged with the uniform distribution.

    Raises:
        ValueError: `min_prob` is above 1.
    """
    if min_prob > 1:
        raise ValueError(f"min_prob: expected at most 1, as it is a probability, got {min_prob}")

    def start(warm_start: Array | None) -> Array:
        uniform = jnp.full((horizon, action_size), 1.0 / action_size, jnp.float32)
        if warm_start is None:
            return uniform
        mixed = shift(warm_start) + uniform  # rows of zeros (no plan yet) become uniform
        return mixed / jnp.sum(mixed, -1, keepdims=True)

    def draw(state: Array, key: Key, num: int) -> Array:
        choices = jax.random.categorical(key, jnp.log(state)[:, None], shape=(horizon, num))
        return jax.nn.one_hot(choices, action_size, dtype=jnp.float32)

    def refit(state: Array, actions: Array, weights: Array) -> Array:
        new = jnp.einsum("k,hka->ha", weights, actions)
        new = (1 - min_prob) * new + min_prob / action_size
        return momentum * state + (1 - momentum) * new

    def plan(state: Array) -> Array:
        return jax.nn.one_hot(jnp.argmax(state, -1), action_size, dtype=jnp.float32)

    return Proposals(start, draw, refit, plan, lambda state: state, lambda state: jnp.mean(1.0 - jnp.max(state, -1)))


def shift(plan: Float[Array, "H *rest"]) -> Float[Array, "H *rest"]:
    """Shifts a plan [H, ...] by one decision: drops its first step and appends zeros."""
    return jnp.concatenate([plan[1:], jnp.zeros_like(plan[:1])])


def coloured_filter(horizon: int, beta: float) -> Float[np.ndarray, "H H"]:
    """A matrix [H, H] that turns white noise along H into noise of power 1 / frequency^beta and unit variance per step.

    Timmer & Koenig (1995), as iCEM uses it; frequency zero gets the power of the lowest nonzero one.
    """
    frequency = np.maximum(np.fft.rfftfreq(horizon), 1.0 / horizon)
    spectrum = np.fft.rfft(np.eye(horizon), axis=0) * frequency[:, None] ** (-beta / 2)
    matrix = np.fft.irfft(spectrum, n=horizon, axis=0)
    return matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
