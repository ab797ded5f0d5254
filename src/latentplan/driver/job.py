"""One run as data: what learns, where, on what schedule, and where it is written."""

from pathlib import Path
from typing import NamedTuple

import jax

from latentplan.driver.memory import check_memory
from latentplan.driver.rng import stream_key
from latentplan.driver.schedule import RunConfig, stages_of
from latentplan.envs.env import EnvConfig
from latentplan.envs.workers import Workers
from latentplan.replay.ring import Replay, ReplayConfig, check_lengths, make_replay
from latentplan.types import Agent, EnvSpec


class Job(NamedTuple):
    """Everything that the training loop is given.

    Attributes:
        agent: what learns.
        spec: of the environment; the agent was built for it.
        env: the environment's name.
        environment: how it is presented.
        run: the schedule.
        replay: the replay memory's settings.
        logdir: a directory of this run alone; it exists once the run begins.
        workers: the environments, if they are started already. The loop closes them at the end in any case.
    """

    agent: Agent
    spec: EnvSpec
    env: str
    environment: EnvConfig
    run: RunConfig
    replay: ReplayConfig
    logdir: Path
    workers: Workers | None = None


def check_job(job: Job) -> None:
    """Refuses settings that do not fit each other or the machine, before anything is allocated or written.

    Args:
        job: the run.

    Raises:
        ValueError: windows are longer than any episode, the replay does not fit the memory, the schedule names an
            update that the agent does not have, or the agent cannot learn from such windows, or gives none of the
            priorities that they are drawn by.
    """
    check_lengths(job.replay, job.spec)
    check_memory(job.replay, job.spec)
    stages_of(job.run, job.agent.updates)
    update_metrics(job.agent, make_replay(job.replay, job.spec))


def update_metrics(agent: Agent, replay: Replay) -> dict[str, dict[str, jax.ShapeDtypeStruct]]:
    """Traces the agent's updates.

    Args:
        agent: what learns.
        replay: what it learns from; only shapes are looked at.

    Returns:
        The metrics of each update by its name, as shapes.

    Raises:
        ValueError: as for `check_job`.
    """
    key = stream_key(0, "init")
    memory = jax.eval_shape(replay.init)
    sample = jax.eval_shape(replay.sample, memory, key)
    train_state = jax.eval_shape(agent.init, key)
    metrics = {name: jax.eval_shape(update, train_state, sample, key)[1] for name, update in agent.updates.items()}
    if replay.priorities(memory) is not None and not any("priority" in found for found in metrics.values()):
        raise ValueError("priority_exponent: expected 0, as the agent gives no priorities; TD-MPC does")
    return metrics
