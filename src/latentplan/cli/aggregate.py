"""Aggregation over seeds: learning curves and returns with 95 % intervals."""

from collections.abc import Sequence

import numpy as np

from latentplan.envs import suite_of
from latentplan.runs.summary import RunData, label, returns_of

RESAMPLES = 2000


def group(runs: Sequence[RunData]) -> dict[tuple[str, str, str], list[RunData]]:
    """Groups runs by (env, obs, label), ordered by seed; runs of one group differ only in the seed."""
    groups: dict[tuple[str, str, str], list[RunData]] = {}
    for run in sorted(runs, key=lambda run: (run["env"], run["obs"], label(run), run["seed"])):
        groups.setdefault((run["env"], run["obs"], label(run)), []).append(run)
    return groups


def interval(returns: Sequence[Sequence[float]]) -> tuple[float, float, float]:
    """Mean return and its 95 % interval, by a percentile bootstrap that draws seeds and then their episodes.

    With one or two seeds the interval holds little but the spread of episodes.

    Args:
        returns: of each seed's episodes.

    Returns:
        (mean over seeds of the mean over episodes, low, high).
    """
    rng, seeds = np.random.default_rng(0), [np.asarray(x, np.float64) for x in returns]
    means = np.stack([rng.choice(x, (RESAMPLES, len(x))).mean(1) for x in seeds], 1)
    drawn = rng.integers(len(seeds), size=(RESAMPLES, len(seeds)))
    low, high = np.percentile(np.take_along_axis(means, drawn, 1).mean(1), [2.5, 97.5])
    return float(np.mean([x.mean() for x in seeds])), float(low), float(high)


def curve(runs: Sequence[RunData], axis: str = "env_steps") -> dict[str, np.ndarray]:
    """The learning curve of one group: over the evaluations that every seed has reached.

    Args:
        runs: of one group.
        axis: env_steps or minutes; what runs are aligned by is always env_steps.

    Returns:
        {"x": [n], "mean": [n], "low": [n], "high": [n]}; x is the mean over seeds.
    """
    by_steps = [{row["env_steps"]: row for row in run["evaluations"]} for run in runs]
    shared = sorted(set.intersection(*(set(rows) for rows in by_steps)))
    points = [[rows[steps] for rows in by_steps] for steps in shared]
    intervals = np.array([interval([returns_of(row) for row in rows]) for rows in points]).reshape(-1, 3)
    x = np.array([np.mean([row[axis] for row in rows]) for rows in points])
    return {"x": x, "mean": intervals[:, 0], "low": intervals[:, 1], "high": intervals[:, 2]}


def at(runs: Sequence[RunData], env_steps: int) -> tuple[float, float, float] | None:
    """`interval` at the last evaluation up to `env_steps` of every seed; None where a seed has not got so far.

    An evaluation may come up to a fifth of `env_steps` early.
    """
    rows = []
    for run in runs:
        until = [row for row in run["evaluations"] if row["env_steps"] <= env_steps]
        if not until or until[-1]["env_steps"] < 0.8 * env_steps:
            return None
        rows.append(until[-1])
    return interval([returns_of(row) for row in rows])


def max_return(env: str) -> float | None:
    """The maximum return of an episode; None if unknown."""
    try:
        return suite_of(env).max_return
    except ValueError:
        return None


def across_tasks(groups: dict[str, list[RunData]]) -> tuple[float, float, float]:
    """Interquartile mean of the last evaluations' scores over tasks, with rliable's stratified bootstrap.

    Agarwal et al. 2021, "Deep Reinforcement Learning at the Edge of the Statistical Precipice".

    Args:
        groups: tasks to their runs; each has a largest return. All are cut to the smallest number of seeds.

    Returns:
        (interquartile mean, low, high) of return / largest return.
    """
    from rliable import library, metrics

    count = min(map(len, groups.values()))
    final = [
        [np.mean(returns_of(run["evaluations"][-1])) / (max_return(env) or 1.0) for run in runs[:count]]
        for env, runs in groups.items()
    ]
    scores = {"all": np.array(final).T}  # [seeds, tasks]
    points, intervals = library.get_interval_estimates(
        scores, lambda x: np.array([metrics.aggregate_iqm(x)]), reps=RESAMPLES, random_state=np.random.RandomState(0)
    )
    return float(points["all"][0]), float(intervals["all"][0, 0]), float(intervals["all"][1, 0])
