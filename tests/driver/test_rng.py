"""Random numbers are a function of (seed, stream, step) and of nothing else."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from latentplan.driver.rng import STREAMS, env_seeds, stream_key


def data(key):
    return tuple(np.asarray(jax.random.key_data(key)).tolist())


def test_keys_are_typed_scalars():
    key = stream_key(0, "init")
    assert jnp.issubdtype(key.dtype, jax.dtypes.prng_key) and key.shape == ()


def test_the_same_three_numbers_give_the_same_key():
    assert data(stream_key(3, "learn", 12)) == data(stream_key(3, "learn", 12))
    assert data(stream_key(3, "init")) == data(stream_key(3, "init", 0))


def test_every_seed_stream_and_step_has_its_own_key():
    cases = list(itertools.product((0, 1, 2), STREAMS, (0, 1, 2, 1000)))
    assert len({data(stream_key(*case)) for case in cases}) == len(cases)


def test_the_streams_keep_their_places():
    """A run's numbers hang on a stream's index: new streams go to the end."""
    assert STREAMS[:7] == ("init", "explore", "learn", "evaluate", "random", "env_collect", "env_evaluate")


def test_an_unknown_stream_is_refused():
    with pytest.raises(ValueError):
        stream_key(0, "dream")
    with pytest.raises(ValueError):
        env_seeds(0, "dream", 0, 1)


def test_seeds_belong_to_episodes_and_not_to_calls():
    """One environment at a time or four: episode i begins alike."""
    together = env_seeds(7, "env_collect", 0, 8)
    assert together == [env_seeds(7, "env_collect", i, 1)[0] for i in range(8)]
    assert together[4:] == env_seeds(7, "env_collect", 4, 4)


def test_seeds_are_distinct_32_bit_integers():
    seeds = [
        seed
        for run, stream in itertools.product((0, 1), ("env_collect", "env_evaluate"))
        for seed in env_seeds(run, stream, 0, 100)
    ]
    assert len(set(seeds)) == len(seeds) == 400
    assert all(type(seed) is int and 0 <= seed < 2**32 for seed in seeds)
    assert env_seeds(0, "env_collect", 5, 0) == []
