"""Time per update (loss, gradients, Adam), absolute and relative to the machine's peak throughput.

python benchmarks/update.py                  PlaNet's sizes, the cpu preset's, TD-MPC2 with 5M parameters, Dreamer
python benchmarks/update.py --parts          and the parts of the update
python benchmarks/update.py --peer torch     beside the same update in plain PyTorch
"""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cases
import harness
import jax
import jax.numpy as jnp
import numpy as np
import operations
import operations_decoder_free
import operations_traced
from cases import Case
from elsewhere import Elsewhere

sys.path.append(str(Path(__file__).parents[1] / "experiments"))
from latentplan.agents import make_agent
from latentplan.agents.planet import make_planet
from latentplan.agents.tdmpc.v2 import make_tdmpc2
from latentplan.driver.compilation import compiled
from latentplan.models.rollout import observe
from latentplan.models.world_model import WorldModelConfig, make_world_model
from latentplan.presets import make_preset
from latentplan.types import Agent, Array, ArraySpec, Batch, Belief, EnvSpec, Params, Sample

SPECS = {
    "pixels": EnvSpec.single((64, 64, 3), "uint8", action_size=6, action_repeat=1, max_decisions=None),
    "state": EnvSpec.single((24,), action_size=6, action_repeat=1, max_decisions=None),
}


SIZES = ["paper", "cpu", "tdmpc2-5M", "dreamer_v1", "dreamer_v2", "dreamer_v3-1M", "dreamer_v3-12M"]


def arguments(parser: ArgumentParser) -> None:
    """The benchmark's own arguments."""
    parser.add_argument("--obs", choices=SPECS, nargs="+", default=list(SPECS), help="observations; default: both")
    parser.add_argument("--sizes", choices=SIZES, nargs="+", default=SIZES, help="default: all")
    cases.arguments(parser, rounds=3)
    parser.add_argument("--parts", action="store_true", help="time noise, encoder, filter and decoder alone as well")


def run(options: Namespace) -> harness.Result:
    """Times updates, their parts and the peer, interleaved."""
    rows, notes = cases.run(make_cases, options)
    ratios = cases.of_ceiling(rows, lambda row: f"{row['obs']}, {row['sizes']}")
    ratios |= cases.against_peers(rows, "ms", lambda row: f"update time, {row['obs']}, {row['sizes']}")
    return harness.Result(rows, ratios, notes)


def make_cases(options: Namespace, peer: Elsewhere | None) -> Iterator[Case]:
    """Cases for the requested sizes, observations, implementations and parts."""
    for sizes in options.sizes:
        if sizes == "tdmpc2-5M":
            yield from tdmpc2_cases(options, peer)
            continue
        if sizes.startswith("dreamer"):
            yield from dreamer_cases(options, sizes)
            continue
        for obs in options.obs:
            preset, spec = make_preset(sizes, "walker_walk", obs), SPECS[obs]
            config: Any = preset.agent_config
            config = replace(config, model=replace(config.model, dtype=options.dtype))
            shape = (preset.replay.batch_size, preset.replay.batch_length)
            batch = random_batch(spec, *shape)
            counts = operations.of_update(config.model, spec, batch_size=shape[0], batch_length=shape[1])
            calls: dict[str, Callable[[], Any]] = {"latentplan": update_call(make_planet(config, spec), batch)}
            if peer:
                inputs = (options.peer, jax.default_backend(), config, spec, batch)
                calls |= peer.cases("peer_torch:update_calls", *inputs)
            labels = {"sizes": sizes, "obs": obs}
            for implementation, call in calls.items():
                case = labels | {"part": "update", "implementation": implementation}
                yield Case(case, call, sum(counts.values()), {"updates": 1})
            for part, call in part_calls(config.model, spec, batch).items() if options.parts else ():
                yield Case(labels | {"part": part}, call, counts.get(part, 0.0), {})


def tdmpc2_cases(options: Namespace, peer: Elsewhere | None) -> Iterator[Case]:
    """TD-MPC2's update: model, policy and target Q-functions."""
    if "state" not in options.obs:
        return
    preset, spec = make_preset("paper", "walker_walk", "state", agent="tdmpc2", size="5M"), SPECS["state"]
    agent: Any = preset.agent_config
    config = replace(agent, model=replace(agent.model, dtype=options.dtype))
    shape = (preset.replay.batch_size, preset.replay.batch_length)
    batch = random_batch(spec, *shape)
    count = sum(
        operations_decoder_free.of_update(config.model, spec, batch_size=shape[0], batch_length=shape[1]).values()
    )
    calls: dict[str, Callable[[], Any]] = {"latentplan": update_call(make_tdmpc2(config, spec), batch)}
    if peer:
        inputs = (options.peer, jax.default_backend(), config, spec, batch)
        calls |= peer.cases("peer_torch_tdmpc2:update_calls", *inputs)
    for implementation, call in calls.items():
        labels = {"sizes": "tdmpc2-5M", "obs": "state", "part": "update", "implementation": implementation}
        yield Case(labels, call, count, {"updates": 1})


def dreamer_cases(options: Namespace, sizes: str) -> Iterator[Case]:
    """Dreamer's update: model, imagination, actor and critic, at the published batch (V3: 16 x 64)."""
    agent, _, size = sizes.partition("-")
    for obs in options.obs:
        preset, spec = make_preset("paper", "walker_walk", obs, agent=agent, size=size), SPECS[obs]
        config: Any = preset.agent_config
        config = replace(config, model=replace(config.model, dtype=options.dtype))
        batch = random_batch(spec, preset.replay.batch_size, preset.replay.batch_length)
        built = make_agent(config, spec)
        key = jax.random.key(0)
        count = operations_traced.of_function(
            built.updates["joint"], jax.eval_shape(built.init, key), Sample.uniform(batch), key
        )
        labels = {"sizes": sizes, "obs": obs, "part": "update", "implementation": "latentplan"}
        yield Case(labels, update_call(built, batch), count, {"updates": 1})


def random_batch(spec: EnvSpec, size: int, length: int) -> Batch:
    """[T, B], a batch of random NumPy arrays without episode starts."""
    rng, shape = np.random.default_rng(0), (length, size)

    def draw(space: ArraySpec) -> np.ndarray:
        if space.is_image:
            return rng.integers(0, 256, (*shape, *space.shape), np.uint8)
        return rng.normal(size=(*shape, *space.shape)).astype(np.float32)

    return Batch(
        observation={name: draw(space) for name, space in spec.observations.items()},
        action=rng.uniform(-1, 1, (*shape, spec.action_size)).astype(np.float32),
        reward=rng.uniform(0, 1, shape).astype(np.float32),
        is_first=np.zeros(shape, bool),
        is_last=np.zeros(shape, bool),
        is_terminal=np.zeros(shape, bool),
    )


def update_call(agent: Agent, batch: Batch) -> Callable[[], None]:
    """Updates as in the training loop, repeatedly on one batch."""
    key = jax.random.key(0)
    update, state = compiled(agent.updates["joint"], donate_argnums=0), compiled(agent.init)(key)
    sample = jax.device_put(Sample.uniform(batch))

    def call() -> None:
        nonlocal state
        state, metrics = update(state, sample, key)
        jax.block_until_ready((state, metrics))

    return call


def part_calls(config: WorldModelConfig, spec: EnvSpec, batch: Batch) -> dict[str, Callable[[], Any]]:
    """The parts of an update, separately: preprocessing; encoder, filter and decoder with gradients."""
    model, key = make_world_model(config, spec), jax.random.key(0)
    params = compiled(model.init)(key)
    batch = jax.device_put(batch)
    initial = model.initial(batch.reward.shape[1:])
    preprocess = compiled(model.preprocess)
    seen = preprocess(batch.observation, key)

    def encoder(part: Params) -> Array:
        return model.encode(params | {"encoder": part}, seen)

    def filtered(part: Params, embeds: Array) -> tuple:
        now = params | {"dynamics": part}
        return observe(model, now, initial, batch.action, embeds, batch.is_first, key)

    def decoder(part: Params, beliefs: Belief) -> Array:
        assert model.decode is not None
        (name,) = seen
        return model.decode(params | {"decoder": part}, beliefs)[name].mean - seen[name]

    embeds = compiled(encoder)(params["encoder"])
    beliefs, _ = compiled(filtered)(params["dynamics"], embeds)
    return {
        "preprocess": lambda: jax.block_until_ready(preprocess(batch.observation, key)),
        "encoder": _gradients(encoder, params["encoder"]),
        "observe": _gradients(filtered, params["dynamics"], embeds),
        "decoder": _gradients(decoder, params["decoder"], beliefs),
    }


def _gradients(function: Callable, *inputs: Any) -> Callable[[], Any]:
    """A function forward and backward, with respect to all its inputs."""

    def loss(*inputs: Any) -> Array:
        return sum((jnp.sum(x**2) for x in jax.tree.leaves(function(*inputs))), jnp.zeros(()))

    step = compiled(jax.grad(loss, argnums=tuple(range(len(inputs)))))
    return lambda: jax.block_until_ready(step(*inputs))


if __name__ == "__main__":
    sys.exit(harness.main("update", __doc__, arguments, run))
