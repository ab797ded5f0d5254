"""The whole training loop, with time by part: python benchmarks/loop.py --env walker_walk --preset cpu."""

import argparse
import contextlib
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "experiments"))

import harness

ACT, UPDATE = "act (filter and plan)", "update"
SAMPLES = 10  # draws from replay that are timed


class Enough(Exception):
    """The requested number of episodes has been collected."""


def main() -> int:
    """The command line; see --help."""
    return harness.main("loop", __doc__ or "", _arguments, run)


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--env", default="walker_walk", help="as for experiments/run.py; default: %(default)s")
    parser.add_argument("--obs", default="pixels", choices=("pixels", "state"), help="default: %(default)s")
    presets = ("auto", "paper", "cpu", "debug")
    parser.add_argument("--preset", default="cpu", choices=presets, help="default: %(default)s")
    parser.add_argument(
        "--episodes", type=harness.positive, default=1, help="planned episodes, each with the updates before it"
    )
    parser.add_argument("--overlap", action="store_true", help="collect while learning")


def run(options: argparse.Namespace) -> harness.Result:
    """Trains for a few episodes in a temporary folder, as experiments/run.py would, and reads its own metrics.

    Evaluation, which comes every few episodes, has rows of its own and does not count as the loop's time.
    """
    from latentplan import presets
    from latentplan.agents import make_agent
    from latentplan.driver import compilation, loop
    from latentplan.driver.job import Job
    from latentplan.driver.logging import read_metrics
    from latentplan.envs.workers import Workers

    compilation.configure()
    experiment = presets.make_preset(presets.resolve_preset(options.preset)[0], options.env, options.obs)
    config = replace(experiment.run, seed_episodes=1, eval_episodes=1, overlap=options.overlap)
    planned = 0

    def report(kind: str, values: dict[str, Any]) -> None:
        nonlocal planned
        if kind == "message":
            print(values["message"], file=sys.stderr)
        planned += kind == "episodes" and not values["collect/random"]
        if planned == options.episodes:
            raise Enough

    with tempfile.TemporaryDirectory() as folder:
        workers = Workers(experiment.env, experiment.environment, config.num_envs)
        agent, spec = make_agent(experiment.agent_config, workers.spec), workers.spec
        with contextlib.suppress(Enough):
            environment, replay = experiment.environment, experiment.replay
            loop.train(Job(agent, spec, options.env, environment, config, replay, Path(folder), workers), report)
        rows = read_metrics(Path(folder) / "metrics.jsonl")
    sample_s = _sampling_seconds(experiment.replay, spec)
    return _result(rows, sample_s * config.updates_per_episode * options.episodes, spec.action_repeat, options.overlap)


def _sampling_seconds(replay_config: Any, spec: Any) -> float:
    """Seconds for one batch out of a full replay memory; inside the loop it is one program with the update."""
    import jax

    from latentplan.driver.compilation import compiled
    from latentplan.replay.ring import make_replay

    replay = make_replay(replay_config, spec)
    state = jax.jit(replay.init)()
    state = state.replace(is_full=jax.numpy.array(True))  # what it holds does not matter here
    sample = compiled(replay.sample)
    key = jax.random.key(0)
    jax.block_until_ready(sample(state, key))
    started = time.perf_counter()
    for i in range(SAMPLES):
        jax.block_until_ready(sample(state, jax.random.fold_in(key, i)))
    return (time.perf_counter() - started) / SAMPLES


def _result(rows: list[dict[str, Any]], sampling: float, action_repeat: int, overlap: bool) -> harness.Result:
    collected = [row for row in rows if row.get("collect/random") == 0.0]
    learned = [row for row in rows if "time/learn" in row][: len(collected)]
    evaluated = [row for row in rows if "time/evaluate" in row]
    total = {name: sum(row[f"time/{name}"] for row in collected) for name in ("act", "step", "write")}
    learning = sum(row["time/learn"] for row in learned)
    seeded = [row["time/total"] for row in rows if row.get("collect/random") == 1.0]
    seconds = collected[-1]["time/total"] - seeded[-1] - sum(row["time/evaluate"] for row in evaluated)
    parts = {
        ACT: total["act"],
        "step and render": total["step"],
        "sample": sampling,
        UPDATE: learning - sampling,
        "write (episode file, replay)": total["write"],
    }
    if not overlap:  # with overlap, acting and stepping run beside learning, and the shares do not add up
        parts["other"] = seconds - sum(parts.values())
    table = [{"part": name, "seconds": x, "share": f"{x / seconds:.1%}"} for name, x in parts.items()]
    table += [{"part": "the loop", "seconds": seconds, "share": "100%"}]
    table += [{"part": "one evaluation episode", "seconds": sum(row["time/evaluate"] for row in evaluated[:1])}]
    decisions = sum(row["collect/decisions"] for row in collected)
    small = max(seconds_of for name, seconds_of in parts.items() if name not in (ACT, UPDATE))
    ratios = {
        "env_steps per second": decisions * action_repeat / seconds,
        "largest share beside planning and updating (at most 0.1)": small / seconds,
    }
    return harness.Result(table, ratios)


if __name__ == "__main__":
    sys.exit(main())
