"""What a planner maximises: from action sequences to one number each."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Float

from latentplan.types import Array, Belief, Key, Params

Evaluate = Callable[[Params, Belief, Array, Key], Array]
"""(params, belief, actions [H, N, A], key) -> returns [N]: all a planner ever knows of a model."""


@dataclass(frozen=True, kw_only=True)
class ObjectiveConfig:
    """What a plan is worth. Defaults: PlaNet, the expected sum of rewards."""

    discount: float = 1.0
    """Per decision."""
    risk_samples: int = 1
    """Rollouts of the stochastic model per action sequence; 1 is PlaNet's."""
    risk_penalty: float = 0.0
    """How many standard deviations of the return over these rollouts are taken off their mean."""

    def __post_init__(self) -> None:
        if not 0 <= self.discount <= 1:
            raise ValueError(f"objective.discount: expected 0 to 1, got {self.discount}")
        if self.risk_samples < 1 or (self.risk_penalty and self.risk_samples < 2):
            raise ValueError(
                "objective.risk_samples: expected at least 1, and at least 2 with a risk_penalty, "
                f"got {self.risk_samples} with risk_penalty {self.risk_penalty}"
            )


def sum_of_rewards(
    imagine_step: Callable[..., tuple[Belief, object]],
    reward: Callable[[Params, Belief], Array],
    *,
    discount: float = 1.0,
    value: Callable[[Params, Belief], Array] | None = None,
) -> Evaluate:
    """sum_{h=1..H} discount^(h-1) E[r | s_h] + discount^H v(s_H), rolled with sampled priors.

    Without a value: PlaNet algorithm 2, line 6. With one: TD-MPC eq. 3. The reward function is called once, on
    all H x N beliefs, after the scan.

    Args:
        imagine_step: (params, belief [N], action [N, A], key) -> (belief [N], anything).
        reward: (params, belief [H, N]) -> expected reward [H, N].
        discount: per decision. PlaNet uses 1.
        value: (params, belief [N]) -> [N], what follows the last belief.

    Returns:
        Evaluate, for one belief without batch axis.
    """

    def evaluate(params: Params, belief: Any, actions: Float[Array, "H N A"], key: Key) -> Float[Array, "N"]:
        horizon, candidates, _ = actions.shape
        start = jax.tree.map(lambda x: jnp.broadcast_to(x, (candidates, *x.shape)), belief)

        def step(belief, inputs):
            belief, _ = imagine_step(params, belief, *inputs)
            return belief, belief

        last, beliefs = jax.lax.scan(step, start, (actions, jax.random.split(key, horizon)))
        weights = discount ** jnp.arange(horizon, dtype=jnp.float32)
        total = weights @ reward(params, beliefs)
        return total if value is None else total + discount**horizon * value(params, last)

    return evaluate


def penalise_risk(evaluate: Evaluate, *, num_samples: int, penalty: float) -> Evaluate:
    """The mean less `penalty` times the std of the return over rollouts of a stochastic model.

    The rollouts differ by the model's own draws alone, so where it is unsure its plans are worth less
    (a penalty below zero seeks what it is unsure of).

    Args:
        evaluate: what one rollout is worth.
        num_samples: rollouts per action sequence.
        penalty: in standard deviations (population).

    Returns:
        Evaluate, at `num_samples` times the cost.
    """

    def penalised(params: Params, belief: Any, actions: Float[Array, "H N A"], key: Key) -> Float[Array, "N"]:
        horizon, candidates, size = actions.shape
        each = jnp.broadcast_to(actions[:, None], (horizon, num_samples, candidates, size))
        returns = evaluate(params, belief, each.reshape(horizon, -1, size), key).reshape(num_samples, candidates)
        return jnp.mean(returns, 0) - penalty * jnp.std(returns, 0)

    return penalised


def split_over_devices(evaluate: Evaluate, sharding: jax.sharding.Sharding) -> Evaluate:
    """Candidates rolled on several devices, each its share; returns gathered on all.

    Args:
        evaluate: what one device would do.
        sharding: of actions [H, N, A], for example `NamedSharding(mesh, PartitionSpec(None, "candidates"))`.

    Returns:
        Evaluate with the same values. Draws do not depend on the split where JAX's threefry is partitionable
        (its default).
    """

    def evaluate_shares(params: Params, belief: Any, actions: Float[Array, "H N A"], key: Key) -> Float[Array, "N"]:
        return evaluate(params, belief, jax.lax.with_sharding_constraint(actions, sharding), key)

    return evaluate_shares
