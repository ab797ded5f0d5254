"""The training loop: collect episodes, learn from replay, evaluate; stop and go on anywhere.

Where a run stands is a few counters (`schedule.Progress`) and the train state. Random numbers depend on the counters
alone (`rng`), so a run that was interrupted repeats, bit for bit on CPU, what it did after its last checkpoint.
"""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from latentplan.driver import video
from latentplan.driver.checkpoint import Checkpoints
from latentplan.driver.collect import (
    agent_policy,
    compile_act,
    episode_return,
    evaluate,
    random_policy,
    run_episodes,
)
from latentplan.driver.env import EnvConfig
from latentplan.driver.episodes import load_episodes, write_episode
from latentplan.driver.logging import MetricsLog
from latentplan.driver.replay import Replay, ReplayConfig, add_episode, check_lengths, check_memory, make_replay
from latentplan.driver.rng import env_seeds, stream_key
from latentplan.driver.schedule import Progress, RunConfig, checkpoint_due, next_phase, seeding, updates_due
from latentplan.driver.signals import stop_on_signals
from latentplan.driver.workers import WorkerDied, Workers
from latentplan.types import Agent, Batch, EnvSpec, TrainState

WORKER_RESTARTS = 3
FPS = 15.0  # of the films, in decisions per second


class Interrupted(Exception):
    """The run was asked to stop; everything is saved."""


class NonFinite(RuntimeError):
    """A metric is NaN or infinite; the last good checkpoint is kept."""


Report = Callable[[str, dict[str, Any]], None]
"""(kind, values): kind is "message", "progress", "episodes", "learned" or "evaluated"."""


def train(
    agent: Agent,
    spec: EnvSpec,
    env: str,
    env_config: EnvConfig,
    config: RunConfig,
    replay_config: ReplayConfig,
    logdir: Path,
    report: Report = lambda kind, values: None,
    *,
    workers: Workers | None = None,
) -> Progress:
    """Trains until `config.env_steps`, from wherever the log directory stands.

    Args:
        agent: what learns.
        spec: of the environment; the agent was built for it.
        env: the environment's name.
        env_config: how it is presented.
        config: the schedule.
        replay_config: the memory.
        logdir: an existing directory of this run alone.
        report: told what happens.
        workers: the environments, if already started; closed at the end in any case.

    Returns:
        Where the run stands.

    Raises:
        Interrupted: after SIGINT or SIGTERM, with everything saved.
        NonFinite: an update gave NaN or infinity.
        ValueError: the replay does not fit the memory, or the windows do not fit the episodes.
    """
    run = _Run(agent, spec, env, env_config, config, replay_config, logdir, report, workers)
    with stop_on_signals(run.stop, run.say), run:
        run.resume()
        run.until_done()
    return run.progress


def fresh_state(agent: Agent, replay: Replay, seed: int) -> dict[str, Any]:
    """What a checkpoint's tree holds, as it is before the first update.

    Args:
        agent: what learns.
        replay: what it learns from; only shapes are looked at.
        seed: of the run.

    Returns:
        {"train_state": TrainState, "sums": the metrics' running sums}.
    """
    key = stream_key(seed, "init")
    train_state = jax.jit(agent.init)(key)
    batch = jax.eval_shape(replay.sample, jax.eval_shape(replay.init), key)
    _, metrics = jax.eval_shape(agent.update, train_state, batch, key)
    return {"train_state": train_state, "sums": {name: jnp.zeros((), x.dtype) for name, x in metrics.items()}}


def restore(
    agent: Agent, spec: EnvSpec, replay_config: ReplayConfig, logdir: Path, say: Callable[[str], None]
) -> tuple[TrainState, Progress]:
    """The newest good checkpoint of a run, for evaluation or for research code.

    Args:
        agent: as the run was trained.
        spec: of the environment.
        replay_config: as the run was trained.
        logdir: of the run.
        say: told of checkpoints that are skipped.

    Returns:
        (TrainState, Progress).

    Raises:
        ValueError: there is no readable checkpoint.
    """
    directory = Path(logdir) / "checkpoints"
    template = fresh_state(agent, make_replay(replay_config, spec), 0)
    found = Checkpoints(directory).restore(template, say) if directory.is_dir() else None
    if found is None:
        raise ValueError(f"logdir: expected a checkpoint in {directory}, got none that can be read; train first")
    tree, metadata = found
    return tree["train_state"], Progress(**metadata["progress"])


class _Run:
    """The mutable middle of `train`: what a run holds between phases."""

    def __init__(self, agent, spec, env, env_config, config, replay_config, logdir, report, workers):
        check_lengths(replay_config, spec)
        check_memory(replay_config, spec)
        self.agent: Agent = agent
        self.spec: EnvSpec = spec
        self.config: RunConfig = config
        self.logdir: Path = logdir
        self.report: Report = report
        self.stop = threading.Event()
        self.window = replay_config.batch_length
        self._make_workers = lambda: Workers(env, env_config, config.num_envs)
        self.workers: Workers | None = workers
        self.replay = make_replay(replay_config, spec)
        self.add = jax.jit(self.replay.add, donate_argnums=0)
        self.learn_step = jax.jit(self._learn_step, donate_argnums=(0, 2))
        self.act = {mode: compile_act(agent, mode) for mode in ("explore", "eval")}
        self.open_loop = jax.jit(agent.open_loop, static_argnames="context")
        self.checkpoints = Checkpoints(logdir / "checkpoints", keep=config.keep_checkpoints)
        self.metrics = MetricsLog(logdir)
        self.progress = Progress()
        self.saved_at: int | None = None
        self.started = time.monotonic()

    def __enter__(self) -> "_Run":
        return self

    def __exit__(self, *_: object) -> None:
        if self.workers is not None:
            self.workers.close()
        self.metrics.close()

    # -- state ---------------------------------------------------------------------------------------

    def resume(self) -> None:
        """Takes the state from the newest good checkpoint and the episodes, or begins afresh."""
        config = self.config
        self.replay_state = jax.jit(self.replay.init)()
        fresh = fresh_state(self.agent, self.replay, config.seed)
        self.train_state, self.sums = fresh["train_state"], fresh["sums"]
        found = self.checkpoints.restore(fresh, self.say)
        if found is None:
            if self.checkpoints.steps():
                raise ValueError(
                    f"logdir: expected a readable checkpoint in {self.logdir / 'checkpoints'}, got only corrupt ones; "
                    "move that folder away to begin again from the first episode"
                )
            if list((self.logdir / "episodes").glob("*.npz")):
                self.say("there is no checkpoint yet: the run begins again and collects the same episodes")
            self.metrics.rewind(0)
            return
        tree, metadata = found
        self.train_state, self.sums = tree["train_state"], tree["sums"]
        self.progress = Progress(**metadata["progress"])
        self.saved_at = self._step()
        self.metrics.rewind(self.progress.metrics_bytes, self.say)
        for _, episode in load_episodes(self.logdir / "episodes", self.progress.episodes, self.spec, self.say):
            self.replay_state = add_episode(self.replay, self.add, self.replay_state, episode)
        self.say(
            f"resumed at {self.progress.env_steps} env_steps, {self.progress.episodes} episodes, "
            f"{self.progress.updates} updates"
        )

    def save(self) -> None:
        """Writes a checkpoint, unless this very state was saved already."""
        self._check_finite()
        if self.saved_at == self._step():
            return
        now = time.monotonic()
        seconds = self.progress.seconds + now - self.started
        self.progress = self.progress._replace(metrics_bytes=self.metrics.position(), seconds=seconds)
        self.started = now
        tree = {"train_state": self.train_state, "sums": self.sums}
        self.checkpoints.save(self._step(), tree, {"progress": self.progress._asdict()})
        self.saved_at = self._step()

    def _step(self) -> int:
        """A number that grows with every change of the counters."""
        progress = self.progress
        return 2 * progress.episodes + progress.updates + (progress.evaluated_at == progress.episodes)

    # -- what comes next -----------------------------------------------------------------------------

    def until_done(self) -> None:
        """The loop."""
        try:
            while (phase := next_phase(self.config, self.progress, self.window)) != "stop":
                if phase == "learn":
                    self.learn()
                elif phase == "evaluate":
                    self.evaluate()
                else:
                    if checkpoint_due(self.config, self.progress):
                        self.save()
                    self.collect()
            self.save()
        except Interrupted:
            self.save()
            raise

    # -- phases --------------------------------------------------------------------------------------

    def collect(self) -> None:
        """One episode in every environment, written to disk and added to the replay."""
        progress, config = self.progress, self.config
        started = time.monotonic()
        random = seeding(config, progress, self.window)
        if random:
            policy, key = random_policy(self.spec), stream_key(config.seed, "random", progress.episodes)
        else:
            policy = agent_policy(self.agent, self.train_state.params, self.act["explore"])
            key = stream_key(config.seed, "explore", progress.episodes)
        seeds = env_seeds(config.seed, "env_collect", progress.episodes, config.num_envs)
        episodes = self._with_workers(
            lambda workers: run_episodes(workers, policy, seeds, key, on_decision=self._on_decision)
        )
        for i, episode in enumerate(episodes):
            write_episode(self.logdir / "episodes", progress.episodes + i, episode)
            self.replay_state = add_episode(self.replay, self.add, self.replay_state, episode)
        decisions = sum(len(episode.reward) - 1 for episode in episodes)
        self.progress = progress._replace(
            env_steps=progress.env_steps + decisions * self.spec.action_repeat,
            episodes=progress.episodes + len(episodes),
            records=progress.records + decisions + len(episodes),
        )
        returns = [episode_return(episode) for episode in episodes]
        values = {
            "collect/return": float(np.mean(returns)),
            "collect/decisions": decisions / len(episodes),
            "collect/random": float(random),
            "time/collect": time.monotonic() - started,
        }
        self._log("episodes", values)

    def learn(self) -> None:
        """The updates that are due, then one row of their mean metrics."""
        due = updates_due(self.config, self.progress, self.window)
        started, first = time.monotonic(), self.progress.updates
        while self.progress.updates < due:
            self._stop_if_asked()
            key = stream_key(self.config.seed, "learn", self.progress.updates)
            self.train_state, self.sums = self.learn_step(self.train_state, self.replay_state, self.sums, key)
            self.progress = self.progress._replace(
                updates=self.progress.updates + 1, summed_updates=self.progress.summed_updates + 1
            )
            self.report("progress", {"doing": "learning", **self._counters()})
        self._check_finite()
        means = {f"learn/{name}": float(x) / self.progress.summed_updates for name, x in self.sums.items()}
        seconds = time.monotonic() - started
        rate = (due - first) / seconds
        self.sums = jax.tree.map(jnp.zeros_like, self.sums)
        self.progress = self.progress._replace(summed_updates=0)
        values = means | {"time/learn": seconds, "time/updates_per_second": rate}
        self._log("learned", values)

    def evaluate(self) -> None:
        """Episodes without noise: mean and std of the return, a video, an open-loop prediction."""
        progress, config = self.progress, self.config
        started = time.monotonic()
        policy = agent_policy(self.agent, self.train_state.params, self.act["eval"])
        count = config.eval_episodes
        seeds = env_seeds(config.seed, "env_evaluate", progress.episodes * count, count)
        key, open_loop_key = jax.random.split(stream_key(config.seed, "evaluate", progress.episodes))
        episodes = self._with_workers(
            lambda workers: evaluate(workers, policy, seeds, key, on_decision=self._on_decision)
        )
        returns = [episode_return(episode) for episode in episodes]
        values = {
            "evaluation/return": float(np.mean(returns)),
            "evaluation/return_std": float(np.std(returns)),
            "evaluation/episodes": len(returns),
        }
        values |= self._open_loop(episodes[0], open_loop_key)
        values["time/evaluate"] = time.monotonic() - started
        self.progress = progress._replace(evaluated_at=progress.episodes)
        self._log("evaluated", values)

    def _open_loop(self, episode: Batch, key: jax.Array) -> dict[str, float]:
        """Predicts the first evaluation episode from its first steps; writes pictures; returns its errors."""
        context, length = self.config.open_loop_context, self.config.open_loop_length
        if len(episode.reward) <= context:
            return {}
        window = jax.tree.map(lambda x: jnp.asarray(x[:length])[None], episode)
        predicted = jax.device_get(self.open_loop(self.train_state.params, window, key, context=context))
        directory, name = self.logdir / "videos", f"{self.progress.env_steps:09d}"
        directory.mkdir(exist_ok=True)
        if self.spec.is_pixels:
            film = video.open_loop_video(predicted, context=context)
            video.write_video(directory / f"evaluation_{name}.mp4", episode.observation, FPS)
            video.write_video(directory / f"open_loop_{name}.mp4", film, FPS)
            video.write_png(directory / f"open_loop_{name}.png", video.open_loop_image(predicted, context=context))
        elif (plot := video.open_loop_plot(predicted, context=context, report=self.say)) is not None:
            video.write_png(directory / f"open_loop_{name}.png", plot)
        squared = (predicted.predicted_observation - predicted.true_observation)[:, context:] ** 2
        reward = np.abs(predicted.predicted_reward - predicted.true_reward)[:, context:]
        return {
            "open_loop/observation_mse": float(squared.mean()),
            "open_loop/reward_mae": float(reward.mean()),
        }

    # -- small things --------------------------------------------------------------------------------

    def _learn_step(self, train_state, replay_state, sums, key):
        sample_key, update_key = jax.random.split(key)
        train_state, metrics = self.agent.update(train_state, self.replay.sample(replay_state, sample_key), update_key)
        return train_state, jax.tree.map(jnp.add, sums, metrics)

    def _with_workers(self, phase: Callable[[Workers], list[Batch]]) -> list[Batch]:
        """Runs a phase; where a worker dies, starts new ones and the phase again: same seeds, same episodes."""
        for attempt in range(WORKER_RESTARTS + 1):
            try:
                self.workers = self.workers or self._make_workers()
                return phase(self.workers)
            except WorkerDied as error:
                self.workers = None
                if attempt == WORKER_RESTARTS or error.traceback:  # what the environment raises, it raises again
                    raise
                self.say(f"{error}; starting the environments again and repeating the episode")
        raise AssertionError("unreachable")

    def _check_finite(self) -> None:
        bad = [name for name, x in self.sums.items() if not np.isfinite(x)]
        unhealthy = float(self.sums["finite"]) != self.progress.summed_updates
        if bad or unhealthy:
            saved = self.checkpoints.steps()
            kept = f"the last good checkpoint is step {saved[-1]}" if saved else "there was no checkpoint yet"
            raise NonFinite(
                f"learn/{', learn/'.join(bad) or 'finite'}: expected finite numbers, got NaN or infinity within the "
                f"last {self.progress.summed_updates} updates (at {self.progress.updates} updates); {kept}. "
                "Lower --optimizer.learning-rate or --optimizer.clip-norm and look at the rewards' scale"
            )

    def _counters(self) -> dict[str, int]:
        return {name: getattr(self.progress, name) for name in ("env_steps", "episodes", "updates")}

    def _log(self, kind: str, values: dict[str, float]) -> None:
        self.metrics.write(self._counters(), values | {"time/total": self._seconds()})
        self.report(kind, self._counters() | values)

    def _seconds(self) -> float:
        return self.progress.seconds + time.monotonic() - self.started

    def say(self, message: str) -> None:
        self.report("message", {"message": message})

    def _on_decision(self) -> None:
        self._stop_if_asked()
        self.report("progress", {"doing": "acting", **self._counters()})

    def _stop_if_asked(self) -> None:
        if self.stop.is_set():
            raise Interrupted
