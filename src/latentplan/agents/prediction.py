"""Open-loop prediction, for any model: what it expects to see once the observations are taken away."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from latentplan.models.rollout import imagine, observe
from latentplan.types import Batch, Key, OpenLoop, Params, WorldModel


def make_open_loop(model: WorldModel) -> Callable:
    """Prediction with the observations taken away after a few steps.

    Args:
        model: the world model.

    Returns:
        `Agent.open_loop`: (params, batch [B, T], key, *, context) -> OpenLoop.
    """

    def open_loop(params: Params, batch: Batch, key: Key, *, context: int) -> OpenLoop:
        pixel_key, filter_key, imagine_key = jax.random.split(key, 3)
        time_major = jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), batch)
        observation = model.preprocess(time_major.observation, pixel_key)
        seen = jax.tree.map(lambda x: x[:context], time_major)
        initial = model.initial(time_major.reward.shape[1:])
        embeds = model.encode(params, observation[:context])
        beliefs, _ = observe(model, params, initial, seen.action, embeds, seen.is_first, filter_key)
        last = jax.tree.map(lambda x: x[-1], beliefs)
        future, _ = imagine(model, params, last, time_major.action[context:], imagine_key)
        whole = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), beliefs, future)
        return OpenLoop(
            *(
                jnp.swapaxes(x, 0, 1)
                for x in (
                    model.postprocess(observation),
                    model.postprocess(model.decode(params, whole).mean),
                    time_major.reward,
                    model.reward(params, whole).mean[..., 0],
                )
            )
        )

    return open_loop
