"""Writes what a run reached into results/: python experiments/report.py runs/NAME. Rebuilds results/README.md."""

import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro


@dataclass(frozen=True, kw_only=True)
class Report:
    """Turn log directories into data and pictures."""

    logdirs: Annotated[tuple[Path, ...], tyro.conf.Positional] = ()
    """Folders of runs. None: only the table is rebuilt."""
    out: Path = Path("results")
    """Folder for NAME.json, NAME.png, NAME-open-loop.png and the table README.md."""


def main(argv: list[str]) -> int:
    """The command line.

    Args:
        argv: without the program's name.

    Returns:
        Exit status: 0 done, 2 a mistake on the command line.
    """
    options = tyro.cli(Report, args=argv, description=__doc__)
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        for logdir in options.logdirs:
            write_result(logdir, options.out)
        (options.out / "README.md").write_text(table(options.out))
    except ValueError as error:
        print(f"ValueError: {error}", file=sys.stderr)
        return 2
    print(f"results in {options.out}")
    return 0


def write_result(logdir: Path, out: Path) -> None:
    """One run as NAME.json with its curve, a picture of the curve, and its last open-loop prediction.

    Args:
        logdir: of the run; its name becomes NAME.
        out: where to.

    Raises:
        ValueError: the folder holds no run, or nothing was evaluated yet.
    """
    from latentplan.driver.logging import read_metrics

    file = logdir / "config.json"
    if not file.is_file():
        raise ValueError(f"logdir: expected the folder of a run, with a config.json, got {logdir}")
    described, rows = json.loads(file.read_text()), read_metrics(logdir / "metrics.jsonl")
    result = summarise(described, rows)
    (out / f"{logdir.name}.json").write_text(json.dumps(result, indent=1) + "\n")
    draw(result, out / f"{logdir.name}.png")
    pictures = sorted((logdir / "videos").glob("open_loop_*.png"))
    if pictures:
        shutil.copy(pictures[-1], out / f"{logdir.name}-open-loop.png")


def summarise(described: dict[str, Any], rows: list[dict[str, Any]]) -> dict[str, Any]:
    """A run's provenance and curve.

    Args:
        described: config.json.
        rows: metrics.jsonl.

    Returns:
        A JSON-ready dictionary. Minutes are wall-clock time from the run's start, all sittings together.
    """
    evaluated = [row for row in rows if "evaluation/return" in row]
    if not evaluated:
        raise ValueError("metrics.jsonl: expected at least one evaluation, got none; let the run go on")
    collected = [row for row in rows if "collect/return" in row]
    learned = [row for row in rows if "learn/loss" in row]
    config, first = described["config"], described["sittings"][0]
    flags = [word for word in first["command"] if word not in ("python", "run.py", "experiments/run.py")]
    flags = [word for i, word in enumerate(flags) if word != "--logdir" and (i == 0 or flags[i - 1] != "--logdir")]
    return {
        "env": config["env"],
        "agent": config["agent"],
        "preset": config["preset"],
        "obs": config["environment"]["obs"],
        "seed": config["run"]["seed"],
        "command": " ".join(["python experiments/run.py", *flags]),
        "commit": first["commit"],
        "hardware": f"{first['device']}, {first['cores']} cores, {first['platform']}",
        "python": first["python"],
        "versions": first["versions"],
        "sittings": len(described["sittings"]),
        "config": {name: value for name, value in config.items() if name != "logdir"},
        "evaluations": [
            {
                "env_steps": row["env_steps"],
                "updates": row["updates"],
                "return": row["evaluation/return"],
                "std": row["evaluation/return_std"],
                "episodes": row["evaluation/episodes"],
                "minutes": row["time/total"] / 60,
            }
            for row in evaluated
        ],
        "collected": [
            {"env_steps": r["env_steps"], "return": r["collect/return"], "random": bool(r["collect/random"])}
            for r in collected
        ],
        "kl": [{"updates": row["updates"], "nats": row["learn/kl"]} for row in learned],
    }


def random_return(result: dict[str, Any]) -> float:
    """Mean return of the run's seed episodes, which act at random."""
    returns = [row["return"] for row in result["collected"] if row["random"]]
    return sum(returns) / len(returns)


def draw(result: dict[str, Any], path: Path) -> None:
    """The learning curve: evaluations with their spread, collected episodes, the random policy."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    evaluations = result["evaluations"]
    steps = [row["env_steps"] for row in evaluations]
    returns = [row["return"] for row in evaluations]
    axes.plot(
        [row["env_steps"] for row in result["collected"]],
        [row["return"] for row in result["collected"]],
        ".", color="tab:grey", alpha=0.6, label="collected episodes (with exploration noise)",
    )  # fmt: skip
    axes.errorbar(
        steps, returns, [row["std"] for row in evaluations], marker="o", capsize=3,
        label=f"evaluation, mean and std over {evaluations[-1]['episodes']} episodes",
    )  # fmt: skip
    axes.axhline(random_return(result), linestyle="--", color="tab:red", label="random policy (seed episodes)")
    axes.set(xlabel="env_steps (action repeat counted)", ylabel="return", ylim=(0, None))
    axes.set_title(f"{result['env']}, {result['obs']}, preset {result['preset']}, seed {result['seed']}")
    axes.legend(loc="upper left", fontsize="small")
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def table(out: Path) -> str:
    """results/README.md: one row per run, from the JSON files alone."""
    lines = [
        "# Results",
        "",
        "Written by `python experiments/report.py LOGDIR...`; each row is one run, with its data in the JSON file.",
        "Evaluation without exploration noise; random is the mean of the run's seed episodes.",
        "",
        "| run | env_steps | return: last evaluation | best | random | minutes | seed | commit | command |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for file in sorted(out.glob("*.json")):
        result = json.loads(file.read_text())
        last = result["evaluations"][-1]
        best = max(row["return"] for row in result["evaluations"])
        lines.append(
            f"| [{file.stem}]({file.name}) ([curve]({file.stem}.png)) | {last['env_steps']} "
            f"| {last['return']:.0f} +- {last['std']:.0f} ({last['episodes']} episodes) | {best:.0f} "
            f"| {random_return(result):.0f} | {last['minutes']:.0f} | {result['seed']} | {result['commit'][:9]} "
            f"| `{result['command']}` |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
