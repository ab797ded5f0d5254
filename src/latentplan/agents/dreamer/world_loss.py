"""The world model's loss, shared by all versions of Dreamer."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated

import jax
import jax.numpy as jnp
import optax

from latentplan import distributions
from latentplan.agents.config import KLWeightConfig
from latentplan.config import Config, NonNegativeFloat, OneOf
from latentplan.losses.kl import balanced, free_nats_floor
from latentplan.models.rollout import filter_windows
from latentplan.models.world_model import WorldModelConfig
from latentplan.types import Array, Batch, Belief, Key, Metrics, Params, WorldModel

REWARDS: dict[str, Callable[[Array], Array]] = {"raw": lambda x: x, "tanh": jnp.tanh, "sign": jnp.sign}
"""Transformation of the reward targets."""

WorldLoss = Callable[..., tuple[Array, tuple[Metrics, Belief]]]
"""(params, batch [T, B], key, updates taken = 0) -> (loss in nats per step, (metrics, beliefs [T, B, ...]))."""


@dataclass(frozen=True, kw_only=True)
class ModelLossConfig(Config):
    """Weights of the world model's loss. Defaults: Dreamer V1 (arXiv 1912.01603, appendix A; danijar/dreamer)."""

    reward_scale: NonNegativeFloat = 1.0
    """Weight of the reward's log-likelihood."""
    terminal_scale: NonNegativeFloat = 10.0
    """Weight of the continuation's log-likelihood, with `predict_terminal`."""
    dynamics_scale: NonNegativeFloat = 1.0
    """Weight of the KL whose gradient reaches the prior only. Dreamer V2: 0.8; V3: 1 (arXiv v1: 0.5)."""
    representation_scale: NonNegativeFloat = 1.0
    """Weight of the KL whose gradient reaches the posterior only. Dreamer V2: 0.2; V3: 0.1. With both weights 1, the
    gradient is the plain KL's, and the loss counts its value twice."""
    kl: KLWeightConfig = field(default_factory=KLWeightConfig)
    """Weight of both KL terms."""
    free_nats: NonNegativeFloat = 3.0
    """Free nats per KL term. Dreamer V2: 1 on the control suite, 0 on Atari; V3: 1."""
    free_nats_averaged: bool = True
    """Apply free nats to the mean KL of the batch; otherwise to every step's, as in Dreamer V3."""
    rewards: Annotated[str, OneOf(REWARDS)] = "raw"
    """Transformation of the reward targets. Dreamer V2 on Atari: tanh."""


def check_model(model: WorldModelConfig) -> None:
    """Raises if the prior would get no gradient.

    Raises:
        ConfigError: naming the setting.
    """
    advice = "without it the prior gets no gradient; PlaNet has other losses for it"
    trained = model.dynamics.has_kl and model.dynamics.latent_terms is None
    model.require(trained, "kind", "dynamics with KL(posterior || prior)", advice)


def make_model_loss(losses: ModelLossConfig, model: WorldModel, discount: float) -> WorldLoss:
    """The world model's loss, averaged over batch and time.

    -log p(o | s) - c_r log p(r | s) - c_t log p(continue | s) + w (c_d KL(sg(q) || p) + c_q KL(q || sg(p))), with free
    nats (Dreamer V1 eq. 10, V2 eq. 2 and algorithm 2, V3 eq. 2 and 3); w is `losses.kl`, 1 in the papers. The
    continuation head includes the discount, as in all released versions: its target is `discount`, and zero at a
    termination.

    Args:
        losses: weights.
        model: the world model.
        discount: per decision.

    Returns:
        WorldLoss.
    """

    def loss(params: Params, batch: Batch, key: Key, updates: Array | int = 0) -> tuple[Array, tuple[Metrics, Belief]]:
        pixel_key, filter_key = jax.random.split(key)
        seen = filter_windows(model, params, batch, pixel_key, filter_key)
        assert model.decode is not None, "Dreamer learns by decoding observations"
        reward = REWARDS[losses.rewards](batch.reward)
        decoded = model.decode(params, seen.beliefs)
        metrics = {
            "observation_nll": -jnp.mean(distributions.joint_log_prob(decoded, seen.observation)),
            "reward_nll": -jnp.mean(distributions.log_prob(model.reward(params, seen.beliefs), reward[..., None])),
        }
        total = metrics["observation_nll"] + losses.reward_scale * metrics["reward_nll"]
        if model.terminal:
            ends = jnp.where(batch.is_terminal, 1.0, 1.0 - discount)
            error = optax.sigmoid_binary_cross_entropy(model.terminal(params, seen.beliefs), ends)
            metrics["terminal_nll"] = jnp.mean(error)
            total += losses.terminal_scale * metrics["terminal_nll"]
        dynamics, representation = balanced(model.divergence, seen.posteriors, seen.priors)
        metrics["kl"] = jnp.mean(dynamics)
        weight = losses.kl.after(updates)
        for scale, kl in ((losses.dynamics_scale, dynamics), (losses.representation_scale, representation)):
            floored = free_nats_floor(kl, losses.free_nats, averaged=losses.free_nats_averaged)
            total += weight * scale * floored
        return total, (metrics, seen.beliefs)

    return loss
