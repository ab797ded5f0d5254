"""A run's summary as one JSON-ready dictionary, for results/ and reports."""

import json
from typing import Any

from latentplan.driver.logging import METRICS_FILE
from latentplan.runs.run import Run, curve

_NOT_A_VARIANT = ("--env", "--obs", "--seed", "--logdir", "--env-steps", "--preset", "--agent", "--import")


def summarise(run: Run) -> dict[str, Any]:
    """Summarises a run: provenance and learning curves.

    Args:
        run: from `load_run`.

    Returns:
        Provenance (command, commit, hardware, versions, seed, config) and the curves `evaluations`, `collected` and
        `learned`: one dictionary per line of metrics.jsonl, names without their group, `minutes` of wall-clock time
        from the run's start, all segments together. Where ways of acting were compared, `acting` holds their returns.

    Raises:
        ValueError: the run has no evaluation yet.
    """
    rows = run.rows()
    kinds = {"evaluations": "evaluation", "collected": "collect", "learned": "learn"}
    curves = {name: curve(rows, kind) for name, kind in kinds.items()}
    if not curves["evaluations"]:
        file = run.logdir / METRICS_FILE
        raise ValueError(f"{file}: expected at least one evaluation, got none; let the run go on")
    acting = run.logdir / "acting.json"
    ways = {"acting": json.loads(acting.read_text())} if acting.is_file() else {}
    about = {"name": run.logdir.absolute().name, **_provenance(run)}
    return about | curves | ways | {"seconds": _seconds(rows), "config": run.description.config}


def _provenance(run: Run) -> dict[str, Any]:
    config, segments = run.description.config, run.segments
    first, (program, flags) = segments[0], _split(segments[0]["command"])
    shown = [pair for pair in flags if pair[0] not in ("--logdir", "--env-steps")]
    env_steps = [("--env-steps", str(config["run"]["env_steps"]))]
    return {
        "env": config["env"],
        "agent": config["agent"],
        "preset": config["preset"],
        "variant": " ".join(word for pair in flags if pair[0] not in _NOT_A_VARIANT for word in pair),
        "obs": config["environment"]["obs"],
        "seed": config["run"]["seed"],
        "command": " ".join([*program, *(word for pair in shown + env_steps for word in pair)]),
        "commit": first["commit"],
        "commits": list(dict.fromkeys(segment["commit"] for segment in segments)),
        "hardware": f"{first['processor']}, {first['device']}",
        "platform": first["platform"],
        "python": first["python"],
        "versions": first["versions"],
        "segments": len(segments),
    }


def _split(command: list[str]) -> tuple[list[str], list[tuple[str, ...]]]:
    """Splits a command into the portable program name and ("--flag", "value", ...) per flag."""
    pairs: list[tuple[str, ...]] = []
    for word in command:
        if word.startswith("--"):
            pairs.append(tuple(word.split("=", 1)))
        elif pairs:
            pairs[-1] = (*pairs[-1], word)
    program = ["latentplan", "train"] if command[:1] == ["latentplan"] else ["python", "experiments/run.py"]
    return program, pairs


def _seconds(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Wall-clock seconds by part of the run."""
    parts = {"plan and filter": "time/act", "step and render": "time/step", "write": "time/write"}
    trained, evaluated = ([row for row in rows if ("time/evaluate" in row) == flag] for flag in (False, True))
    seconds = {name: sum(row.get(key, 0.0) for row in trained) for name, key in parts.items()}
    seconds["learn"] = sum(row.get("time/learn", 0.0) for row in rows)
    seconds["evaluate"] = sum(row["time/evaluate"] for row in evaluated)
    rest = (rows[-1]["time/total"] if rows else 0.0) - sum(seconds.values())
    return seconds | {"other": max(0.0, rest)}


def random_return(run: dict[str, Any]) -> float:
    """Mean return of a run's seed episodes, which use random actions."""
    returns = [row["return"] for row in run["collected"] if row["random"]]
    return sum(returns) / len(returns)


def returns_of(evaluation: dict[str, Any]) -> list[float]:
    """The returns of one evaluation's episodes."""
    return evaluation["returns"]


def label(run: dict[str, Any]) -> str:
    """A run's agent, preset and variant; runs of one label differ only in the seed."""
    return " ".join(filter(None, (run["agent"], run["preset"], run["variant"])))
