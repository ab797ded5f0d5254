"""A throw-away agent that is trained in two stages, for tests: what several entries of `Agent.updates` must do.

PlaNet's model, but its image parts and its dynamics learn from gradient steps of their own, as V and M in World Models.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax

from latentplan.agents import AgentEntry
from latentplan.agents.planet import PlaNetConfig, make_loss, make_planet
from latentplan.models.world_model import make_world_model
from latentplan.types import Agent, Array, EnvSpec, Key, Params, Sample, TrainState


@dataclass(frozen=True, kw_only=True)
class TwoStageConfig(PlaNetConfig):
    """PlaNet's settings."""


STAGES = {"vision": ("encoder", "decoder"), "memory": ("dynamics", "reward")}
"""Stage -> the parameters that it trains."""


def make_two_stage(config: TwoStageConfig, spec: EnvSpec) -> Agent:
    """Builds the agent: PlaNet's with an update and an optimiser per stage."""
    planet, loss = make_planet(config, spec), make_loss(config, make_world_model(config.model, spec))
    optimizer = optax.adam(config.optimizer.learning_rate)

    def part(params: Params, stage: str) -> Params:
        return {name: params[name] for name in STAGES[stage]}

    def init(key: Key) -> TrainState:
        params = planet.init(key).params
        return TrainState(params, {stage: optimizer.init(part(params, stage)) for stage in STAGES}, jnp.int32(0))

    def make_update(stage: str) -> Callable:
        def update(state: TrainState, sample: Sample, key: Key) -> tuple[TrainState, dict[str, Array]]:
            objective = lambda trained: loss(state.params | trained, sample.batch, key, state.updates)  # noqa: E731
            trained = part(state.params, stage)
            (total, metrics), gradients = jax.value_and_grad(objective, has_aux=True)(trained)
            updates, opt_state = optimizer.update(gradients, state.opt_state[stage], trained)
            finite = jnp.isfinite(total) & jnp.isfinite(optax.tree.norm(gradients))
            params = state.params | optax.apply_updates(trained, updates)
            after = TrainState(params, state.opt_state | {stage: opt_state}, state.updates + 1)
            return after, metrics | {"loss": total, "finite": finite.astype(jnp.float32)}

        return update

    return planet._replace(init=init, updates={stage: make_update(stage) for stage in STAGES})


TWO_STAGE = AgentEntry(TwoStageConfig, make_two_stage)
