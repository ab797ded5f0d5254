"""Planner statistics at evaluation, and planned against realised rewards."""

from dataclasses import replace

import jax.numpy as jnp

from latentplan.diagnostics.subject import Subject
from latentplan.types import Array, Diagnostic, Evidence, Key, Measurement, Params

PLANNED = "planned_rewards"


def make_planning(subject: Subject) -> Diagnostic:
    """Means of the agent's infos over decisions, and planned against realised rewards.

    Planned rewards above realised ones mean that the planner exploits model errors. Replanning at every decision can
    also realise more than any single plan predicted.

    Args:
        subject: unused; all results derive from the infos that `Agent.act` returned.

    Returns:
        Diagnostic of each info, averaged over decisions; and, if the agent reports `planned_rewards`: `planned_rewards`
        and `realised_rewards` [H] by distance, averaged over decisions with at least H more to come in their episode,
        and `planned_return` and `realised_return`, their sums.
    """
    del subject

    def select(evidence: Evidence) -> Evidence | None:
        infos = dict(evidence.infos)
        if PLANNED in infos and int(evidence.valid.sum(0).max()) <= infos[PLANNED].shape[-1]:
            del infos[PLANNED]  # no decision has H more to come
        rewards = evidence.batch._replace(observation=None, action=None)
        return replace(evidence, batch=rewards, infos=infos) if infos else None

    def measure(params: Params, evidence: Evidence, key: Key) -> Measurement:
        del params, key
        decided = evidence.valid & ~evidence.batch.is_last
        others = {name: x for name, x in evidence.infos.items() if name != PLANNED}
        numbers = {name: _mean(x, decided) for name, x in others.items()}
        if PLANNED in evidence.infos:
            numbers |= _planned_and_realised(evidence)
        return Measurement(numbers)

    return Diagnostic(measure, select=select)


def _planned_and_realised(evidence: Evidence) -> dict[str, Array]:
    """Planned and realised rewards, averaged over decisions with at least H more to come in their episode."""
    planned, reward = evidence.infos[PLANNED], evidence.batch.reward
    horizon, starts = planned.shape[-1], len(reward) - planned.shape[-1]
    realised = jnp.stack([reward[1 + i : 1 + i + starts] for i in range(horizon)], -1)  # [T - H, B, H]
    begun = jnp.cumsum(evidence.batch.is_first, 0)
    whole = evidence.valid[horizon:] & (begun[horizon:] == begun[:starts])
    means = {"planned": _mean(planned[:starts], whole), "realised": _mean(realised, whole)}
    rewards = {f"{name}_rewards": x for name, x in means.items()}
    return rewards | {f"{name}_return": jnp.sum(x) for name, x in means.items()}


def _mean(x: Array, counted: Array) -> Array:
    """[T, B, ...] -> [...], the mean over the steps where `counted`."""
    mask = counted.reshape(*counted.shape, *[1] * (x.ndim - 2))
    return jnp.sum(jnp.where(mask, x, 0.0), (0, 1)) / jnp.sum(counted, dtype=jnp.float32)
