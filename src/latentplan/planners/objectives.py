"""What a planner maximises: from action sequences to one number each."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Float

from latentplan.types import Array, Belief, Key, Params

Evaluate = Callable[[Params, Belief, Array, Key], Array]
"""(params, belief, actions [H, N, A], key) -> returns [N]: all a planner ever knows of a model."""


def sum_of_rewards(
    imagine_step: Callable[..., tuple[Belief, object]],
    reward: Callable[[Params, Belief], Array],
    *,
    discount: float = 1.0,
) -> Evaluate:
    """sum_{h=1..H} discount^(h-1) E[r | s_h], rolled with sampled priors (PlaNet algorithm 2, line 6).

    The reward function is called once, on all H x N beliefs, after the scan.

    Args:
        imagine_step: (params, belief [N], action [N, A], key) -> (belief [N], anything).
        reward: (params, belief [H, N]) -> expected reward [H, N].
        discount: per decision. PlaNet uses 1.

    Returns:
        Evaluate, for one belief without batch axis.
    """

    def evaluate(params: Params, belief: Any, actions: Float[Array, "H N A"], key: Key) -> Float[Array, "N"]:
        horizon, candidates, _ = actions.shape
        start = jax.tree.map(lambda x: jnp.broadcast_to(x, (candidates, *x.shape)), belief)

        def step(belief, inputs):
            belief, _ = imagine_step(params, belief, *inputs)
            return belief, belief

        _, beliefs = jax.lax.scan(step, start, (actions, jax.random.split(key, horizon)))
        weights = discount ** jnp.arange(horizon, dtype=jnp.float32)
        return weights @ reward(params, beliefs)

    return evaluate
