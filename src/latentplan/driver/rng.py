"""A run's random numbers as functions of (seed, stream, step), so that resuming needs no saved generator state."""

import jax
import numpy as np

from latentplan.types import Key

STREAMS = ("init", "explore", "learn", "evaluate", "random", "env_collect", "env_evaluate", "held_out")


def stream_key(seed: int, stream: str, step: int = 0) -> Key:
    """The key of one step of one stream.

    Args:
        seed: of the run.
        stream: one of STREAMS, the purpose of the key.
        step: position in that stream (episodes, updates, evaluations, ...).

    Returns:
        A typed key.
    """
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), STREAMS.index(stream)), step)


def env_seeds(seed: int, stream: str, first: int, count: int) -> list[int]:
    """Seeds for the environments' resets, one per episode.

    Args:
        seed: of the run.
        stream: one of STREAMS.
        first: index of the first episode in this stream.
        count: number of seeds.

    Returns:
        `count` integers from 0 to 2^31 - 1: many environments keep a seed in 32 bits with a sign.
    """
    root = (seed, STREAMS.index(stream))
    return [int(np.random.SeedSequence((*root, first + i)).generate_state(1)[0]) % 2**31 for i in range(count)]
