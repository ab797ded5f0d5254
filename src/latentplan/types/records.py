"""Recorded steps: episodes, and windows drawn from replay."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from latentplan.types.arrays import Array


class Batch(NamedTuple):
    """Recorded steps. Record t holds what arrived together with observation t.

    An episode of n decisions has n + 1 records: the first has a zero action and a zero reward, the last
    holds the final observation, so no reward and no final step is lost.

    Attributes:
        observation: by the names of `EnvSpec.observations`, each [..., *shape], as the environment gave it (uint8
            images or float32 vectors).
        action: [..., A], the action that led to this observation, in [-1, 1]; zero where `is_first`.
        reward: [...], the sum over the repeated control steps that led to this observation.
        is_first: [...] bool, the observation was given by a reset.
        is_last: [...] bool, the episode ends here, by termination or by the time limit.
        is_terminal: [...] bool, the episode ended here by termination: no future return.
    """

    observation: Any
    action: Any
    reward: Any
    is_first: Any
    is_last: Any
    is_terminal: Any


class Sample(NamedTuple):
    """Windows of recorded steps, drawn from replay.

    Attributes:
        batch: [T, B, ...], B windows of T consecutive records, time-major.
        weight: [B], importance weight of each window in the loss, at most 1; all ones under uniform sampling.
        indices: [B] int, each window's start in the replay memory, needed to update its priority.
    """

    batch: Batch
    weight: Array
    indices: Array

    @classmethod
    def uniform(cls, batch: Batch) -> "Sample":
        """Wraps windows [T, B, ...] that were not drawn from replay, with equal weights."""
        number = batch.reward.shape[1]
        return cls(batch, jnp.ones(number, jnp.float32), jnp.arange(number))


class Trajectory(NamedTuple):
    """One episode with the agent's per-decision infos.

    Attributes:
        batch: [n + 1, ...], its records.
        infos: name -> [n, ...], the info that `Agent.act` returned at each decision.
    """

    batch: Batch
    infos: dict[str, Any]
