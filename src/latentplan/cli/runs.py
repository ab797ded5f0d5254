"""A run as data: from a log directory to one JSON-ready dictionary, which results/ keeps and reports draw."""

import json
from pathlib import Path
from typing import Any

COUNTERS = ("env_steps", "episodes", "updates")
_NOT_A_VARIANT = ("--env", "--obs", "--seed", "--logdir", "--env-steps", "--preset", "--agent")


def read_config(logdir: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What a run was started with.

    Args:
        logdir: of the run.

    Returns:
        (config, for `provenance.from_dict`; sittings, the provenance of each).

    Raises:
        ValueError: the folder holds no run, or its config cannot be read.
    """
    file = logdir / "config.json"
    if not file.is_file():
        raise ValueError(f"logdir: expected the folder of a run, with a config.json, got {logdir}")
    try:
        described = json.loads(file.read_text())
        return described["config"], described["sittings"]
    except (json.JSONDecodeError, KeyError) as error:
        raise ValueError(f"{file}: expected the config of a run, got something unreadable ({error})") from error


def read_run(logdir: Path) -> dict[str, Any]:
    """What a run was and what it reached.

    Args:
        logdir: of the run.

    Returns:
        Provenance (command, commit, hardware, versions, seed, config) and the curves `evaluations`, `collected` and
        `learned`: one dictionary per line of metrics.jsonl, names without their group, `minutes` of wall-clock time
        from the run's start, all sittings together. Where ways of acting were compared, `acting` holds their returns.

    Raises:
        ValueError: the folder holds no run, its config cannot be read, or nothing was evaluated yet.
    """
    from latentplan.driver.logging import read_metrics

    config, sittings = read_config(logdir)
    metrics = logdir / "metrics.jsonl"
    rows = read_metrics(metrics) if metrics.is_file() else []
    curves = {
        "evaluations": _curve(rows, "evaluation/return", ("evaluation", "planning", "prediction", "open_loop")),
        "collected": _curve(rows, "collect/return", ("collect",)),
        "learned": _curve(rows, "learn/loss", ("learn",)),
    }
    if not curves["evaluations"]:
        raise ValueError(f"{metrics}: expected at least one evaluation, got none; let the run go on")
    acting = logdir / "acting.json"
    ways = {"acting": json.loads(acting.read_text())} if acting.is_file() else {}
    about = {"name": logdir.name, **_provenance(config, sittings)}
    return about | curves | ways | {"seconds": _seconds(rows), "config": config}


def _provenance(config: dict[str, Any], sittings: list[dict[str, Any]]) -> dict[str, Any]:
    first, flags = sittings[0], _flags(sittings[0]["command"])
    shown = [pair for pair in flags if pair[0] not in ("--logdir", "--env-steps")]
    env_steps = [("--env-steps", str(config["run"]["env_steps"]))]
    return {
        "env": config["env"],
        "agent": config["agent"],
        "preset": config["preset"],
        "variant": " ".join(word for pair in flags if pair[0] not in _NOT_A_VARIANT for word in pair),
        "obs": config["environment"]["obs"],
        "seed": config["run"]["seed"],
        "command": " ".join(["python experiments/run.py", *(word for pair in shown + env_steps for word in pair)]),
        "commit": first["commit"],
        "commits": list(dict.fromkeys(sitting["commit"] for sitting in sittings)),
        "hardware": f"{first['processor']}, {first['device']}",
        "platform": first["platform"],
        "python": first["python"],
        "versions": first["versions"],
        "sittings": len(sittings),
    }


def _flags(command: list[str]) -> list[tuple[str, ...]]:
    """("--flag", "value", ...) for each flag of a command line."""
    pairs: list[tuple[str, ...]] = []
    for word in command:
        if word.startswith("--"):
            pairs.append(tuple(word.split("=", 1)))
        elif pairs:
            pairs[-1] = (*pairs[-1], word)
    return pairs


def _curve(rows: list[dict[str, Any]], having: str, groups: tuple[str, ...]) -> list[dict[str, Any]]:
    curve = []
    for row in rows:
        if having in row:
            values = {name.split("/", 1)[1]: x for name, x in row.items() if name.split("/")[0] == groups[0]}
            values |= {name: x for name, x in row.items() if name.split("/")[0] in groups[1:]}
            counters = {name: row[name] for name in COUNTERS}
            curve.append(counters | {"minutes": row["time/total"] / 60} | values)
    return curve


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
    """Mean return of a run's seed episodes, which act at random."""
    returns = [row["return"] for row in run["collected"] if row["random"]]
    return sum(returns) / len(returns)


def returns_of(evaluation: dict[str, Any]) -> list[float]:
    """The returns of one evaluation's episodes."""
    return evaluation["returns"]


def label(run: dict[str, Any]) -> str:
    """What was run, without environment and seed: runs of one label differ by the seed alone."""
    return " ".join(filter(None, (run["agent"], run["preset"], run["variant"])))


def protocol(run: dict[str, Any]) -> str:
    """Action repeat, updates and replay ratio of a run, in the words of `published.describe_protocol`."""
    from latentplan.cli.published import describe_protocol

    decisions = [row["decisions"] for row in run["collected"] if "decisions" in row]
    if not decisions:  # recorded since 0.1.0
        return ""
    last = run["evaluations"][-1]
    steps = max(row["env_steps"] for row in run["collected"])
    replay = run["config"]["replay"]
    repeat = round(steps / sum(decisions))
    return describe_protocol(repeat, 1000 * last["updates"] / steps, replay["batch_size"] * replay["batch_length"])
