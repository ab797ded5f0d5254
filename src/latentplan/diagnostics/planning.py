"""How planning went at evaluation, and what came of the rewards that it promised."""

from dataclasses import replace

import jax.numpy as jnp

from latentplan.diagnostics.subject import Subject
from latentplan.types import Array, Diagnostic, Evidence, Key, Measurement, Params

PLANNED = "planned_rewards"


def make_planning(subject: Subject) -> Diagnostic:
    """Means over decisions of what the agent reported, and planned against realised rewards.

    A model that is exploited promises more than comes: planned above realised. A planner that replans at every
    decision may also get more than a single plan promised.

    Args:
        subject: unused; planning is measured by what the agent reported while it acted, see `Agent.act`.

    Returns:
        Diagnostic of, as far as the agent reports: each of its infos, averaged over decisions; `planned_rewards` and
        `realised_rewards` [H], by how far ahead they lay, over the decisions that had H more to come;
        `planned_return` and `realised_return`, their sums.
    """
    del subject

    def select(evidence: Evidence) -> Evidence | None:
        infos = dict(evidence.infos)
        if PLANNED in infos and int(evidence.valid.sum(0).max()) <= infos[PLANNED].shape[-1]:
            del infos[PLANNED]  # no decision had so many to come
        rewards = evidence.batch._replace(observation=None, action=None)
        return replace(evidence, batch=rewards, infos=infos) if infos else None

    def measure(params: Params, evidence: Evidence, key: Key) -> Measurement:
        del params, key
        decided = evidence.valid & ~evidence.batch.is_last
        others = {name: x for name, x in evidence.infos.items() if name != PLANNED}
        numbers = {name: _mean(x, decided) for name, x in others.items()}
        if PLANNED in evidence.infos:
            numbers |= _promises(evidence)
        return Measurement(numbers)

    return Diagnostic(measure, select=select)


def _promises(evidence: Evidence) -> dict[str, Array]:
    """Planned and realised rewards, over the decisions that had H more to come in their episode."""
    planned, reward = evidence.infos[PLANNED], evidence.batch.reward
    horizon, starts = planned.shape[-1], len(reward) - planned.shape[-1]
    realised = jnp.stack([reward[1 + i : 1 + i + starts] for i in range(horizon)], -1)  # [T - H, B, H]
    begun = jnp.cumsum(evidence.batch.is_first, 0)
    whole = evidence.valid[horizon:] & (begun[horizon:] == begun[:starts])
    means = {"planned": _mean(planned[:starts], whole), "realised": _mean(realised, whole)}
    rewards = {f"{name}_rewards": x for name, x in means.items()}
    return rewards | {f"{name}_return": jnp.sum(x) for name, x in means.items()}


def _mean(x: Array, counted: Array) -> Array:
    """[T, B, ...] -> [...], the mean over the steps that count."""
    mask = counted.reshape(*counted.shape, *[1] * (x.ndim - 2))
    return jnp.sum(jnp.where(mask, x, 0.0), (0, 1)) / jnp.sum(counted)
