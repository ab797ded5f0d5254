"""Published learning curves, for comparison at equal env_steps. Numbers and sources are in published.json."""

import functools
import json
from importlib import resources
from typing import NamedTuple

import numpy as np

from latentplan.config import Fields
from latentplan.runs.summary import RunData

ORACLE = "CEM on the true simulator (PlaNet, table 1)"


class PublishedCurve(NamedTuple):
    """One agent's published returns in one environment.

    Attributes:
        title: the agent, as its paper calls it.
        seeds: number of seeds behind a mean.
        source: the released file or the table.
        protocol: action repeat, updates and replay ratio, as one phrase; empty where they were not published.
        env_steps: [n], increasing, action repeat counted.
        mean: [n], over seeds.
        low, high: [n], lowest and highest seed; nan where only a mean was printed.
    """

    title: str
    seeds: int
    source: str
    protocol: str
    env_steps: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def at(self, env_steps: int) -> float | None:
        """The mean at `env_steps`, interpolated linearly; None before the first and after the last point."""
        if not self.env_steps[0] <= env_steps <= self.env_steps[-1]:
            return None
        return float(np.interp(env_steps, self.env_steps, self.mean))


def curves(env: str, obs: str) -> list[PublishedCurve]:
    """Everything that was published for an environment.

    Args:
        env: the environment's name, e.g. walker_walk.
        obs: pixels or state.

    Returns:
        One curve per agent; empty where nothing is known.
    """
    data = _data()
    found = [curve for curve in data["curves"] if (curve["env"], curve["obs"]) == (env, obs)]
    return [_curve(curve, data["protocols"][curve["agent"]]) for curve in found]


def oracle(env: str) -> float | None:
    """What CEM reaches with the true simulator as its model (PlaNet, table 1); None where it was not published."""
    value = _data()["oracle"]["returns"].get(env)
    return None if value is None else float(value)


def describe_protocol(action_repeat: int | None, updates_per_1000: float | None, batch_records: int | None) -> str:
    """Describes a training protocol, in the same format for published runs and ours.

    Args:
        action_repeat: control steps per decision.
        updates_per_1000: gradient steps per 1,000 env_steps.
        batch_records: records (decisions) in one batch.

    Returns:
        A phrase; empty where something is not known. The replay ratio is records replayed per record collected.
    """
    if action_repeat is None or updates_per_1000 is None or batch_records is None:
        return ""
    ratio = updates_per_1000 / 1000 * action_repeat * batch_records
    updates = f"{updates_per_1000:.3g} updates per 1,000 env_steps"
    return f"action repeat {action_repeat}, {updates}, replay ratio {ratio:.0f}"


def protocol_of(run: RunData) -> str:
    """Action repeat, updates and replay ratio of a run of ours, in the words of `describe_protocol`.

    Args:
        run: from `runs.summary.summarise`.

    Returns:
        A phrase; empty for runs from before it was recorded.
    """
    decisions = [row["decisions"] for row in run["collected"] if "decisions" in row]
    if not decisions:  # recorded since 0.1.0
        return ""
    last = run["evaluations"][-1]
    steps = max(row["env_steps"] for row in run["collected"])
    replay = run["config"]["replay"]
    repeat = round(steps / sum(decisions))
    return describe_protocol(repeat, 1000 * last["updates"] / steps, replay["batch_size"] * replay["batch_length"])


def _curve(curve: Fields, protocol: Fields) -> PublishedCurve:
    points = np.array(curve["points"], np.float64).T  # a missing range becomes nan
    repeat = protocol["action_repeat"]
    if isinstance(repeat, dict):  # by task
        repeat = repeat[curve["env"]]
    described = describe_protocol(repeat, protocol["updates_per_1000_env_steps"], protocol["batch_records"])
    return PublishedCurve(protocol["title"], curve["seeds"], curve["source"], described, *points)


@functools.cache
def _data() -> Fields:
    return json.loads((resources.files("latentplan.cli") / "published.json").read_text(encoding="utf-8"))
