"""The pictures of reports and of results/: learning curves, losses, time, planning diagnostics."""

import textwrap
from collections.abc import Sequence

import matplotlib

matplotlib.use("Agg")
import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from latentplan.cli import aggregate, published
from latentplan.config import Fields
from latentplan.driver.logging import Row
from latentplan.runs.summary import RunData, label, random_return

PREDICTION = "prediction/reward_mae"  # what every model with predictions has
Groups = dict[str, list[RunData]]
"""Legend label -> runs, which differ only in the seed."""
COUNTERS = ("env_steps", "episodes", "updates", "minutes")
_RETURNS = ("return", "return_std", "returns")
_PLANNED = ("planned_return", "realised_return", "planned_rewards", "realised_rewards")
_ITERATIONS = {"elite_return": "Mean return of the elites", "action_std": "Standard deviation of actions"}
_ERRORS = {
    "kl": "KL(posterior || d-step prior), nats",
    "latent_mse": "latent state, mean squared error",
    "observation_mse": "observation, mean squared error",
    "reward_mae": "reward, mean absolute error",
}
_LINE: Fields = {"marker": "o", "markersize": 2.5, "linewidth": 1}  # a single point shows, too
_PUBLISHED = ("tab:grey", "tab:brown", "tab:olive", "tab:pink", "tab:cyan", "black")


def learning_curves(groups: Groups, axis: str = "env_steps") -> Figure:
    """Evaluations of each group, mean and 95 % interval, beside the published returns and the random policy.

    Args:
        groups: of one environment and one kind of observation.
        axis: env_steps or minutes; over minutes nothing published is drawn.

    Returns:
        The figure.
    """
    figure, axes = _figure(height=5.0)
    last = 0.0
    for name, runs in groups.items():
        curve = aggregate.curve(runs, axis)
        (line,) = axes.plot(curve["x"], curve["mean"], marker="o", markersize=3, label=_with_seeds(name, runs))
        axes.fill_between(curve["x"], curve["low"], curve["high"], color=line.get_color(), alpha=0.2, linewidth=0)
        last = max(last, *curve["x"])
    runs = [run for group in groups.values() for run in group]
    env, obs = runs[0]["env"], runs[0]["obs"]
    random = float(np.mean([random_return(run) for run in runs]))
    axes.axhline(random, linestyle=":", color="black", linewidth=1, label=f"random policy {random:.3g}")
    if axis == "env_steps":
        _draw_published(axes, env, obs, last)
    axes.set(xlabel="env_steps (action repeat counted)" if axis == "env_steps" else "minutes", ylabel="return")
    axes.set_title(
        f"{env}, {obs}: evaluation without noise, mean and 95 % interval", fontsize=11 if len(env) < 30 else 9
    )
    _legend_below(figure, axes)
    return figure


def _draw_published(axes: Axes, env: str, obs: str, last: float) -> None:
    """Published means and ranges over seeds, as far as our curve goes and to their next point after it."""
    for color, curve in zip(_PUBLISHED, published.curves(env, obs), strict=False):
        shown = slice(0, int(np.searchsorted(curve.env_steps, last)) + 1)
        steps = curve.env_steps[shown]
        if steps[0] > 2 * last:  # nothing to compare with yet
            continue
        label = textwrap.fill(f"{curve.title} ({curve.seeds} seeds; {curve.protocol or 'protocol not published'})", 100)
        axes.plot(steps, curve.mean[shown], "*--", color=color, markersize=7, linewidth=1, label=label)
        axes.fill_between(steps, curve.low[shown], curve.high[shown], color=color, alpha=0.08, linewidth=0)
    axes.set_xlim(right=min(axes.get_xlim()[1], 2 * last))
    if (best := published.oracle(env)) is not None:
        axes.axhline(best, color="tab:green", linestyle="--", linewidth=1, label=f"{published.ORACLE}: {best:.0f}")


def collected_returns(run: RunData) -> Figure:
    """Every collected episode, with exploration noise, and the evaluations over them."""
    figure, axes = _figure()
    for random, name in ((True, "seed episodes (random)"), (False, "collected (with exploration noise)")):
        rows = [row for row in run["collected"] if bool(row["random"]) == random]
        axes.plot(*_columns(rows, "env_steps", "return"), ".", color="black" if random else "tab:grey", label=name)
    axes.plot(*_columns(run["evaluations"], "env_steps", "return"), "o-", label="evaluation (without)")
    axes.set(xlabel="env_steps (action repeat counted)", ylabel="return", title="Collected and evaluated episodes")
    axes.legend(fontsize="x-small")
    return figure


def losses(run: RunData) -> Figure:
    """Every metric of the update over updates, a panel each."""
    rows = run["learned"]
    left_out = (*COUNTERS, "finite")
    names = [name for name in dict.fromkeys(x for row in rows for x in row) if name.split("/")[-1] not in left_out]
    figure = _grid(names)
    for name, axes in zip(names, figure.axes, strict=True):
        axes.plot(*_columns([row for row in rows if name in row], "updates", name), **_LINE)
        axes.set_xlabel("updates", fontsize="x-small")
        if name in ("kl", "loss") and "kl" in names:
            axes.set_title(f"{name} (nats per step)", fontsize="small")
        if name == "kl":
            free = run["config"]["agent_config"]["loss"]["free_nats"]
            axes.axhline(free, linestyle="--", color="tab:red", linewidth=1, label=f"free nats {free}")
            axes.legend(fontsize="x-small")
    return figure


def other_measurements(run: RunData) -> list[str]:
    """Names of the evaluations' numbers that no other figure shows: of further diagnostics, held-out losses, ..."""
    shown = {*COUNTERS, *_RETURNS, *(f"prediction/{name}" for name in _ERRORS)}
    shown |= {f"planning/{name}" for name in (*_PLANNED, *_ITERATIONS)}
    names = dict.fromkeys(name for row in run["evaluations"] for name in row)
    return [name for name in names if name not in shown and name.split("/")[-1] != "finite"]


def measurements(run: RunData, names: Sequence[str]) -> Figure:
    """Numbers of the evaluations, a panel each: scalars over the run, vectors of the last evaluation by index.

    Args:
        run: with evaluations.
        names: of the numbers.

    Returns:
        The figure.
    """
    figure = _grid(names)
    axis = "env_steps" if run["collected"] else "updates"
    for name, axes in zip(names, figure.axes, strict=True):
        rows = _having(run, name)
        last = rows[-1][name]
        vector = isinstance(last, list)
        axes.plot(*([range(1, len(last) + 1), last] if vector else _columns(rows, axis, name)), **_LINE)
        axes.set_xlabel(f"index, at {rows[-1][axis]:,} {axis}" if vector else axis, fontsize="x-small")
    return figure


def time_per_part(run: RunData) -> Figure:
    """Wall-clock time by part."""
    figure, axes = _figure(height=2.4)
    names, seconds = zip(*sorted(run["seconds"].items(), key=lambda item: item[1]), strict=True)
    bars = axes.barh(names, [value / 60 for value in seconds])
    axes.bar_label(bars, [f" {value / sum(seconds):.0%}" for value in seconds], fontsize="small")
    axes.margins(x=0.12)
    axes.set(xlabel="minutes", title=f"Time per part: {sum(seconds) / 60:.0f} minutes in all")
    return figure


def planned_and_realised(run: RunData) -> Figure:
    """Planned and realised rewards: over training, and by distance at the last evaluation."""
    rows = _having(run, "planning/planned_return")
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for kind, style in (("planned", "o--"), ("realised", "o-")):
        left.plot(*_columns(rows, "env_steps", f"planning/{kind}_return"), style, markersize=3, label=kind)
        ahead = rows[-1][f"planning/{kind}_rewards"]
        right.plot(range(1, len(ahead) + 1), ahead, style, markersize=3, label=kind)
    left.set(xlabel="env_steps", ylabel=f"return of {len(ahead)} decisions", title="Mean over evaluation decisions")
    right.set(
        xlabel="decisions ahead", ylabel="reward", title=f"By steps ahead, at {rows[-1]['env_steps']:,} env_steps"
    )
    right.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in (left, right):
        axes.legend(fontsize="x-small")
        axes.grid(alpha=0.3)
    return figure


def planner_iterations(run: RunData) -> Figure:
    """Return of the elites and spread of actions after each of the planner's iterations, evaluation by evaluation."""
    rows = _having(run, "planning/elite_return")
    panels = {name: title for name, title in _ITERATIONS.items() if f"planning/{name}" in rows[-1]}  # what it tells
    figure = Figure(figsize=(4.5 * len(panels), 3.4), layout="constrained")
    for axes, (name, title) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        for i, row in enumerate(rows):
            values = row[f"planning/{name}"]
            shown = f"{row['env_steps']:,} env_steps" if i in (0, len(rows) - 1) else None
            color = colormaps["viridis"](i / max(1, len(rows) - 1))
            axes.plot(range(1, len(values) + 1), values, "o-", markersize=3, color=color, label=shown)
        axes.set(xlabel="iteration", title=title)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(fontsize="x-small")
        axes.grid(alpha=0.3)
    return figure


def prediction_errors(groups: Groups) -> Figure:
    """Prediction errors by distance, at each group's last evaluation, for all available quantities."""
    last = {group: [_having(run, PREDICTION)[-1] for run in runs] for group, runs in groups.items()}
    panels = {
        name: title
        for name, title in _ERRORS.items()
        if any(f"prediction/{name}" in row for rows in last.values() for row in rows)
    }
    figure = Figure(figsize=(4 * len(panels), 4.2), layout="constrained")
    for axes, (name, title) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        lows: list[float] = []
        highs: list[float] = []
        for number, (group, rows) in enumerate(last.items()):
            if any(f"prediction/{name}" not in row for row in rows):
                continue
            values = np.mean([row[f"prediction/{name}"] for row in rows], 0)
            if not values.any():  # the KL of a deterministic model
                continue
            color = f"C{number}"  # a group's is the same in every panel
            label = _with_seeds(group, groups[group])
            axes.plot(range(1, len(values) + 1), values, "o-", markersize=3, color=color, label=label)
            lows.append(float(values.min()))
            highs.append(float(values.max()))
        wide = min(lows, default=0.0) > 0 and max(highs) > 5 * min(lows)
        axes.set(xlabel="d, decisions ahead", title=title, yscale="log" if wide else "linear")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3, which="both")
    _legend_below(figure, figure.axes[-1])
    return figure


def has(run: RunData, name: str) -> bool:
    """Whether an evaluation of the run holds `name`."""
    return bool(_having(run, name))


def named(runs: Sequence[RunData]) -> Groups:
    """Runs of one environment and observation, by label."""
    groups: Groups = {}
    for run in runs:
        groups.setdefault(label(run), []).append(run)
    return groups


def _having(run: RunData, name: str) -> list[Row]:
    return [row for row in run["evaluations"] if name in row]


def _columns(rows: Sequence[Row], *names: str) -> list[list[float]]:
    return [[row[name] for row in rows] for name in names]


def _with_seeds(name: str, runs: list[RunData]) -> str:
    return textwrap.fill(f"{name} ({len(runs)} seed{'s' if len(runs) > 1 else ''})", 100)


def _legend_below(figure: Figure, axes: Axes) -> None:
    """Below everything, since the names of variants are long."""
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", fontsize="x-small")


def _grid(names: Sequence[str], columns: int = 3) -> Figure:
    """An empty panel for each name, under its title."""
    lines = -(-len(names) // columns)
    figure = Figure(figsize=(3.4 * columns, 2.3 * lines), layout="constrained")
    for i, name in enumerate(names, start=1):
        axes = figure.add_subplot(lines, columns, i)
        axes.set_title(name, fontsize="small")
        axes.grid(alpha=0.3)
    return figure


def _figure(height: float = 4.0) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(7, height), layout="constrained")
    axes = figure.subplots()
    axes.grid(alpha=0.3)
    return figure, axes
