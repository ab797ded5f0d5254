"""Loads a run's newest checkpoint and reports its return: latentplan evaluate runs/NAME."""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from latentplan.cli.words import NO_TIME_LIMIT, explain
from latentplan.config import Config, NonNegativeInt, OneOf, PositiveInt
from latentplan.extensions import IMPORTS, check_imported

if TYPE_CHECKING:
    from latentplan.driver.logging import Row
    from latentplan.envs.env import EnvConfig
    from latentplan.runs import Run
    from latentplan.types import Agent, EnvSpec


def _planners() -> list[str]:
    from latentplan.planners import PLANNERS

    return list(PLANNERS)


@dataclass(frozen=True, kw_only=True)
class Evaluation(Config):
    """Evaluate a trained agent without exploration noise."""

    logdir: str
    """Folder of the run; may also be given first, without the option's name."""
    env: str = ""
    """Environment to evaluate in, with the run's observations and actions. Empty: that of the run. A run that learned
    from recorded data has none."""
    checkpoint: NonNegativeInt | None = None
    """Number of the checkpoint to evaluate, one of the folders in the run's checkpoints/. None: the newest."""
    episodes: PositiveInt = 10
    """Episodes to run."""
    num_envs: PositiveInt = 1
    """Number of parallel environments, each in its own process."""
    seed: NonNegativeInt = 1000
    """Seed of the environments and the planner; training uses different ones."""
    act: tuple[Literal["policy", "planner"], ...] = ()
    """How to act, for an agent with a policy. policy: with it; planner: by planning over its model, with its critic as
    terminal value; both: one after the other. The returns are stored in the run's acting.json. Left out: as
    trained, and nothing is stored."""
    planner: Annotated[str, OneOf(_planners, "")] = ""
    """Planner over the run's model, with its preset's settings. Empty: the planner of the training run, or cem if that
    was a policy."""
    imports: Annotated[tuple[str, ...], IMPORTS] = ()
    """A module to import first, such as the run's extensions; repeat the option for several."""
    max_decisions: PositiveInt | None = None
    """Cuts episodes off after this many decisions. None: as in training."""
    video: str = ""
    """File for a video of the first episode (.mp4). Empty: none."""


def main(argv: list[str], program: Sequence[str] = ("latentplan", "evaluate")) -> int:
    """The command line.

    Args:
        argv: without the program's name. The folder may come first, without --logdir.
        program: its name, as it was typed.

    Returns:
        Exit status: 0 done, 1 a failure, 2 a mistake on the command line, 130 interrupted.
    """
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    from latentplan.cli import options

    if argv and not argv[0].startswith("-"):
        argv = ["--logdir", *argv]
    try:
        _evaluate(options.parse(Evaluation, argv, __doc__, program))
    except KeyboardInterrupt:
        return 130
    except (ValueError, OSError, RuntimeError) as error:
        print(explain(error), file=sys.stderr)
        return 2 if isinstance(error, ValueError) else 1
    return 0


def _evaluate(options: Evaluation) -> None:
    from latentplan.driver import compilation
    from latentplan.driver.encoder import find_ffmpeg
    from latentplan.envs import module_of
    from latentplan.envs.workers import Workers
    from latentplan.planners import PLANNERS, planner_name
    from latentplan.runs import load_run

    if options.video:
        find_ffmpeg()  # before anything is run
    if options.planner and options.act and "planner" not in options.act:
        raise ValueError(f"--planner: expected none with --act policy, got {options.planner}; add --act planner")
    compilation.configure()
    run = load_run(options.logdir)
    experiment, found = run.config, {}
    own = planner_name(experiment.agent_config.planner)
    by_policy, by_search = (next(x for x in PLANNERS if PLANNERS[x].needs_policy == needs) for needs in (True, False))
    plans = options.planner or (by_search if PLANNERS[own].needs_policy else own)
    env = options.env or experiment.env
    if not options.env:
        check_imported(filter(None, [module_of(env)]))  # as the run's file says, and not the user
    environment = experiment.environment
    if options.max_decisions is not None:
        environment = replace(environment, max_decisions=options.max_decisions)
    with Workers(env, environment, min(options.num_envs, options.episodes)) as workers:
        check_spec(run, workers.spec)
        for note in (*workers.notes, *([NO_TIME_LIMIT] if workers.spec.max_decisions is None else [])):
            print(f"{env}: {note}")
        for act in dict.fromkeys(options.act or ("",)):
            name = {"": options.planner, "policy": by_policy, "planner": plans}[act]
            found[name] = _act(options, run, workers, environment, name)
    if options.act:
        _keep(run.logdir / "acting.json", found, options)


def check_spec(run: "Run", spec: "EnvSpec") -> None:
    """Refuses an environment that is not the one that a run was trained in.

    Raises:
        ValueError: its observations or actions have changed since.
    """
    if (run.spec.observations, run.spec.actions) != (spec.observations, spec.actions):
        raise ValueError(
            f"env: expected {run.config.env} with {run.spec}, as the run was trained in, got {spec}; "
            "install the version of its package that config.json names"
        )


def acting_by(run: "Run", planner: str) -> "Agent":
    """A run's agent with another planner, with its preset's settings; "" for the default choice.

    Raises:
        ValueError: the agent has no policy to act by, or cannot be planned for so.
    """
    from latentplan.agents import AGENTS
    from latentplan.planners import PLANNERS, planner_name
    from latentplan.presets import make_preset

    own = run.config
    if not planner or planner == planner_name(own.agent_config.planner):
        return run.agent
    if PLANNERS[planner].needs_policy and not AGENTS[own.agent].has_policy:
        raise ValueError(
            f"--act: expected an agent with a policy of its own, got {own.agent}, which plans; leave it out"
        )
    chosen = make_preset(own.preset, own.env, own.environment.obs, planner, own.agent, own.size)
    return run.with_planner(chosen.agent_config.planner)


def _act(options: Evaluation, run: "Run", workers, environment: "EnvConfig", name: str) -> "Row":
    """Evaluates with one acting policy: returns, and the checkpoint's counters."""
    import numpy as np

    from latentplan.driver.drawings import newest_frame
    from latentplan.driver.encoder import write_video
    from latentplan.driver.episodes import (
        agent_policy,
        compile_act,
        cut_message,
        episode_return,
        evaluate,
        rerender_episode,
    )
    from latentplan.driver.rng import env_seeds, stream_key
    from latentplan.envs.workers import Workers

    agent, env = acting_by(run, name), options.env or run.config.env
    params, progress = run.restore(options.checkpoint)
    counters = f"{progress.env_steps} env_steps, {progress.episodes} episodes, {progress.updates} updates"
    print(f"{env} after {counters}" + f", acting by {name}" * bool(name))
    policy = agent_policy(agent, lambda: params, compile_act(agent, "eval"))
    seeds = env_seeds(options.seed, "env_evaluate", 0, options.episodes)
    trajectories = evaluate(workers, policy, seeds, stream_key(options.seed, "evaluate"))
    if message := cut_message(trajectories, environment.max_decisions):
        print(message)
    episodes = [one.batch for one in trajectories]
    returns = [episode_return(episode) for episode in episodes]
    for i, (episode, value) in enumerate(zip(episodes, returns, strict=True)):
        print(f"episode {i}: return {value:.1f}, {len(episode.reward) - 1} decisions")
    one = len(returns) == 1
    spread = "" if one else f" +- {np.std(returns):.1f}"
    over = "1 episode" if one else f"mean and std over {len(returns)} episodes"
    print(f"return {np.mean(returns):.1f}{spread} ({over}, no exploration noise)")
    if options.video:
        frames = next((episodes[0].observation[image] for image in workers.spec.images), None)
        if frames is None:
            with Workers(env, environment.filmed, 1) as filmed:  # same seed, same actions: the same episode
                frames = rerender_episode(filmed, episodes[0], seeds[0])
        file = Path(options.video).expanduser()
        file = file.with_stem(f"{file.stem}-{name}") if len(options.act) > 1 else file
        print(f"video of episode 0 in {write_video(str(file), newest_frame(frames), fps=15.0)}")
    return {"env_steps": progress.env_steps, "returns": [float(x) for x in returns]}


def _keep(file: Path, found: "dict[str, Row]", options: Evaluation) -> None:
    """Updates the run's acting.json: acting policy -> env_steps, returns, the episodes' seed."""
    from latentplan.driver.logging import write_json_atomic

    before = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    write_json_atomic(file, before | {name: one | {"seed": options.seed} for name, one in found.items()})
    for name, one in found.items():
        print(f"{name}: {sum(one['returns']) / len(one['returns']):.1f}")
    print(f"stored in {file}")
