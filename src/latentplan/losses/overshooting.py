"""Latent overshooting: multi-step priors compared with one-step posteriors (PlaNet section 4)."""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float

from latentplan.types import AnyBelief, AnyLatent, Array, ImagineStep, Key, Params

Average = Literal["released", "eq7"]
"""How the KL terms of all distances are combined into one loss; see `average_distances`."""


class Overshoot(NamedTuple):
    """Predictions of step t made from the posterior of step t - d, for d = 1..D.

    Index [d - 1, t] refers to step t at every distance.

    Attributes:
        belief: [D, T, ...], sampled from the d-step prior.
        prior: [D, T, ..., S], the d-step prior.
        valid: [D, T, ...] bool, whether step t - d lies in the window and in the same episode.
            Distance 1 is valid everywhere, as in the ELBO: a first step is predicted from the initial belief.
    """

    belief: AnyBelief
    prior: AnyLatent
    valid: Bool[Array, "D T *batch"]


def overshoot(
    imagine_step: ImagineStep,
    params: Params,
    previous: AnyBelief,
    actions: Float[Array, "T *batch A"],
    is_first: Bool[Array, "T *batch"],
    key: Key,
    *,
    distance: int,
) -> Overshoot:
    """Rolls the prior `distance` steps from every posterior belief at once.

    b_1[t] ~ p(s_t | q_{t-1}, a_t) and b_{d+1}[t] ~ p(s_t | b_d[t-1], a_t), with a_t the action that led
    to step t. The first roll starts from *posterior* beliefs, so distance 1 is the ELBO's own prior.

    Args:
        imagine_step: (params, belief, action, key) -> (belief, prior).
        params: of the model.
        previous: [T, ...], the posterior belief before step t; the initial belief where step t starts a
            window or an episode.
        actions: [T, ..., A], zero where `is_first`.
        is_first: [T, ...] bool.
        key: for the sampled priors.
        distance: D >= 1. D predictions per step are made; those that leave the window are not valid.

    Returns:
        Overshoot.
    """

    def shift_right(x: Array) -> Array:  # moves entry t - 1 to t; entry 0 is masked by `valid`
        return jnp.concatenate([x[:1], x[:-1]])

    def roll(carry: tuple[AnyBelief, Array], key: Key):
        start, valid = carry
        belief, prior = imagine_step(params, start, actions, key)
        next_valid = shift_right(valid).at[0].set(False) & ~is_first
        return (jax.tree.map(shift_right, belief), next_valid), Overshoot(belief, prior, valid)

    from_posterior = (~is_first).at[0].set(False)
    _, predictions = jax.lax.scan(roll, (previous, from_posterior), jax.random.split(key, distance))
    return predictions._replace(valid=predictions.valid.at[0].set(True))


def latent_overshooting(
    divergence: Callable[[AnyLatent, AnyLatent], Array], posterior: AnyLatent, prediction: Overshoot
) -> Float[Array, "D T *batch"]:
    """KL(q_t || p_d(s_t | q_{t-d})) for d = 1..D: the terms of PlaNet eq. 7, per step and distance.

    Distance 1 is the ELBO's KL with its gradients. For d > 1 the posterior is a fixed target
    (stop-gradient), so that multi-step priors move towards posteriors and not the reverse.

    Args:
        divergence: (posterior, prior) -> KL in nats.
        posterior: [T, ..., S].
        prediction: from `overshoot`.

    Returns:
        [D, T, ...], in nats, zero where not valid.
    """
    target = jax.tree.map(lambda x: x[None], jax.lax.stop_gradient(posterior))  # broadcasts over the further distances
    first, further = (jax.tree.map(lambda x, part=part: x[part], prediction.prior) for part in (0, slice(1, None)))
    kl = jnp.concatenate([divergence(posterior, first)[None], divergence(target, further)])
    return jnp.where(prediction.valid, kl, 0.0)


def mean_per_distance(values: Float[Array, "D T *batch"], valid: Bool[Array, "D T *batch"]) -> Float[Array, "D"]:
    """Averages over the valid steps of each distance.

    Args:
        values: [D, T, ...].
        valid: [D, T, ...] bool.

    Returns:
        [D]; zero for distances longer than the window.
    """
    axes = tuple(range(1, values.ndim))
    return jnp.sum(jnp.where(valid, values, 0.0), axes) / jnp.maximum(jnp.sum(valid, axes, dtype=values.dtype), 1)


def average_distances(per_distance: Float[Array, "D"], beta: Sequence[float], average: Average) -> Float[Array, ""]:
    """The KL terms of distances 1 to D as one loss.

    "released": beta_1 KL_1 + 1/(D - 1) sum_{d > 1} beta_d KL_d, as PlaNet's first release computes it: the ELBO's own
    KL keeps its weight, and the mean over further distances is added. "eq7": 1/D sum_d beta_d KL_d, as PlaNet's
    equation 7 is written: the ELBO's KL weighs 1/D of it. At D = 1 the two are the same.

    Args:
        per_distance: [D], mean KL per distance, in nats.
        beta: weights per distance, starting with distance 1; the last one applies to all further distances.
        average: "released" or "eq7".

    Returns:
        Scalar, in nats.
    """
    distance = len(per_distance)
    weighted = jnp.array([beta[min(d, len(beta) - 1)] for d in range(distance)], per_distance.dtype) * per_distance
    if average == "eq7" or distance == 1:
        return jnp.mean(weighted)
    return weighted[0] + jnp.mean(weighted[1:])
