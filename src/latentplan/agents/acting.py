"""From an observation to an action, for any model and any planner."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from latentplan.models.rollout import imagine
from latentplan.planners import for_each_belief
from latentplan.types import Array, Belief, Carry, Key, Params, Planner, WorldModel

PROMISE_SAMPLES = 32  # rollouts that a plan's expected rewards are averaged over


def make_act(model: WorldModel, planner: Planner, noise: float) -> Callable:
    """Act = explore . planner . filter, for any model and planner.

    Args:
        model: filters the observation into a belief.
        planner: for one belief; plans for every environment here.
        noise: std of the exploration noise, in action units.

    Returns:
        `Agent.act`.
    """
    plan = for_each_belief(planner)

    def act(
        params: Params, carry: Carry, observation: Array, is_first: Array, key: Key, *, mode: str
    ) -> tuple[Array, Carry, dict[str, Array]]:
        if mode not in ("explore", "eval"):
            raise ValueError(f"mode: expected 'explore' or 'eval', got {mode!r}")
        pixel_key, filter_key, plan_key, noise_key = jax.random.split(key, 4)
        embed = model.encode(params, model.preprocess(observation, pixel_key))
        belief, _ = model.observe_step(params, carry.belief, carry.action, embed, is_first, filter_key)
        last_plan = jnp.where(is_first[:, None, None], 0.0, carry.plan)
        keys = jax.random.split(plan_key, len(is_first))
        planned = plan(params, belief, keys, last_plan)
        action = planned.action
        if mode == "explore":
            action = action + noise * jax.random.normal(noise_key, action.shape)
        action = jnp.clip(action, -1.0, 1.0)
        info = planned.info
        if mode == "eval":
            promises = jax.vmap(planned_rewards, (None, 0, 0, 0))
            keys = jax.random.split(noise_key, len(is_first))
            info = info | {"planned_rewards": promises(params, belief, planned.plan, keys)}
        return action, Carry(belief, action, planned.plan), info

    def planned_rewards(params: Params, belief: Belief, plan: Array, key: Key) -> Array:
        start = jax.tree.map(lambda x: jnp.broadcast_to(x, (PROMISE_SAMPLES, *x.shape)), belief)
        actions = jnp.broadcast_to(plan[:, None], (len(plan), PROMISE_SAMPLES, plan.shape[-1]))
        beliefs, _ = imagine(model, params, start, actions, key)
        return jnp.mean(model.reward(params, beliefs).mean[..., 0], 1)

    return act
