"""Time per plan, in operations per second and relative to the machine's peak throughput.

python benchmarks/planner.py                  PlaNet's sizes and the cpu preset's; TD-MPC2 with 5M parameters
python benchmarks/planner.py --peer torch     beside the same planner in plain PyTorch
"""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import cases
import harness
import jax
import jax.numpy as jnp
import operations
import operations_decoder_free
from cases import Case
from elsewhere import Elsewhere

sys.path.append(str(Path(__file__).parents[1] / "experiments"))
from latentplan.agents.tdmpc.v2 import make_decoder_free_planner
from latentplan.driver.compilation import compiled
from latentplan.models.decoder_free import make_decoder_free
from latentplan.models.world_model import WorldModelConfig, make_world_model
from latentplan.planners import PLANNERS, for_each_belief
from latentplan.planners.cem import CEMConfig
from latentplan.planners.objectives import model_returns
from latentplan.presets import make_preset
from latentplan.types import Array, Belief, EnvSpec, Key, Params, WorldModel

SPEC = EnvSpec.single((24,), action_size=6, action_repeat=1, max_decisions=None)  # a plan sees no observation
BELIEFS = {"paper": [1, 4], "cpu": [1, 4, 16], "tdmpc2-5M": [1, 4]}  # so many that 2 cores are done in a minute or two
WITHOUT_POLICY = [name for name in PLANNERS if name != "policy"]  # PlaNet has none
PEERED = (("cem", "paper"), ("cem", "cpu"), ("mppi", "tdmpc2-5M"))  # what the peer plans, too
GPU_BELIEFS = [1, 4, 16, 64]


def arguments(parser: ArgumentParser) -> None:
    """The benchmark's own arguments."""
    parser.add_argument("--planner", choices=WITHOUT_POLICY, nargs="+", default=WITHOUT_POLICY, help="default: all")
    parser.add_argument("--sizes", choices=BELIEFS, nargs="+", default=list(BELIEFS), help="default: all")
    parser.add_argument(
        "--beliefs", type=harness.positive, nargs="+", help="how many are planned for at once, one row each"
    )
    parser.add_argument("--candidates", type=harness.positive, help="sequences per round, a tenth of them elites")
    parser.add_argument("--horizon", type=harness.positive, help="decisions")
    parser.add_argument("--iterations", type=harness.positive, help="rounds of sampling and refitting")
    cases.arguments(parser, rounds=5)


def run(options: Namespace) -> harness.Result:
    """Times every planner, its sampling alone and the peer, interleaved."""
    rows, notes = cases.run(make_cases, options)

    def compared(row: dict[str, Any]) -> str:
        return f"plans per second, B={row['beliefs']}, {row['sizes']}"

    ratios = cases.of_ceiling(rows, lambda row: f"{row['planner']}, B={row['beliefs']}, {row['sizes']}")
    timed = [row for row in rows if any((row.get("planner"), row["sizes"]) == pair for pair in PEERED)]
    ratios |= cases.against_peers(timed, "plans/s", compared)
    return harness.Result(rows, ratios, notes)


def make_cases(options: Namespace, peer: Elsewhere | None) -> Iterator[Case]:
    """Cases for the requested sizes, beliefs, planners and implementations."""
    for sizes in options.sizes:
        if sizes == "tdmpc2-5M":
            yield from tdmpc2_cases(options, peer)
            continue
        agent: Any = make_preset(sizes, "walker_walk", "pixels").agent_config
        model = replace(agent.model, dtype=options.dtype)
        for beliefs in options.beliefs or (BELIEFS[sizes] if jax.default_backend() == "cpu" else GPU_BELIEFS):
            for name in options.planner:
                config = planner_config(options, name, sizes)
                calls = {"latentplan": plan_call(model, name, config, beliefs)}
                if peer and name == "cem":
                    inputs = (options.peer, jax.default_backend(), model, config, SPEC, beliefs)
                    calls |= peer.cases("peer_torch:plan_calls", *inputs)
                amounts = {"plans": beliefs, "candidate-steps": operations.candidate_steps(config, beliefs)}
                count = operations.of_plan(model, config, action_size=SPEC.action_size, beliefs=beliefs)
                for implementation, call in calls.items():
                    labels = {"sizes": sizes, "beliefs": beliefs, "planner": name, "implementation": implementation}
                    yield Case(labels, call, count, amounts)
                if name == "cem":
                    labels = {"sizes": sizes, "beliefs": beliefs, "planner": "cem: noise alone"}
                    yield Case(labels, noise_call(model, config, beliefs), 0.0, {})


def tdmpc2_cases(options: Namespace, peer: Elsewhere | None) -> Iterator[Case]:
    """TD-MPC2's MPPI, with candidates of its policy and a terminal value."""
    if "mppi" not in options.planner:
        return
    agent: Any = make_preset("paper", "walker_walk", "state", agent="tdmpc2", size="5M").agent_config
    config, spec = replace(agent, model=replace(agent.model, dtype=options.dtype)), SPEC._replace(max_decisions=500)
    told = make_decoder_free(config.model, spec)
    planner = make_decoder_free_planner(config.planner, told, spec, 0.99)
    for beliefs in options.beliefs or (BELIEFS["tdmpc2-5M"] if jax.default_backend() == "cpu" else GPU_BELIEFS):
        calls = {"latentplan": _call(planner, told.world, beliefs)}
        if peer and beliefs == 1:
            inputs = (options.peer, jax.default_backend(), config, spec)
            calls |= peer.cases("peer_torch_tdmpc2:plan_calls", *inputs)
        amounts = {"plans": beliefs, "candidate-steps": operations.candidate_steps(config.planner, beliefs)}
        count = operations_decoder_free.of_plan(
            config.model, config.planner, action_size=spec.action_size, beliefs=beliefs
        )
        for implementation, call in calls.items():
            labels = {"sizes": "tdmpc2-5M", "beliefs": beliefs, "planner": "mppi", "implementation": implementation}
            yield Case(labels, call, count, amounts)


def planner_config(options: Namespace, name: str, sizes: str) -> Any:
    """A planner's config with the preset's sizes or those given, as far as it has such fields."""
    given = {"num_candidates": options.candidates, "horizon": options.horizon, "num_iterations": options.iterations}
    if options.candidates:
        given["num_elites"] = max(1, options.candidates // 10)
    changes = {field: value for field, value in given.items() if value is not None}
    base = replace(make_preset(sizes, "walker_walk", "pixels").agent_config.planner, **changes)
    config = PLANNERS[name].config
    shared = {field.name for field in fields(config)} & {field.name for field in fields(base)}
    return config(**{field: getattr(base, field) for field in shared})


def plan_call(model_config: WorldModelConfig, name: str, config: Any, beliefs: int) -> Callable[[], Any]:
    """Plans as PlaNet does."""
    model = make_world_model(model_config, SPEC)
    returns = model_returns(model)
    return _call(PLANNERS[name].make(config, SPEC.action_size, returns), model, beliefs)


def noise_call(model_config: WorldModelConfig, config: CEMConfig, beliefs: int) -> Callable[[], Any]:
    """Only samples the actions and latents of a plan, without planning."""
    shape = (config.horizon, config.num_candidates)

    def draw(params: Params, belief: Belief, key: Key, warm_start: Array | None) -> tuple[Array, Array]:
        def iteration(last: tuple[Array, Array], key: Key):
            keys, sizes = jax.random.split(key), (SPEC.action_size, model_config.stoch)
            return tuple(jax.random.normal(k, (*shape, size)) for k, size in zip(keys, sizes, strict=True)), None

        zeros = (jnp.zeros((*shape, SPEC.action_size)), jnp.zeros((*shape, model_config.stoch)))
        return jax.lax.scan(iteration, zeros, jax.random.split(key, config.num_iterations))[0]

    return _call(draw, make_world_model(model_config, SPEC), beliefs)


def _call(planner: Callable, model: WorldModel, beliefs: int) -> Callable[[], Any]:
    keys = jax.random.split(jax.random.key(0), beliefs)
    params, plan = compiled(model.init)(jax.random.key(1)), compiled(for_each_belief(planner))
    return lambda: jax.block_until_ready(plan(params, model.initial((beliefs,)), keys))


if __name__ == "__main__":
    sys.exit(harness.main("planner", __doc__, arguments, run))
