"""One run as data: agent, environment, schedule and log directory."""

from pathlib import Path
from typing import Any, NamedTuple

import jax

from latentplan.checks import described, expect_type
from latentplan.data import Split
from latentplan.driver.memory import check_memory
from latentplan.driver.rng import stream_key
from latentplan.driver.schedule import RunConfig, stages_of
from latentplan.envs.env import EnvConfig
from latentplan.envs.recorded import RECORDED
from latentplan.envs.workers import Workers
from latentplan.replay.ring import Replay, ReplayConfig, make_replay
from latentplan.types import Agent, EnvSpec, Params, TrainState


class Job(NamedTuple):
    """The input of the training loop.

    Attributes:
        agent: the agent to train.
        spec: of the environment, for which the agent was built.
        env: the environment's name; `RECORDED` if there is none, only recorded data.
        environment: its settings.
        run: the schedule.
        replay: the replay memory's settings.
        logdir: a directory for this run only; it must exist when training starts.
        workers: the environments, if already started. The loop closes them in any case.
        data: recorded episodes, to learn from and held out; None without any.
        start: parameters to start from, instead of random ones; ignored when the run is resumed.
    """

    agent: Agent
    spec: EnvSpec
    env: str
    environment: EnvConfig
    run: RunConfig
    replay: ReplayConfig
    logdir: Path
    workers: Workers | None = None
    data: Split | None = None
    start: Params | None = None


def check_job(job: Job) -> None:
    """Checks, before anything is allocated or written, that the settings fit each other and the machine.

    Args:
        job: the run.

    Raises:
        ValueError: the replay does not fit into memory, the schedule names an unknown update or needs an environment,
            the agent does not support such windows, or it returns no priorities for prioritised replay.
    """
    collects = job.env != RECORDED or not job.run.env_steps
    job.run.require(collects, "env_steps", "0 without an environment", "name the environment, or leave it out")
    if job.data is not None:
        records = sum(len(episode.reward) for episode in job.data.training)
        room = f"at least {records}, the records of the data to learn from"
        job.replay.require(records <= job.replay.capacity, "capacity", room, "raise it, or give fewer episodes")
        window = job.replay.batch_length
        job.replay.require(window <= records, "batch_length", f"at most the {records} records of the data", "lower it")
    check_memory(job.replay, job.spec)
    stages_of(job.run, job.agent.updates)
    update_metrics(job.agent, make_replay(job.replay, job.spec))


def update_metrics(agent: Agent, replay: Replay) -> dict[str, dict[str, jax.ShapeDtypeStruct]]:
    """Traces the agent's updates to get the shapes of their metrics.

    Args:
        agent: the agent to train.
        replay: the replay memory; used for shapes only.

    Returns:
        Update's name -> the shapes of its metrics.

    Raises:
        ValueError: as for `check_job`; or an update does not return (TrainState, metrics), as `types.Update` says.
    """
    key = stream_key(0, "init")
    memory = jax.eval_shape(replay.init)
    sample = jax.eval_shape(replay.sample, memory, key)
    train_state = jax.eval_shape(agent.init, key)
    returned = {name: jax.eval_shape(update, train_state, sample, key) for name, update in agent.updates.items()}
    metrics = {name: _metrics(f"updates[{name!r}]", train_state, found) for name, found in returned.items()}
    if replay.priorities(memory) is not None and not any("priority" in found for found in metrics.values()):
        raise ValueError("priority_exponent: expected 0, since this agent returns no priorities; TD-MPC does")
    return metrics


def _metrics(where: str, before: TrainState, returned: Any) -> dict[str, jax.ShapeDtypeStruct]:
    """The shapes of the metrics that an update returned; refused unless all that it returned is as `Update` says."""
    if not (isinstance(returned, tuple) and len(returned) == 2 and isinstance(returned[1], dict)):
        raise ValueError(f"{where}: expected (TrainState, metrics by name), got {described(returned)}; return both")
    after, metrics = returned
    expect_type(f"{where}, state", after, TrainState, "return (TrainState, metrics)")
    for field, given, got in zip(TrainState._fields, before, after, strict=True):
        if _layout(given) != _layout(got):
            raise ValueError(f"{where}, state.{field}: expected structure, shapes and types as given, got others")
    wide = [f"{name} {x.shape}" for name, x in metrics.items() if x.shape and name != "priority"]
    if wide:
        raise ValueError(f"{where}: expected metrics that are scalars, got {', '.join(wide)}; return means")
    if "finite" not in metrics:
        got, advice = ", ".join(metrics) or "none", "add it, 1.0 where loss and gradients are finite"
        raise ValueError(f"{where}: expected finite among the metrics, got {got}; {advice}")
    return metrics


def _layout(tree: Any) -> tuple[Any, list[Any]]:
    leaves, structure = jax.tree.flatten(tree)
    return structure, [(x.shape, x.dtype) for x in leaves]
