"""Speed of Dreamer's imagination from every step of a batch, absolute and relative to peak throughput.

python benchmarks/imagine.py                 V1 and V2 at the papers' sizes, V3 with 1M and 12M parameters, from state
python benchmarks/imagine.py --gradient      and its gradient with respect to the actor, as V1 and V2 learn by
"""

import functools
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
import operations_traced
from cases import Case
from elsewhere import Elsewhere

sys.path.append(str(Path(__file__).parents[1] / "experiments"))
from latentplan.agents.dreamer.imagination import make_imagination
from latentplan.driver.compilation import compiled
from latentplan.models.actor import make_actor
from latentplan.models.world_model import feature, make_world_model
from latentplan.presets import make_preset
from latentplan.types import Array, EnvSpec

SPEC = EnvSpec.single((24,), action_size=6, action_repeat=1, max_decisions=None)
SIZES = ["dreamer_v1", "dreamer_v2", "dreamer_v3-1M", "dreamer_v3-12M"]


def arguments(parser: ArgumentParser) -> None:
    """The benchmark's own arguments."""
    parser.add_argument("--sizes", choices=SIZES, nargs="+", default=SIZES, help="default: all")
    parser.add_argument(
        "--starts", type=harness.positive, default=1024, help="beliefs to imagine from; a batch has 1024"
    )
    parser.add_argument("--gradient", action="store_true", help="time the actor's gradient through the model as well")
    cases.arguments(parser, rounds=5)


def run(options: Namespace) -> harness.Result:
    """Times imagination, interleaved with the matrix products that measure peak throughput."""
    rows, notes = cases.run(make_cases, options)
    ratios = cases.of_ceiling(rows, lambda row: f"{row['sizes']}, {row['part']}")
    return harness.Result(rows, ratios, notes)


def make_cases(options: Namespace, peer: Elsewhere | None) -> Iterator[Case]:
    """Sizes, forward and with gradient."""
    if peer:
        raise ValueError("peer: expected none, as PyTorch has no counterpart of imagination here; leave --peer out")
    for sizes in options.sizes:
        agent, _, size = sizes.partition("-")
        config: Any = make_preset("paper", "walker_walk", "state", agent=agent, size=size).agent_config
        model = make_world_model(replace(config.model, dtype=options.dtype), SPEC)
        actor = make_actor(config.actor, feature(model.initial((1,))).shape[-1], SPEC, dtype=options.dtype)
        imagine, key = make_imagination(model, actor, config.behaviour), jax.random.key(0)
        params, actor_params = compiled(model.init)(key), compiled(actor.init)(key)
        inputs = (params, actor_params, model.initial((options.starts,)), key)

        def returns(params: Any, actor_params: Any, starts: Any, key: Array, imagine: Any = imagine) -> Array:
            return jnp.mean(imagine(params, actor_params, starts, key).reward)

        parts = {"imagine": imagine} | ({"gradient": jax.grad(returns, 1)} if options.gradient else {})
        for part, function in parts.items():
            call = compiled(function)
            labels = {"sizes": sizes, "starts": options.starts, "part": part, "implementation": "latentplan"}
            yield Case(
                labels,
                functools.partial(_wait_for, call, inputs),
                operations_traced.of_function(function, *inputs),
                {"imagined steps": options.starts * config.behaviour.horizon},
            )


def _wait_for(call: Callable, inputs: tuple[Any, ...]) -> None:
    jax.block_until_ready(call(*inputs))


if __name__ == "__main__":
    sys.exit(harness.main("imagine", __doc__, arguments, run))
