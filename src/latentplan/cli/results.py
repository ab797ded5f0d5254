"""Publishes runs: latentplan results runs/NAME... keeps them in results/ and rewrites tables and curves.

Without a run only the tables and curves are rewritten: results/README.md, which is a page of the site, too, and
results/curves/. Nothing in them is typed by hand.
"""

import json
import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from latentplan.cli.extensions import Imports
from latentplan.cli.words import explain

if TYPE_CHECKING:
    from latentplan.cli import published
    from latentplan.runs.summary import RunData

HEAD = """# Results

Written by `python experiments/results.py`; docs/evaluation.md is the protocol.

Mean return over seeds and evaluation episodes without exploration noise, with its 95 % bootstrap interval. Columns
such as 30k are env_steps: the last evaluation up to them, at most a fifth before. Protocol: control steps per
decision, gradient steps per 1,000 env_steps, and records replayed per record collected; published agents' protocols
and sources are [below](#published-agents). One seed shows that an agent learns, not how it compares.
"""
MILESTONES = (30_000, 100_000, 200_000, 500_000, 1_000_000)
Tasks = dict[tuple[str, str], list["RunData"]]
"""(environment, observation) -> its runs."""


@dataclass(frozen=True, kw_only=True)
class Results:
    """Add runs to results/ and rebuild its tables and figures."""

    logdirs: Annotated[tuple[Path, ...], tyro.conf.Positional] = ()
    """Run folders to add or update."""
    imports: Imports = ()
    """A module to import first, for environment suites of your own; repeat the option for several."""
    out: Path = Path("results")
    """Results folder."""


def main(argv: list[str], program: Sequence[str] = ("latentplan", "results")) -> int:
    """The command line.

    Args:
        argv: without the program's name.
        program: its name, as it was typed.

    Returns:
        Exit status: 0 done, 2 a mistake on the command line.
    """
    options = tyro.cli(Results, args=argv, prog=" ".join(program), description=__doc__)
    try:
        out = options.out.expanduser()
        add(tuple(logdir.expanduser() for logdir in options.logdirs), out)
        write_tables(out)
    except (ValueError, OSError) as error:
        print(explain(error), file=sys.stderr)
        return 2
    print(f"results in {out}")
    return 0


def add(logdirs: tuple[Path, ...], out: Path) -> None:
    """Keeps runs as out/runs/NAME.json, with their last open-loop prediction beside them.

    Raises:
        ValueError: a folder holds no run, or nothing was evaluated yet; none of them is added then.
    """
    from latentplan.runs import load_run
    from latentplan.runs.summary import summarise

    runs = [summarise(load_run(logdir)) for logdir in logdirs]
    folder = out / "runs"
    folder.mkdir(parents=True, exist_ok=True)
    for run, logdir in zip(runs, logdirs, strict=True):
        (folder / f"{run['name']}.json").write_text(json.dumps(run) + "\n", encoding="utf-8")
        pictures = sorted((logdir / "videos").glob("open_loop_*.png"))
        if pictures:
            shutil.copy(pictures[-1], folder / f"{run['name']}-open-loop.png")


def write_tables(out: Path) -> None:
    """Rewrites out/README.md and out/curves/ from out/runs/ alone."""
    runs = read_results(out)
    tasks = by_task(runs)
    draw_curves(tasks, out / "curves")
    predictions = [file.name for file in sorted((out / "runs").glob("*-open-loop.png"))]
    parts = [HEAD, *(_section(env, obs, of_task, out / "curves") for (env, obs), of_task in tasks.items())]
    parts += [across_tasks(runs), of_acting(runs), published_protocols(tasks)]
    parts += [
        "## Open-loop predictions\n\n"
        "Five steps are observed, the rest is imagined from the recorded actions alone.\n\n"
        + _pictures("runs", predictions),
        "## Runs and their commands\n\n" + of_runs(runs),
    ]
    (out / "README.md").write_text("\n".join(filter(None, parts)), encoding="utf-8")


def read_results(out: Path) -> "list[RunData]":
    """The runs that are kept in a folder of results, as `runs.read_run` gives them."""
    return [json.loads(file.read_text(encoding="utf-8")) for file in sorted((out / "runs").glob("*.json"))]


def by_task(runs: "list[RunData]") -> Tasks:
    """Runs by environment and observation, in the order in which they come."""
    tasks: Tasks = {}
    for run in runs:
        tasks.setdefault((run["env"], run["obs"]), []).append(run)
    return tasks


def draw_curves(tasks: Tasks, folder: Path) -> None:
    """Draws a task's learning curves, and its errors by distance where they were measured.

    Args:
        tasks: their runs.
        folder: emptied first.
    """
    from latentplan.cli import figures

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for (env, obs), runs in tasks.items():
        groups = figures.named(runs)
        figures.learning_curves(groups).savefig(folder / f"{_file(env, obs)}.png", dpi=100)
        if all(figures.has(run, figures.PREDICTION) for run in runs):
            figures.prediction_errors(groups).savefig(folder / f"{_file(env, obs)}-prediction.png", dpi=100)


def _file(env: str, obs: str) -> str:
    return f"{env}-{obs}".replace(":", ".").replace("/", ".")


def _section(env: str, obs: str, runs: "list[RunData]", curves: Path) -> str:
    names = [f"{_file(env, obs)}.png", f"{_file(env, obs)}-prediction.png"]
    drawn = _pictures("curves", [name for name in names if (curves / name).is_file()])
    return f"## {env}, {obs}\n\n{table(runs)}\n{drawn}"


def _pictures(folder: str, names: list[str]) -> str:
    return "\n".join(f"![{Path(name).stem}]({folder}/{name})\n" for name in names)


def table(runs: "list[RunData]") -> str:
    """One row per variant of one task: returns at milestones, with what was published at as many env_steps."""
    from latentplan.cli import aggregate

    groups = aggregate.group(runs)
    reached = [steps for steps in MILESTONES if any(aggregate.at(group, steps) for group in groups.values())]
    milestones = [f"{steps // 1000}k" for steps in reached]
    columns = ["what", "seeds", *milestones, "last", "protocol", "published at as many env_steps"]
    lines = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    for (_, _, what), group in groups.items():
        returns = [_shown(aggregate.at(group, steps)) for steps in reached]
        lines.append("| " + " | ".join([what, str(len(group)), *returns, *_last(group)]) + " |")
    return "\n".join(lines) + "\n"


def _last(group: "list[RunData]") -> list[str]:
    """The last evaluation that all seeds have reached, how they were trained, and what was published there."""
    from latentplan.cli import aggregate, published

    last = min(run["evaluations"][-1]["env_steps"] for run in group)
    minutes = max(row["minutes"] for run in group for row in run["evaluations"] if row["env_steps"] <= last)
    reached = f"{_shown(aggregate.at(group, last))} at {last / 1000:.0f}k, {minutes:.0f} min"
    known = published.curves(group[0]["env"], group[0]["obs"])
    return [reached, published.protocol_of(group[0]), _published_at(known, last)]


def published_protocols(tasks: Iterable[tuple[str, str]]) -> str:
    """How the published agents were trained, and where their numbers are from."""
    from latentplan.cli import published

    lines: dict[str, None] = {}  # in order, each once
    for env, obs in tasks:
        for curve in published.curves(env, obs):
            protocol = curve.protocol or "protocol not published"
            lines[f"- {curve.title} ({env}, {obs}): {protocol}; {curve.source}"] = None
    return "## Published agents\n\n" + "\n".join(lines) + "\n" if lines else ""


def across_tasks(runs: "list[RunData]") -> str:
    """Interquartile means of what was run without variants on several tasks of a suite with scores."""
    from latentplan.cli import aggregate

    suites: dict[tuple[str, str], dict[str, list[RunData]]] = {}
    for (env, obs, what), group in aggregate.group(runs).items():
        if aggregate.max_return(env) and not group[0]["variant"]:
            suites.setdefault((obs, what), {})[env] = group
    lines = []
    for (obs, what), tasks in suites.items():
        if len(tasks) > 1:
            seeds = min(map(len, tasks.values()))
            score, low, high = aggregate.across_tasks(tasks)
            spread = f" ({low:.3f} to {high:.3f})" if seeds > 1 else ""  # one seed of each says nothing of others
            lines.append(
                f"- {what}, {obs}: interquartile mean score {score:.3f}{spread} "
                f"({len(tasks)} tasks, {seeds} seed(s) of each, at each run's last evaluation)"
            )
    return "## Across tasks\n\n" + "\n".join(lines) + "\n" if lines else ""


def of_runs(runs: "list[RunData]") -> str:
    """One row per run: where its data is, how far it went, in how many parts (resumed or not), and how it was made."""
    lines = ["| run | env_steps | parts | commit | hardware | command |", "|---|---|---|---|---|---|"]
    for run in runs:
        done, asked = run["evaluations"][-1]["env_steps"] / 1000, run["config"]["run"]["env_steps"] / 1000
        reached = f"{done:.0f}k" if done >= asked else f"{done:.0f}k of {asked:.0f}k"
        lines.append(
            f"| [{run['name']}](runs/{run['name']}.json) | {reached} | {run['segments']} | {run['commit'][:9]} | "
            f"{run['hardware']} | `{run['command']}` |"
        )
    return "\n".join(lines) + "\n"


def of_acting(runs: "list[RunData]") -> str:
    """One row per way of acting, for models that `experiments/evaluate.py --act` compared several ways with."""
    from latentplan.cli import aggregate

    lines = [
        "## One model, several ways of acting\n\n| what acts | return | episodes | env_steps | run |",
        "|---|---|---|---|---|",
    ]
    for run in runs:
        for way, found in run.get("acting", {}).items():
            how = "its policy" if way == "policy" else f"{way}, its critic at a plan's end"
            interval = _shown(aggregate.interval([found["returns"]]))
            lines.append(f"| {how} | {interval} | {len(found['returns'])} | {found['env_steps']:,} | {run['name']} |")
    return "\n".join(lines) + "\n" if len(lines) > 2 else ""


def _published_at(curves: Sequence["published.PublishedCurve"], env_steps: int) -> str:
    """What was published for as many env_steps, interpolated between points."""
    found = [(curve, curve.at(env_steps)) for curve in curves]
    return "; ".join(f"{curve.title} {mean:.0f} ({curve.seeds} seeds)" for curve, mean in found if mean is not None)


def _shown(interval: tuple[float, float, float] | None) -> str:
    return "" if interval is None else "{:.0f} ({:.0f} to {:.0f})".format(*interval)
