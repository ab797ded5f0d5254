"""Aliases of arrays and of pytrees of arrays."""

from typing import Any, TypeVar

import jax

Array = jax.Array
Key = jax.Array  # a typed key, from jax.random.key
Params = Any  # an immutable pytree of arrays
AnyBelief = Any  # a model's belief, treated as opaque: any pytree of arrays
AnyLatent = Any  # a step's latent state: a distribution or a point estimate
WarmStart = Any  # what a planner passes on to the next decision: any pytree of arrays
Metrics = dict[str, Array]

BeliefT = TypeVar("BeliefT")  # for functions that return the same belief type that they take
