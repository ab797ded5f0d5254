"""Compatibility with run folders of earlier versions.

0.1.0 called the segments of a resumed run "sittings", and did not store the environment's spec.
"""

import copy
from collections.abc import Iterable
from pathlib import Path

import gymnasium

from latentplan.config import Fields
from latentplan.data.arrays import is_one_hot
from latentplan.driver.logging import METRICS_FILE, read_metrics
from latentplan.replay.episodes import read_episode
from latentplan.types import Batch, EnvSpec


def is_0_1_0(held: Fields) -> bool:
    """Whether config.json holds a run of 0.1.0."""
    return "sittings" in held


def config(values: Fields) -> Fields:
    """A config of 0.1.0 with values of newer fields whose defaults would not keep its behaviour."""
    values = copy.deepcopy(values)
    loss = values["agent_config"]["loss"]
    if "overshooting_distance" in loss:
        loss["overshooting_average"] = "eq7"
    return values


def spec(logdir: Path, config: Fields) -> EnvSpec:
    """Reconstructs the spec of a 0.1.0 run's environment from its collected episodes.

    Actions are discrete where all are one-hot. The time limit is what gymnasium's registry says, or else the length of
    an episode that did not terminate.

    Args:
        logdir: of the run.
        config: of the run.

    Returns:
        EnvSpec.

    Raises:
        ValueError: no episode has been collected yet.
    """
    files = sorted((logdir / "episodes").glob("[0-9]*.npz"))
    if not files:
        raise ValueError(f"logdir: expected an episode in {logdir / 'episodes'}, got none; let the run collect one")
    first = read_episode(files[0])
    taken = first.action[1:]
    action_repeat = _action_repeat(logdir, files)
    (observation,) = first.observation.values()
    return EnvSpec.single(
        observation.shape[1:],
        str(observation.dtype),
        action_size=taken.shape[1],
        action_repeat=action_repeat,
        max_decisions=_max_decisions(map(read_episode, files), config["env"], action_repeat),
        discrete=is_one_hot(taken),
    )


def _action_repeat(logdir: Path, files: list[Path]) -> int:
    """Control steps per decision, from the counters after the first collection."""
    file = logdir / METRICS_FILE
    rows = read_metrics(file) if file.is_file() else []
    row = next((row for row in rows if "collect/return" in row), None)
    if row is None:
        raise ValueError(f"{file}: expected a row of a collected episode, got none; let the run go on")
    decisions = sum(len(read_episode(file).reward) - 1 for file in files[: row["episodes"]])
    return round(row["env_steps"] / decisions)


def _max_decisions(episodes: Iterable[Batch], env: str, action_repeat: int) -> int | None:
    registered = gymnasium.registry.get(env.rpartition(":")[2])
    if registered is not None:
        limit = registered.max_episode_steps
        return None if limit is None else -(-limit // action_repeat)
    return next((len(episode.reward) - 1 for episode in episodes if not episode.is_terminal[-1]), None)
