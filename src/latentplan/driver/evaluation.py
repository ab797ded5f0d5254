"""Evaluation: episodes without exploration noise, diagnostics of model and planner, and pictures."""

from collections.abc import Mapping, Sequence

import jax
import numpy as np

from latentplan.driver import pictures
from latentplan.driver.diagnose import Diagnosis, gather_evidence, metrics_of
from latentplan.driver.drawings import newest_frame
from latentplan.driver.encoder import try_write_video
from latentplan.driver.episodes import agent_policy, cut_message, episode_return, evaluate, precompile_act
from latentplan.driver.job import Job
from latentplan.driver.logging import Row
from latentplan.driver.reporting import Reporter
from latentplan.driver.restarts import RestartingWorkers
from latentplan.driver.rng import env_seeds, stream_key
from latentplan.driver.run_state import RunState
from latentplan.driver.timing import Stopwatch
from latentplan.envs.recorded import RECORDED
from latentplan.types import Batch, Evidence, Key, Measurement, Params, Trajectory

FPS = 15.0  # of the videos, in decisions per second


class Evaluator:
    """Evaluates a run's agent.

    Args:
        job: the run.
        workers: the environments.
        reporter: notified of every decision and of pictures that cannot be drawn.
    """

    def __init__(self, job: Job, workers: RestartingWorkers, reporter: Reporter) -> None:
        """See the class."""
        self._job, self._workers, self._reporter = job, workers, reporter
        self._diagnosis = Diagnosis(job.agent.diagnostics)

    def compile(self, params: Params) -> None:
        """Compiles `act` for the shapes of these parameters."""
        job = self._job
        self._act = precompile_act(job.agent, job.spec, job.run.num_envs, params, "eval")

    def evaluate(self, state: RunState) -> Row:
        """Runs the episodes of one evaluation and writes its pictures.

        Without an environment, the diagnostics are of the recorded episodes that are held out.

        Args:
            state: of the run; not modified.

        Returns:
            Metrics by name: returns with mean and std, diagnostics, and seconds by part.
        """
        stopwatch = Stopwatch()
        key = stream_key(self._job.run.seed, "evaluate", state.progress.episodes)
        key, *keys = evaluation_keys(key, len(self._job.agent.diagnostics))
        if self._job.env == RECORDED:
            held_out = self._job.data.held_out if self._job.data is not None else []
            trajectories, values = [Trajectory(one, {}) for one in held_out[: self._job.run.eval_episodes]], Row()
        else:
            trajectories = self._trajectories(state, key, stopwatch)
            values = _return_metrics(trajectories)
            self._reporter.say_once(cut_message(trajectories, self._job.environment.max_decisions))
        if not trajectories:
            return values
        with stopwatch("diagnose"):
            found = self._diagnosis.measure(state.train_state.params, self._evidence(trajectories), keys)
            values |= metrics_of(found)
        with stopwatch("write"):
            self.write_pictures(trajectories[0].batch, found, f"{state.progress.env_steps:09d}")
        return values | stopwatch.seconds()

    def _trajectories(self, state: RunState, key: Key, stopwatch: Stopwatch) -> list[Trajectory]:
        progress, count = state.progress, self._job.run.eval_episodes
        policy = agent_policy(self._job.agent, lambda: state.train_state.params, self._act)
        seeds = env_seeds(self._job.run.seed, "env_evaluate", progress.episodes * count, count)

        def on_decision() -> None:
            self._reporter.stop_if_asked()
            self._reporter.progress("acting", progress)

        workers = self._workers.current()
        return evaluate(workers, policy, seeds, key, on_decision=on_decision, stopwatch=stopwatch)

    def _evidence(self, trajectories: Sequence[Trajectory]) -> Evidence:
        run = self._job.run
        return gather_evidence(
            trajectories,
            max_decisions=self._job.spec.max_decisions,
            context=run.open_loop_context,
            length=run.open_loop_length,
        )

    def write_pictures(self, episode: Batch, found: Mapping[str, Measurement], name: str) -> None:
        """Writes a video of an episode, and the diagnostics' pictures.

        Args:
            episode: n + 1 records.
            found: the measurements by their diagnostics' names.
            name: suffix of the file names.
        """
        directory = self._job.logdir / "videos"
        directory.mkdir(exist_ok=True)
        for image, stem in pictures.entry_files(self._job.spec.images, f"evaluation_{name}").items():
            frames = newest_frame(episode.observation[image])
            try_write_video(directory / f"{stem}.mp4", frames, FPS, self._reporter.say)
        context = self._job.run.open_loop_context
        self._diagnosis.draw(found, directory, name, context=context, fps=FPS, report=self._reporter.say)


def evaluation_keys(key: Key, num_diagnostics: int) -> list[Key]:
    """The keys of one evaluation: one for its episodes, then one per diagnostic, determined by its position.

    Appending a diagnostic does not change the keys before it. The first three keys are those of version 0.1.0.
    """
    first = list(jax.random.split(key, 3))
    further = [jax.random.fold_in(key, place) for place in range(len(first), 1 + num_diagnostics)]
    return [*first, *further][: 1 + num_diagnostics]


def _return_metrics(trajectories: Sequence[Trajectory]) -> Row:
    returns = [episode_return(one.batch) for one in trajectories]
    return {
        "evaluation/return": float(np.mean(returns)),
        "evaluation/return_std": float(np.std(returns)),
        "evaluation/episodes": len(returns),
        "evaluation/returns": returns,
    }
