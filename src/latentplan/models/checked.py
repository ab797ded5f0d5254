"""World models whose arguments are checked while JAX traces, so compiled programs pay nothing."""

import math
from collections.abc import Mapping

from latentplan.checks import described, expect_shape
from latentplan.types import AnyBelief, Array, EnvSpec, Key, Params, WorldModel


def checked_model(model: WorldModel, spec: EnvSpec, embed_size: int) -> WorldModel:
    """A world model that refuses arrays of other shapes than those of its environment, in words.

    Args:
        model: built for the environment.
        spec: of the environment.
        embed_size: E, the width of what `encode` returns.

    Returns:
        WorldModel of the same values.
    """
    action_shape = ("...", spec.action_size)

    def initial(batch_shape: tuple[int, ...]) -> AnyBelief:
        if not isinstance(batch_shape, tuple | list):
            got = batch_shape if isinstance(batch_shape, int) else described(batch_shape)
            raise ValueError(f"initial: expected a batch_shape such as (3,), or () for one belief, got {got}")
        return model.initial(tuple(batch_shape))

    def preprocess(observation: Mapping[str, Array], key: Key) -> dict[str, Array]:
        spec.check_names(observation)
        for name, space in spec.observations.items():
            expect_shape(f"preprocess: observation {name}", observation[name], ("...", *space.shape))
        return model.preprocess(observation, key)

    def encode(params: Params, observation: Mapping[str, Array]) -> Array:
        spec.check_names(observation)
        for name, space in spec.observations.items():
            flat = ("...", math.prod(space.shape))
            expect_shape(f"encode: observation {name}", observation[name], flat, "give what preprocess returns")
        return model.encode(params, observation)

    def observe_step(params: Params, belief: AnyBelief, action: Array, embed: Array, is_first: Array, key: Key):
        expect_shape("observe_step: action", action, action_shape)
        expect_shape("observe_step: embed", embed, ("...", embed_size), "give what encode returns")
        return model.observe_step(params, belief, action, embed, is_first, key)

    def imagine_step(params: Params, belief: AnyBelief, action: Array, key: Key):
        expect_shape("imagine_step: action", action, action_shape)
        return model.imagine_step(params, belief, action, key)

    return model._replace(
        initial=initial, preprocess=preprocess, encode=encode, observe_step=observe_step, imagine_step=imagine_step
    )
