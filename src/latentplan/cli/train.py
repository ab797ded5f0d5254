"""Trains an agent: latentplan train --env walker_walk. The same command with the same logdir resumes."""

import argparse
import dataclasses
import fnmatch
import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latentplan.cli.words import NO_TIME_LIMIT, explain

if TYPE_CHECKING:
    from latentplan.data import RawData
    from latentplan.driver.job import Job
    from latentplan.envs.workers import Workers
    from latentplan.presets.experiment import Experiment
    from latentplan.types import EnvSpec

DATA_UPDATES = 10_000
"""Gradient steps on recorded data, unless asked for more or fewer."""


def main(argv: list[str], program: Sequence[str] = ("latentplan", "train")) -> int:
    """The command line.

    Args:
        argv: without the program's name.
        program: its name, as it was typed; kept in config.json.

    Returns:
        Exit status: 0 done, 1 a failure, 2 a mistake on the command line, 130 interrupted (and saved).
    """
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # take GPU memory as it is needed
    from rich.console import Console

    console = Console(stderr=False)
    try:
        return _run(argv, program, console)
    except KeyboardInterrupt:
        console.print("stopped; the same command resumes from the last checkpoint")
        return 130
    except (ValueError, OSError, RuntimeError) as error:
        complain(explain(error))
        return 2 if isinstance(error, ValueError) else 1


def complain(line: str) -> None:
    """Prints an error on stderr."""
    from rich.console import Console

    Console(stderr=True).print(line, markup=False, highlight=False, soft_wrap=True, style="red")


def _run(argv: list[str], program: Sequence[str], console) -> int:
    from latentplan.cli.display import Display
    from latentplan.cli.options import naming_options
    from latentplan.driver import compilation, loop
    from latentplan.driver.job import check_job
    from latentplan.driver.logging import prepare_logdir
    from latentplan.envs.recorded import RECORDED
    from latentplan.envs.workers import Workers
    from latentplan.runs.folder import record_segment

    compilation.configure()
    experiment, data = parse(argv, program, console)
    with naming_options(experiment), ExitStack() as closing:
        workers = None
        if experiment.env != RECORDED:
            workers = closing.enter_context(Workers(experiment.env, experiment.environment, experiment.run.num_envs))
        job, notes = make_job(experiment, workers, data)
        check_job(job)  # before the folder is made
        logdir = prepare_logdir(job.logdir)
        length = (job.run.env_steps, "env_steps") if job.run.env_steps else (job.run.data_updates, "updates")
        with lock(logdir), Display(length[0], console, length[1]) as display:
            record_segment(logdir, experiment, job.spec, [*program, *argv])
            announce(experiment, logdir, job.spec, notes, console)
            try:
                progress = loop.train(job._replace(logdir=logdir), display)
            except loop.Interrupted:
                console.print("interrupted and saved; the same command resumes the run")
                return 130
    taken = f"{progress.env_steps} env_steps, {progress.updates} updates"
    console.print(f"done: {taken}; results in {logdir}", highlight=False, soft_wrap=True)
    if not progress.updates:
        advice = "raise --env-steps, or lower --seed-episodes and --seed-decisions"
        console.print(f"nothing was learned, as all env_steps went into random episodes; {advice}", soft_wrap=True)
    return 0


def make_job(
    experiment: "Experiment", workers: "Workers | None", data: "RawData | None" = None
) -> "tuple[Job, list[str]]":
    """An experiment's job: its agent, its data, and the parameters to start from.

    Args:
        experiment: from `parse`.
        workers: its environments; None without any.
        data: what it learns from, from `parse`; None without any.

    Returns:
        (job, notes): notes say how the environment is seen, and what was taken from where.

    Raises:
        ValueError: data, environment, agent and the run to start from do not fit together.
    """
    from latentplan.agents import make_agent
    from latentplan.config import ConfigError
    from latentplan.data import fit_data, split_held_out
    from latentplan.driver.checkpoint import Checkpoints
    from latentplan.driver.job import Job
    from latentplan.runs import load_run
    from latentplan.runs.start import start_from

    spec, notes = (workers.spec, [*workers.notes]) if workers else (None, [])
    split = start = None
    if data is not None:
        recorded = fit_data(data, spec)
        spec, split = recorded.spec, split_held_out(recorded.episodes, experiment.data_held_out)
        sizes = f"{len(split.training)} episodes to learn from, {len(split.held_out)} held out"
        notes += [f"data {data.path}: {note}" for note in (sizes, *data.notes)]
    if spec is None:
        raise ValueError("--env: expected an environment, got none; give one, or --data with recorded episodes")
    agent, logdir = make_agent(experiment.agent_config, spec), Path(experiment.folder())
    if experiment.from_run and not Checkpoints(logdir / "checkpoints").steps():  # else it is resumed
        try:
            start = start_from(load_run(experiment.from_run), agent, experiment.run.seed, parts=experiment.from_parts)
        except ConfigError:
            raise
        except ValueError as error:  # of that run's folder, which is not this run's logdir
            problem = str(error).removeprefix("logdir: ")
            raise ConfigError(type(experiment), "from_run", problem) from error
        notes.append(start.message)
    job = Job(
        agent=agent,
        spec=spec,
        env=experiment.env,
        environment=experiment.environment,
        run=experiment.run,
        replay=experiment.replay,
        logdir=logdir,
        workers=workers,
        data=split,
        start=None if start is None else start.params,
    )
    return job, notes


def parse(argv: list[str], program: Sequence[str], console) -> "tuple[Experiment, RawData | None]":
    """The experiment of a command line, its preset overridden by its flags, and the recorded data it names."""
    from latentplan.cli import options
    from latentplan.data import fit_data, read_raw
    from latentplan.envs.recorded import RECORDED
    from latentplan.presets import PRESETS, Experiment, make_preset, protocols, resolve_preset

    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    early.add_argument("--env", default="")
    early.add_argument("--preset", default="auto")
    early.add_argument("--obs", default="")
    early.add_argument("--data", default="")
    early.add_argument("--agent", default="")
    early.add_argument("--planner", default="")
    early.add_argument("--size", default="")
    known, _ = early.parse_known_args(argv)
    data = read_raw(known.data) if known.data else None
    recorded = fit_data(data) if data else None
    env = known.env or (RECORDED if recorded else Experiment.env)
    obs = known.obs or ("state" if recorded and not recorded.spec.images else "pixels")
    if recorded and env == RECORDED:
        check_observed(obs, recorded.spec)
    preset, why = resolve_preset(known.preset)
    agent = known.agent or protocols().get(preset, Experiment.agent)
    own = PRESETS[agent].all if agent in PRESETS else {preset: None}
    if known.preset == "auto" and preset not in own:
        raise ValueError(
            f"--preset: expected one of {agent}'s, {', '.join(own)}, got {preset}, which auto chose; name one"
        )
    with options.naming_options(Experiment):
        default = make_preset(preset, env, obs, known.planner, agent, known.size)
    console.print(why, highlight=False, soft_wrap=True)  # of a preset that exists
    default = dataclasses.replace(default, preset=known.preset)
    if recorded:
        default = on_recorded(default, recorded.records)
    shown = f"--env {env} --obs {obs} --agent {agent}"
    about = f"{__doc__}\n\nDefaults shown are for {shown}; add your --env, --obs and --agent to see theirs."
    try:
        experiment = options.parse(default, argv, about, program)
    except SystemExit as exit:
        for line in others_settings(argv, default.agent, default.planner) if exit.code else ():
            complain(line)
        raise
    return dataclasses.replace(experiment, preset=preset), data


def check_observed(obs: str, spec: "EnvSpec") -> None:
    """Refuses to observe what recorded data does not hold; without an environment nothing else is observed.

    Args:
        obs: pixels, state, or names separated by commas.
        spec: of the data.

    Raises:
        ValueError: there are no images, or there is no observation of a name.
    """
    known = [*spec.observations, "state", *(["image", "pixels"] if spec.images else [])]
    for name in obs.split(","):
        if not fnmatch.filter(known, name):
            held = ", ".join(spec.observations)
            raise ValueError(f"--obs: expected what the data holds, {held}, got {name}; leave it out")


def on_recorded(default, records: int):
    """A preset's experiment for recorded data: nothing is collected unless asked for, and replay has room for all."""
    run = dataclasses.replace(default.run, env_steps=0, data_updates=DATA_UPDATES)
    capacity = max(default.replay.capacity, records)
    return dataclasses.replace(default, run=run, replay=dataclasses.replace(default.replay, capacity=capacity))


def others_settings(argv: list[str], agent: str, planner: str) -> list[str]:
    """A line for each option that is a setting of another agent or planner than the chosen one.

    Args:
        argv: the command line.
        agent: the chosen one.
        planner: the chosen one.

    Returns:
        Which options they are, and who has them.
    """
    from latentplan.agents import AGENTS
    from latentplan.planners import PLANNERS

    chosen = {"agent": agent, "planner": planner}
    registries: dict[str, dict[str, Any]] = {"agent": AGENTS, "planner": PLANNERS}
    lines = []
    for option in (word.partition("=")[0] for word in argv if word.startswith("--")):
        kind = "planner" if option.startswith("--planner.") else "agent"
        setting = option.removeprefix("--").removeprefix("planner.").replace("-", "_")
        having = [name for name, entry in registries[kind].items() if _has(entry.config(), setting)]
        if having and chosen[kind] not in having:
            found = " or ".join(having)
            lines.append(
                f"{option}: expected a setting of --{kind} {chosen[kind]}, got one of {found}; "
                f"choose --{kind} {found}, or leave it out"
            )
    return lines


def _has(config, setting: str) -> bool:
    """Whether a config has a field, `part.field` in a nested one; or without no_, as switches are turned off."""
    *path, name = setting.split(".")
    for part in path:
        config = getattr(config, part, None)
    names = {field.name for field in dataclasses.fields(config)} if dataclasses.is_dataclass(config) else set()
    return bool(names & {name, name.removeprefix("no_")})


def lock(logdir: Path):
    """Locks the folder against a second process."""
    import contextlib
    import fcntl

    @contextlib.contextmanager
    def held():
        with (logdir / ".lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ValueError(f"logdir: {logdir} is in use by another run; choose another --logdir") from None
            yield

    return held()


def announce(experiment, logdir: Path, spec, notes: Sequence[str], console) -> None:
    """Prints what the run needs and will do."""
    from latentplan.replay.ring import replay_bytes

    console.print(f"log directory {logdir}", highlight=False, soft_wrap=True)
    gib = replay_bytes(experiment.replay, spec) / 2**30
    seen = ", ".join(f"{name} {space.shape} {space.dtype}" for name, space in spec.observations.items())
    console.print(
        f"{experiment.env}: observation {seen}; {spec.action_size} actions, "
        f"action repeat {spec.action_repeat}; replay {experiment.replay.capacity} records, {gib:.2f} GiB",
        highlight=False,
        soft_wrap=True,
    )
    if spec.max_decisions is None and not experiment.data:
        notes = [*notes, NO_TIME_LIMIT]
    for note in notes:
        console.print(f"{experiment.env}: {note}", markup=False, highlight=False, soft_wrap=True)
