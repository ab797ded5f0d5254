"""What acting is composed of."""

import chex
import jax
import jax.numpy as jnp

from latentplan.agents.acting import make_initial
from latentplan.types import Carry, PlanOutput, TrainState, WorldModel


def test_only_the_first_episode_traces_the_planner_for_the_shapes_of_its_warm_start():
    """JAX keeps what it traced, so memory would grow with every episode."""
    traced = []

    def planner(params, belief, key, warm_start=None):
        traced.append(params.shape)
        return PlanOutput(jnp.zeros(2), jnp.zeros((3, 2)), jnp.ones((3, 2), jnp.int32), {})

    nothing = dict.fromkeys(WorldModel._fields)
    model = WorldModel(**nothing | {"initial": lambda shape: jnp.zeros((*shape, 5))})
    initial = make_initial(lambda key: TrainState(jnp.zeros(7), (), jnp.int32(0)), model, planner, action_size=2)
    carries = initial(1), jax.jit(initial, static_argnums=0)(4), initial(1)
    assert traced == [(7,)]
    expected = Carry(jnp.zeros((4, 5)), jnp.zeros((4, 2)), jnp.zeros((4, 3, 2), jnp.int32))
    chex.assert_trees_all_equal(carries[1], expected)
    chex.assert_trees_all_equal(carries[0], carries[2], jax.tree.map(lambda x: x[:1], expected))
