"""A run's summary as one JSON-ready dictionary, for results/ and reports."""

import json
import shlex
from typing import NotRequired, TypedDict

from latentplan.config import Fields
from latentplan.driver.logging import METRICS_FILE, Row
from latentplan.runs.run import Run, curve

_NOT_A_VARIANT = ("--env", "--obs", "--seed", "--logdir", "--env-steps", "--preset", "--agent", "--import")


class Provenance(TypedDict):
    """What was run, with which versions and on which machine."""

    env: str
    agent: str
    preset: str
    variant: str
    obs: str
    seed: int
    command: str
    commit: str
    commits: list[str]
    hardware: str
    platform: str
    python: str
    versions: dict[str, str]
    segments: int


class RunData(Provenance):
    """A run as results/ keeps it: see `summarise`."""

    name: str
    evaluations: list[Row]
    collected: list[Row]
    learned: list[Row]
    acting: NotRequired[dict[str, Row]]
    seconds: dict[str, float]
    config: Fields


def summarise(run: Run) -> RunData:
    """Summarises a run: provenance and learning curves.

    Args:
        run: from `load_run`.

    Returns:
        Provenance (command, commit, hardware, versions, seed, config) and the curves `evaluations` (for a run without
        an environment: losses on held-out data), `collected` and `learned`: one dictionary per line of metrics.jsonl,
        names without their group, `minutes` of wall-clock time from the run's start, all segments together. Where ways
        of acting were compared, `acting` holds their returns.

    Raises:
        ValueError: the run has no evaluation yet.
    """
    rows = run.rows()
    evaluations = curve(rows, "evaluation") or curve(rows, "held_out")  # of recorded data alone
    if not evaluations:
        file = run.logdir / METRICS_FILE
        raise ValueError(f"{file}: expected at least one evaluation, got none; let the run go on")
    data: RunData = {
        "name": run.logdir.absolute().name,
        **_provenance(run),
        "evaluations": evaluations,
        "collected": curve(rows, "collect"),
        "learned": curve(rows, "learn"),
        "seconds": _seconds(rows),
        "config": run.description.config,
    }
    acting = run.logdir / "acting.json"
    if acting.is_file():
        data["acting"] = json.loads(acting.read_text(encoding="utf-8"))
    return data


def _provenance(run: Run) -> Provenance:
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
        "command": shlex.join([*program, *(word for pair in shown + env_steps for word in pair)]),
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


def _seconds(rows: list[Row]) -> dict[str, float]:
    """Wall-clock seconds by part of the run."""
    parts = {"plan and filter": "time/act", "step and render": "time/step", "write": "time/write"}
    trained, evaluated = ([row for row in rows if ("time/evaluate" in row) == flag] for flag in (False, True))
    seconds = {name: sum(row.get(key, 0.0) for row in trained) for name, key in parts.items()}
    seconds["learn"] = sum(row.get("time/learn", 0.0) for row in rows)
    seconds["evaluate"] = sum(row["time/evaluate"] for row in evaluated)
    rest = (rows[-1]["time/total"] if rows else 0.0) - sum(seconds.values())
    return seconds | {"other": max(0.0, rest)}


def random_return(run: RunData) -> float:
    """Mean return of a run's seed episodes, which use random actions."""
    returns = [row["return"] for row in run["collected"] if row["random"]]
    return sum(returns) / len(returns)


def returns_of(evaluation: Row) -> list[float]:
    """The returns of one evaluation's episodes."""
    return evaluation["returns"]


def label(run: RunData) -> str:
    """A run's agent, preset and variant; runs of one label differ only in the seed."""
    return " ".join(filter(None, (run["agent"], run["preset"], run["variant"])))
