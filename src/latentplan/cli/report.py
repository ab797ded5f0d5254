"""Shows runs: latentplan report runs/NAME... makes one self-contained HTML page, and its PNGs."""

import base64
import html
import io
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from latentplan.cli.words import explain, over_episodes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from latentplan.runs.summary import RunData


@dataclass(frozen=True, kw_only=True)
class Report:
    """Create a self-contained HTML report from log directories."""

    logdirs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Run folders. Runs that differ only in the seed are drawn as one curve with an interval."""
    out: Path | None = None
    """Folder for report.html and the PNGs. Default: `report` in the first log directory."""


def main(argv: list[str], program: Sequence[str] = ("latentplan", "report")) -> int:
    """The command line.

    Args:
        argv: without the program's name.
        program: its name, as it was typed.

    Returns:
        Exit status: 0 done, 2 a mistake on the command line.
    """
    options = tyro.cli(Report, args=argv, prog=" ".join(program), description=__doc__)
    try:
        if not options.logdirs:
            raise ValueError("logdirs: expected one or more folders of runs, got none; give runs/NAME")
        logdirs = tuple(logdir.expanduser() for logdir in options.logdirs)
        out = options.out.expanduser() if options.out else logdirs[0] / "report"
        page = write_report(logdirs, out)
    except (ValueError, OSError) as error:
        print(explain(error), file=sys.stderr)
        return 2
    print(f"report in {page}")
    return 0


def write_report(logdirs: tuple[Path, ...], out: Path) -> Path:
    """Writes the page and its pictures.

    Args:
        logdirs: of runs.
        out: output folder, created if needed.

    Returns:
        The page.

    Raises:
        ValueError: a folder holds no run, or nothing was evaluated yet.
    """
    from latentplan.runs import load_run
    from latentplan.runs.summary import summarise

    runs = [summarise(load_run(logdir)) for logdir in logdirs]
    out.mkdir(parents=True, exist_ok=True)
    body = [*_together(runs, out)]
    for run, logdir in zip(runs, logdirs, strict=True):
        body += _alone(run, logdir, out)
    page = out / "report.html"
    title, together = html.escape(", ".join(run["name"] for run in runs)), "\n".join(body)
    page.write_text(_PAGE.format(title=title, body=together), encoding="utf-8")
    return page


def _together(runs: "list[RunData]", out: Path) -> Iterator[str]:
    """Curves and prediction errors of all runs, by environment and observation."""
    from latentplan.cli import figures

    tasks: dict[tuple[str, str], list[RunData]] = {}
    for run in runs:
        tasks.setdefault((run["env"], run["obs"]), []).append(run)
    for (env, obs), of_task in tasks.items():
        groups, name = figures.named(of_task), f"{env}-{obs}".replace(":", ".").replace("/", ".")
        yield f"<h2>{html.escape(env)}, {html.escape(obs)}</h2>"
        if all(figures.has(run, "return") for run in of_task):
            yield _picture(figures.learning_curves(groups), out / f"{name}-curve.png")
            yield _picture(figures.learning_curves(groups, "minutes"), out / f"{name}-minutes.png")
        predicted = {group: x for group, x in groups.items() if all(figures.has(run, figures.PREDICTION) for run in x)}
        if predicted:
            yield "<h3>Prediction errors of the model</h3>"
            yield _picture(figures.prediction_errors(predicted), out / f"{name}-prediction.png")


def _alone(run: "RunData", logdir: Path, out: Path) -> Iterator[str]:
    """The report's section on one run."""
    from latentplan.cli import figures

    name = run["name"]
    yield f"<h2>{html.escape(name)}</h2>"
    yield _facts(run)
    if run["collected"]:
        yield _picture(figures.collected_returns(run), out / f"{name}-episodes.png")
    if run["learned"]:
        yield "<h3>Losses, means of each learning phase</h3>"
        yield _picture(figures.losses(run), out / f"{name}-losses.png")
    if figures.has(run, "planning/planned_return"):
        yield "<h3>Planned and realised rewards</h3>"
        yield "<p>Planned above realised: the planner exploits errors of the model.</p>"
        yield _picture(figures.planned_and_realised(run), out / f"{name}-promise.png")
    if figures.has(run, "planning/elite_return") and len(run["evaluations"][-1]["planning/elite_return"]) > 1:
        yield "<h3>The planner's iterations</h3>"
        yield _picture(figures.planner_iterations(run), out / f"{name}-planner.png")
    if others := figures.other_measurements(run):
        yield "<h3>Other measurements, at the evaluations</h3>"
        yield _picture(figures.measurements(run, others), out / f"{name}-measurements.png")
    yield _picture(figures.time_per_part(run), out / f"{name}-time.png")
    for title, pattern in (
        (
            "Open-loop prediction: first steps observed, the rest imagined (without a decoder: rewards only)",
            "open_loop_*.png",
        ),
        ("The same as a video", "open_loop_*.mp4"),
        ("Imagined trajectories: the first steps are observed, then the actor acts in the model", "dream_*.*"),
        ("Evaluation episode", "evaluation_*.mp4"),
    ):
        found = sorted((logdir / "videos").glob(pattern))
        if found:
            yield f"<h3>{title} ({html.escape(found[-1].name)})</h3>" + _embedded(found[-1])


def _facts(run: "RunData") -> str:
    last = run["evaluations"][-1]
    if "return" in last:
        found = over_episodes(last["return"], last["return_std"], last["episodes"])
    else:
        found = f"loss {last['loss']:.4g} on held-out episodes"
    facts = {
        "command": run["command"],
        "commit": ", ".join(run["commits"]),
        "hardware": run["hardware"],
        "last evaluation": f"{found} at "
        f"{last['env_steps']:,} env_steps, {last['updates']:,} updates, {last['minutes']:.0f} minutes, "
        f"{run['segments']} segment(s)",
    }
    rows = "".join(f"<tr><th>{name}</th><td>{html.escape(str(value))}</td></tr>" for name, value in facts.items())
    return f"<table>{rows}</table>"


def _picture(figure: "Figure", file: Path) -> str:
    data = io.BytesIO()
    figure.savefig(data, dpi=110, format="png")
    file.write_bytes(data.getvalue())
    return _embedded(file)


def _embedded(file: Path) -> str:
    data = base64.b64encode(file.read_bytes()).decode()
    if file.suffix == ".mp4":
        return f'<video controls loop muted src="data:video/mp4;base64,{data}"></video>'
    return f'<img alt="{html.escape(file.stem)}" src="data:image/png;base64,{data}">'


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 15px/1.5 sans-serif; max-width: 1000px; margin: 2em auto; padding: 0 1em; color: #222 }}
img, video {{ max-width: 100%; display: block; margin: .5em 0 }} video {{ max-height: 80vh }}
th {{ text-align: left; padding-right: 1em; vertical-align: top }} td {{ font-family: monospace; font-size: 13px }}
h2 {{ border-top: 1px solid #ccc; padding-top: .7em }}
</style></head><body><h1>{title}</h1>
{body}
</body></html>
"""
