"""Acting: filter the observation, plan, explore; for any model and planner."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from latentplan.models.rollout import imagine
from latentplan.planners import for_each_belief
from latentplan.types import AnyBelief, Array, Carry, Key, Params, Planner, TrainState, WarmStart, WorldModel

PREDICTION_SAMPLES = 32  # rollouts over which a plan's predicted rewards are averaged


Explore = Callable[[Array, Key, dict[str, Array]], Array]
"""(action [num_envs, A], key, the planner's info [num_envs, ...]) -> the exploratory action [num_envs, A]."""


def gaussian_noise(std: float) -> Explore:
    """Adds N(0, std^2) and clips to [-1, 1] (PlaNet section 3)."""
    return lambda action, key, info: _noisy(action, key, std)


def planned_noise(std: float) -> Explore:
    """Adds noise with the std that the planner fitted to the first action, as in TD-MPC, or `std` if it fits none."""
    return lambda action, key, info: _noisy(action, key, info.get("explore_std", std))


def _noisy(action: Array, key: Key, std: Array | float) -> Array:
    return jnp.clip(action + std * jax.random.normal(key, action.shape, action.dtype), -1.0, 1.0)


def random_choices(share: float) -> Explore:
    """Replaces the planned one-hot action by a uniformly random one with probability `share` (epsilon-greedy).

    Raises:
        ValueError: `share` is above 1.
    """
    if share > 1:
        raise ValueError(f"action_noise: expected at most 1, as it is a probability for discrete actions, got {share}")

    def explore(action: Array, key: Key, info: dict[str, Array]) -> Array:
        del info
        which_key, choice_key = jax.random.split(key)
        size = action.shape[-1]
        choice = jax.nn.one_hot(jax.random.randint(choice_key, action.shape[:-1], 0, size), size, dtype=action.dtype)
        return jnp.where(jax.random.bernoulli(which_key, share, (*action.shape[:-1], 1)), choice, action)

    return explore


def make_initial(
    init: Callable[[Key], TrainState], model: WorldModel, planner: Planner, action_size: int
) -> Callable[[int], Carry]:
    """Builds `Agent.initial`: the carry before an episode's first decision, zeros of the shapes that `act` returns.

    Args:
        init: `Agent.init`; used for its shapes only.
        model: filters observations.
        planner: for one belief.
        action_size: A.

    Returns:
        `Agent.initial`.
    """

    @functools.cache  # every episode asks; tracing takes time, and JAX keeps what it traced
    def warm_start_shapes() -> WarmStart:
        key = jax.random.key(0)
        return jax.eval_shape(planner, jax.eval_shape(init, key).params, model.initial(()), key).warm_start

    def initial(num_envs: int) -> Carry:
        warm_start = jax.tree.map(lambda x: jnp.zeros((num_envs, *x.shape), x.dtype), warm_start_shapes())
        return Carry(model.initial((num_envs,)), jnp.zeros((num_envs, action_size), jnp.float32), warm_start)

    return initial


def make_act(model: WorldModel, planner: Planner, explore: Explore, *, collecting: Planner | None = None) -> Callable:
    """Builds `Agent.act`: filter, then plan, then explore, for any model and planner.

    Args:
        model: filters the observation into a belief.
        planner: for one belief; batched over environments here.
        explore: perturbs the planned action in mode "explore".
        collecting: the planner in mode "explore", sharing the warm start; None uses `planner`.

    Returns:
        `Agent.act`.
    """
    plans = {"eval": for_each_belief(planner), "explore": for_each_belief(collecting or planner)}

    def act(
        params: Params, carry: Carry, observation: dict[str, Array], is_first: Array, key: Key, *, mode: str
    ) -> tuple[Array, Carry, dict[str, Array]]:
        if mode not in ("explore", "eval"):
            raise ValueError(f"mode: expected 'explore' or 'eval', got {mode!r}")
        pixel_key, filter_key, plan_key, noise_key = jax.random.split(key, 4)
        embed = model.encode(params, model.preprocess(observation, pixel_key))
        belief, _ = model.observe_step(params, carry.belief, carry.action, embed, is_first, filter_key)
        forget = jax.vmap(lambda first, x: jnp.where(first, jnp.zeros_like(x), x))
        warm_start = jax.tree.map(lambda x: forget(is_first, x), carry.warm_start)
        keys = jax.random.split(plan_key, len(is_first))
        planned = plans[mode](params, belief, keys, warm_start)
        action = explore(planned.action, noise_key, planned.info) if mode == "explore" else planned.action
        info = planned.info
        if mode == "eval":
            promises = jax.vmap(planned_rewards, (None, 0, 0, 0))
            keys = jax.random.split(noise_key, len(is_first))
            info = info | {"planned_rewards": promises(params, belief, planned.plan, keys)}
        return action, Carry(belief, action, planned.warm_start), info

    def planned_rewards(params: Params, belief: AnyBelief, plan: Array, key: Key) -> Array:
        start = jax.tree.map(lambda x: jnp.broadcast_to(x, (PREDICTION_SAMPLES, *x.shape)), belief)
        actions = jnp.broadcast_to(plan[:, None], (len(plan), PREDICTION_SAMPLES, plan.shape[-1]))
        beliefs, _ = imagine(model, params, start, actions, key)
        return jnp.mean(model.reward(params, beliefs).mean[..., 0], 1)

    return act
