"""Publishes runs: python experiments/results.py runs/NAME... keeps them in results/ and rewrites tables and curves.

Without a run only the tables and curves are rewritten: results/README.md, which is a page of the site, too, and
results/curves/. Nothing in them is typed by hand.
"""

import json
import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

if TYPE_CHECKING:
    from latentplan.cli import published

MILESTONES = (30_000, 100_000, 200_000, 500_000, 1_000_000)


@dataclass(frozen=True, kw_only=True)
class Results:
    """Keep runs in results/ as data and draw all that is kept."""

    logdirs: Annotated[tuple[Path, ...], tyro.conf.Positional] = ()
    """Folders of runs to add, or to bring up to date."""
    out: Path = Path("results")
    """Folder of results."""


def main(argv: list[str]) -> int:
    """The command line.

    Args:
        argv: without the program's name.

    Returns:
        Exit status: 0 done, 2 a mistake on the command line.
    """
    options = tyro.cli(Results, args=argv, description=__doc__)
    try:
        add(options.logdirs, options.out)
        write_tables(options.out)
    except (ValueError, OSError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2
    print(f"results in {options.out}")
    return 0


def add(logdirs: tuple[Path, ...], out: Path) -> None:
    """Keeps runs as out/runs/NAME.json, with their last open-loop prediction beside them.

    Raises:
        ValueError: a folder holds no run, or nothing was evaluated yet; none of them is added then.
    """
    from latentplan.cli.runs import read_run

    runs = [read_run(logdir) for logdir in logdirs]
    folder = out / "runs"
    folder.mkdir(parents=True, exist_ok=True)
    for run, logdir in zip(runs, logdirs, strict=True):
        (folder / f"{run['name']}.json").write_text(json.dumps(run) + "\n")
        pictures = sorted((logdir / "videos").glob("open_loop_*.png"))
        if pictures:
            shutil.copy(pictures[-1], folder / f"{run['name']}-open-loop.png")


def write_tables(out: Path) -> None:
    """Rewrites out/README.md and out/curves/ from out/runs/ alone."""
    runs = read_results(out)
    draw_curves(runs, out / "curves")
    curves = [file.name for file in sorted((out / "curves").glob("*.png"))]
    predictions = [file.name for file in sorted((out / "runs").glob("*-open-loop.png"))]
    parts = [
        "# Results\n\nWritten by `python experiments/results.py`; docs/evaluation.md is the protocol.\n",
        summary(runs) + of_acting(runs),
        "## Learning curves and errors by distance\n\n" + _pictures("curves", curves),
        "## Open-loop predictions\n\n"
        "Five steps are observed, the rest is imagined from the recorded actions alone.\n\n"
        + _pictures("runs", predictions),
        "## Runs and their commands\n\n" + of_runs(runs),
    ]
    (out / "README.md").write_text("\n".join(parts))


def read_results(out: Path) -> list[dict[str, Any]]:
    """The runs that are kept in a folder of results, as `runs.read_run` gives them."""
    return [json.loads(file.read_text()) for file in sorted((out / "runs").glob("*.json"))]


def draw_curves(runs: list[dict[str, Any]], folder: Path) -> None:
    """Draws a learning curve per environment and observation, and the errors by distance where they were measured.

    Args:
        runs: as `read_results` gives them.
        folder: emptied first.
    """
    from latentplan.cli import figures

    tasks: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for run in runs:
        tasks.setdefault((run["env"], run["obs"]), []).append(run)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for (env, obs), of_task in tasks.items():
        name = f"{env}-{obs}".replace(":", ".").replace("/", ".")
        groups = figures.named(of_task)
        figures.learning_curves(groups).savefig(folder / f"{name}.png", dpi=100)
        if all(figures.has(run, figures.PREDICTION) for run in of_task):
            figures.prediction_errors(groups).savefig(folder / f"{name}-prediction.png", dpi=100)


def _pictures(folder: str, names: list[str]) -> str:
    return "\n".join(f"![{Path(name).stem}]({folder}/{name})\n" for name in names)


def summary(kept: list[dict[str, Any]]) -> str:
    """The table of all runs, what its columns mean, how published agents were trained, and scores across tasks."""
    from latentplan.cli import aggregate

    note = (
        "\nMean return over seeds and evaluation episodes without exploration noise, with its 95 % bootstrap interval; "
        "the columns are env_steps: the last evaluation up to them, at most a fifth before. Protocol: control steps "
        "per decision, gradient steps per 1,000 env_steps, and records replayed per record collected; those of the "
        "published agents are below. One seed shows that an agent learns, not how it compares.\n"
    )
    groups = aggregate.group(kept)
    return table(kept) + note + _published_protocols(groups) + _aggregate(groups)


def table(kept: list[dict[str, Any]]) -> str:
    """One row per environment, observation and variant: returns at milestones, with what was published."""
    from latentplan.cli import aggregate, published, runs

    groups = aggregate.group(kept)
    reached = [steps for steps in MILESTONES if any(aggregate.at(group, steps) for group in groups.values())]
    milestones = [f"{steps // 1000}k" for steps in reached]
    last_columns = ["last", "protocol", "published at as many env_steps"]
    columns = ["environment", "obs", "what", "seeds", *milestones, *last_columns]
    lines = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    for (env, obs, what), group in groups.items():
        cells = [env, obs, what, str(len(group))]
        cells += [_shown(aggregate.at(group, steps)) for steps in reached]
        last = min(run["evaluations"][-1]["env_steps"] for run in group)
        minutes = max(row["minutes"] for run in group for row in run["evaluations"] if row["env_steps"] <= last)
        cells.append(f"{_shown(aggregate.at(group, last))} at {last / 1000:.0f}k, {minutes:.0f} min")
        cells += [runs.protocol(group[0]), _published_at(published.curves(env, obs), last)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _published_protocols(groups: Iterable[tuple[str, str, str]]) -> str:
    """How the published agents were trained, and where their numbers are from."""
    from latentplan.cli import published

    lines: dict[str, None] = {}  # in order, each once
    for env, obs in dict.fromkeys((env, obs) for env, obs, _ in groups):
        for curve in published.curves(env, obs):
            protocol = curve.protocol or "protocol not published"
            lines[f"- {curve.title} ({env}, {obs}): {protocol}; {curve.source}"] = None
    return "\nPublished:\n\n" + "\n".join(lines) + "\n" if lines else ""


def _aggregate(groups: dict[tuple[str, str, str], list[dict[str, Any]]]) -> str:
    """Interquartile means of what was run without variants on several tasks of a suite with scores."""
    from latentplan.cli import aggregate

    suites: dict[tuple[str, str], dict[str, list[dict[str, Any]]]] = {}
    for (env, obs, what), group in groups.items():
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
    return "\n" + "\n".join(lines) + "\n" if lines else ""


def of_runs(runs: list[dict[str, Any]]) -> str:
    """One row per run: where its data is, how far it went, in how many parts (resumed or not), and how it was made."""
    lines = ["| run | env_steps | parts | commit | hardware | command |", "|---|---|---|---|---|---|"]
    for run in runs:
        done, asked = run["evaluations"][-1]["env_steps"] / 1000, run["config"]["run"]["env_steps"] / 1000
        reached = f"{done:.0f}k" if done >= asked else f"{done:.0f}k of {asked:.0f}k"
        lines.append(
            f"| [{run['name']}](runs/{run['name']}.json) | {reached} | {run['sittings']} | {run['commit'][:9]} | "
            f"{run['hardware']} | `{run['command']}` |"
        )
    return "\n".join(lines) + "\n"


def of_acting(runs: list[dict[str, Any]]) -> str:
    """One row per way of acting, for models that `experiments/evaluate.py --act` compared several ways with."""
    from latentplan.cli import aggregate

    lines = ["\n| one model, and what acts | return | episodes | env_steps | run |", "|---|---|---|---|---|"]
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
