"""Loads a run's newest checkpoint and reports its return: python experiments/evaluate.py --logdir runs/NAME."""

import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Evaluate a trained agent without exploration noise."""

    logdir: str
    """Folder of the run."""
    episodes: int = 10
    """Episodes to run."""
    num_envs: int = 1
    """Environments in parallel, each in a process."""
    seed: int = 1000
    """Seed of the episodes' starts and of the planner; training uses others."""
    video: str = ""
    """File for a film of the first episode (.mp4). Empty: none."""


def main(argv: list[str]) -> int:
    """The command line.

    Args:
        argv: without the program's name.

    Returns:
        Exit status: 0 done, 1 a failure, 2 a mistake on the command line, 130 interrupted.
    """
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    import tyro

    try:
        _evaluate(tyro.cli(Evaluation, args=argv, description=__doc__))
    except KeyboardInterrupt:
        return 130
    except (ValueError, OSError, RuntimeError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2 if isinstance(error, ValueError) else 1
    return 0


def _evaluate(options: Evaluation) -> None:
    import numpy as np
    from presets import Experiment
    from runs import read_config

    from latentplan.agents import AGENTS
    from latentplan.driver import collect, compilation
    from latentplan.driver.loop import restore
    from latentplan.driver.provenance import from_dict
    from latentplan.driver.rng import env_seeds, stream_key
    from latentplan.driver.video import newest_frame, write_video
    from latentplan.driver.workers import Workers

    if options.episodes < 1:
        raise ValueError(f"episodes: expected at least 1, got {options.episodes}")
    compilation.configure()
    logdir = Path(options.logdir)
    experiment = from_dict(Experiment, read_config(logdir)[0])
    with Workers(experiment.env, experiment.environment, min(options.num_envs, options.episodes)) as workers:
        agent = AGENTS[experiment.agent].make(experiment.agent_config, workers.spec)
        train_state, progress = restore(agent, workers.spec, experiment.run, experiment.replay, logdir, print)
        counters = f"{progress.env_steps} env_steps, {progress.episodes} episodes, {progress.updates} updates"
        print(f"{experiment.env} after {counters}")
        policy = collect.agent_policy(agent, train_state.params, collect.compile_act(agent, "eval"))
        seeds = env_seeds(options.seed, "env_evaluate", 0, options.episodes)
        episodes = collect.evaluate(workers, policy, seeds, stream_key(options.seed, "evaluate"))
    returns = [collect.episode_return(episode) for episode in episodes]
    for i, (episode, value) in enumerate(zip(episodes, returns, strict=True)):
        print(f"episode {i}: return {value:.1f}, {len(episode.reward) - 1} decisions")
    spread = f"{np.mean(returns):.1f} +- {np.std(returns):.1f}"
    print(f"return {spread} (mean and std over {len(returns)} episodes, no exploration noise)")
    if options.video:
        frames = episodes[0].observation
        if not workers.spec.is_pixels:
            pixels = replace(experiment.environment, obs="pixels")
            with Workers(experiment.env, pixels, 1) as filmed:  # same seed, same actions: the same episode
                frames = collect.film(filmed, episodes[0], seeds[0])
        print(f"film of episode 0 in {write_video(options.video, newest_frame(frames), fps=15.0)}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
