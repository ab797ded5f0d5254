"""Evaluation: episodes without exploration noise, what they tell about model and planner, and pictures of them."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from latentplan.driver import pictures
from latentplan.driver.collect import agent_policy, episode_return, evaluate, precompile_act
from latentplan.driver.compilation import compiled
from latentplan.driver.diagnosis import planning_metrics, prediction_metrics
from latentplan.driver.drawings import newest_frame
from latentplan.driver.encoder import write_video
from latentplan.driver.job import Job
from latentplan.driver.reporting import Reporter
from latentplan.driver.restarts import RestartingWorkers
from latentplan.driver.rng import env_seeds, stream_key
from latentplan.driver.run_state import RunState
from latentplan.driver.timing import Stopwatch
from latentplan.envs.workers import Workers
from latentplan.types import Batch, Key, Params

FPS = 15.0  # of the videos, in decisions per second
DREAMS = 4  # imagined trajectories of an actor, side by side

Infos = list[dict[str, np.ndarray]]


class Evaluator:
    """Evaluates a run's agent.

    Args:
        job: the run.
        workers: the environments.
        reporter: told of every decision, and of pictures that cannot be drawn.
    """

    def __init__(self, job: Job, workers: RestartingWorkers, reporter: Reporter) -> None:
        """See the class."""
        self._job, self._workers, self._reporter = job, workers, reporter
        agent = job.agent
        self._open_loop = compiled(agent.open_loop, static_argnames="context")
        self._dream = None if agent.dream is None else compiled(agent.dream, static_argnames=("context", "horizon"))
        self._predict_ahead = compiled(agent.predict_ahead)

    def compile(self, params: Params) -> None:
        """Compiles acting for these parameters' shapes."""
        job = self._job
        self._act = precompile_act(job.agent, job.spec, job.run.num_envs, params, "eval")

    def evaluate(self, state: RunState) -> dict[str, Any]:
        """Runs the episodes of one evaluation and writes its pictures.

        Args:
            state: of the run; not changed.

        Returns:
            Metrics by name: the returns, their mean and std, what the diagnostics found, and seconds by part.
        """
        stopwatch, params = Stopwatch(), state.train_state.params
        key = stream_key(self._job.run.seed, "evaluate", state.progress.episodes)
        key, open_loop_key, ahead_key = jax.random.split(key, 3)
        episodes, infos = self._episodes(state, key, stopwatch)
        values = _return_metrics(episodes)
        with stopwatch("diagnose"):
            values |= planning_metrics(episodes, infos)
            values |= prediction_metrics(self._predict_ahead, params, episodes, ahead_key)
        with stopwatch("write"):
            values |= self.write_pictures(params, episodes[0], f"{state.progress.env_steps:09d}", open_loop_key)
        return values | stopwatch.seconds()

    def _episodes(self, state: RunState, key: Key, stopwatch: Stopwatch) -> tuple[list[Batch], Infos]:
        progress, count = state.progress, self._job.run.eval_episodes
        policy = agent_policy(self._job.agent, state.train_state.params, self._act)
        seeds = env_seeds(self._job.run.seed, "env_evaluate", progress.episodes * count, count)

        def on_decision() -> None:
            self._reporter.stop_if_asked()
            self._reporter.progress("acting", progress)

        def phase(workers: Workers) -> tuple[list[Batch], Infos]:
            infos: Infos = []
            options: dict[str, Any] = {"on_decision": on_decision, "stopwatch": stopwatch, "infos": infos}
            return evaluate(workers, policy, seeds, key, **options), infos

        return self._workers.run(phase)

    def write_pictures(self, params: Params, episode: Batch, name: str, key: Key) -> dict[str, float]:
        """Writes a video of an episode, its prediction from its first steps, and the actor's dreams from there.

        Args:
            params: the agent's.
            episode: n + 1 records. With fewer than the open-loop prediction sees, only the video is written.
            name: of the files, after what they show.
            key: for the model's samples.

        Returns:
            The prediction's errors by name.
        """
        run, directory = self._job.run, self._job.logdir / "videos"
        context, length = run.open_loop_context, run.open_loop_length
        directory.mkdir(exist_ok=True)
        if self._job.spec.is_pixels:
            write_video(directory / f"evaluation_{name}.mp4", newest_frame(episode.observation), FPS)
        if len(episode.reward) <= context:
            return {}
        options: dict[str, Any] = {"context": context, "fps": FPS, "report": self._reporter.say}
        window = jax.tree.map(lambda x: jnp.asarray(x[:length])[None], episode)
        predicted = jax.device_get(self._open_loop(params, window, key, context=context))
        errors = pictures.write_open_loop(directory, name, predicted, **options)
        if self._dream is not None:
            several = jax.tree.map(lambda x: jnp.repeat(x, DREAMS, 0), window)
            dreamt = jax.device_get(self._dream(params, several, key, context=context, horizon=length - context))
            pictures.write_dreams(directory, name, dreamt, **options)
        return errors


def _return_metrics(episodes: Sequence[Batch]) -> dict[str, Any]:
    returns = [episode_return(episode) for episode in episodes]
    return {
        "evaluation/return": float(np.mean(returns)),
        "evaluation/return_std": float(np.std(returns)),
        "evaluation/episodes": len(returns),
        "evaluation/returns": returns,
    }
