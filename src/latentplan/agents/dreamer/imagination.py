"""Rollouts of the actor in the model, on which actor and critic are trained in every version of Dreamer."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Float

from latentplan import distributions
from latentplan.config import Bound, Config, NonNegativeFloat, NonNegativeInt, UnitInterval
from latentplan.models.actor import ACTOR_SHAPES, ActorConfig
from latentplan.models.rollout import imagine_with
from latentplan.models.world_model import feature
from latentplan.nets.network import Network
from latentplan.planners.objectives import continue_probability
from latentplan.types import Array, Belief, Key, Params, WorldModel

Steps = TypeVar("Steps")  # a pytree of arrays [T, B, ...]


@dataclass(frozen=True, kw_only=True)
class BehaviourConfig(Config):
    """Imagination and returns for training actor and critic. Defaults: Dreamer V1 (arXiv 1912.01603, appendix A)."""

    horizon: Annotated[int, Bound(ge=2)] = 15
    """H, imagination horizon in decisions."""
    discount: UnitInterval = 0.99
    """Discount per decision. Dreamer V2 on Atari: 0.999; V3: 1 - 1/333."""
    lam: UnitInterval = 0.95
    """Lambda of the returns."""
    entropy_scale: NonNegativeFloat = 0.0
    """Weight of the actor's entropy. Dreamer V2: 1e-4 on the control suite, 1e-3 on Atari; V3: 3e-4."""
    starts: NonNegativeInt = 0
    """Imagine from this many last steps of each window; 0, or more than there are, means all."""


def check_entropy(actor: ActorConfig) -> None:
    """Raises if the actor's entropy has no closed form.

    Raises:
        ConfigError: naming the setting.
    """
    known = " or ".join(name for name, shape in ACTOR_SHAPES.items() if shape.has_entropy)
    actor.require(actor.shape.has_entropy, "kind", f"{known}, whose entropy has a closed form", "or take Dreamer V1")


def resolve_gradient(gradient: str, *, discrete: bool) -> str:
    """Resolves `actor_gradient` auto: REINFORCE for discrete actions, dynamics back-propagation for continuous ones."""
    return ("reinforce" if discrete else "dynamics") if gradient == "auto" else gradient


class Rollout(NamedTuple):
    """Imagined trajectories from B beliefs; step 0 is the start.

    Attributes:
        beliefs: [H + 1, B, ...].
        features: [H + 1, B, F].
        actions: [H, B, A], action t is taken at step t; before clipping to [-1, 1] for the model.
        reward: [H + 1, B], the expected reward for reaching each step.
        discount: [H + 1, B], the discount of the future after each step.
    """

    beliefs: Belief
    features: Array
    actions: Array
    reward: Array
    discount: Array


Imagine = Callable[[Params, Params, Belief, Key], Rollout]
"""(params, actor_params, starts [B, ...], key) -> Rollout."""


def imagination_starts(steps: Steps, last: int) -> Steps:
    """Selects the steps from which imagination starts, with a stop-gradient.

    Args:
        steps: a pytree of arrays [T, B, ...].
        last: number of last steps of each window; 0 for all.

    Returns:
        The same pytree, [last * B, ...].
    """
    return jax.tree.map(lambda x: x[-last:].reshape(-1, *x.shape[2:]), jax.lax.stop_gradient(steps))


def make_imagination(model: WorldModel, actor: Network, config: BehaviourConfig) -> Imagine:
    """Builds imagination: features reach the actor with a stop-gradient; gradients flow from rewards to actions.

    Args:
        model: the world model.
        actor: from features to distributions over actions.
        config: horizon and discount.

    Returns:
        Imagine.
    """
    continues = continue_probability(model)

    def imagine(params: Params, actor_params: Params, starts: Belief, key: Key) -> Rollout:
        def policy(belief: Belief, key: Key) -> Array:
            seen = jax.lax.stop_gradient(feature(belief))
            return distributions.sample(actor.apply(actor_params, seen), key)

        beliefs, actions = imagine_with(model, params, starts, policy, key, horizon=config.horizon)
        reward = model.reward(params, beliefs).mean[..., 0]
        discount = continues(params, beliefs) if continues else jnp.full_like(reward, config.discount)
        return Rollout(beliefs, feature(beliefs), actions, reward, discount)

    return imagine


def imagination_metrics(
    imagined: Rollout, returns: Float[Array, "H *batch"], value: Float[Array, "..."]
) -> dict[str, Float[Array, ""]]:
    """Metrics: means of rewards, returns and critic values over imagined steps."""
    return {
        "imagined_reward": jnp.mean(imagined.reward[1:]),
        "imagined_return": jnp.mean(returns),
        "value": jnp.mean(value),
    }
