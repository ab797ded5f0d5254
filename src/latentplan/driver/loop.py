"""The training loop: collect episodes, learn from replay, evaluate; stop and go on anywhere.

Where a run stands is a few counters (`schedule.Progress`) and the train state. Random numbers depend on the counters
alone (`rng`), so a run that was interrupted repeats, bit for bit on CPU, what it did after its last checkpoint.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from latentplan.driver import memory, video
from latentplan.driver.checkpoint import Checkpoints
from latentplan.driver.collect import (
    agent_policy,
    compile_act,
    episode_return,
    evaluate,
    random_policy,
    run_episodes,
)
from latentplan.driver.compilation import compiled
from latentplan.driver.diagnosis import planning_metrics, prediction_metrics
from latentplan.driver.logging import MetricsLog
from latentplan.driver.memory import check_memory
from latentplan.driver.rng import env_seeds, stream_key
from latentplan.driver.schedule import Progress, RunConfig, checkpoint_due, in_seed_phase, next_phase, updates_due
from latentplan.driver.signals import stop_on_signals
from latentplan.driver.timing import Stopwatch
from latentplan.envs.env import EnvConfig
from latentplan.envs.workers import WorkerDied, Workers
from latentplan.replay.episodes import load_episodes, write_episode
from latentplan.replay.ring import (
    Replay,
    ReplayConfig,
    add_episode,
    check_lengths,
    make_replay,
    replay_bytes,
)
from latentplan.types import Agent, Batch, EnvSpec, Params, TrainState

WORKER_RESTARTS = 3
FPS = 15.0  # of the films, in decisions per second
DREAMS = 4  # of an actor, side by side
_ALLOWANCE = 2**30  # bytes, for what comes and goes beside learning: acting, films, compiling


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
        report: called with what happens.
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
        if not run.done():
            run.compile()
        run.until_done()
    return run.progress


def fresh_state(agent: Agent, replay: Replay, seed: int, *, overlap: bool) -> dict[str, Any]:
    """What a checkpoint's tree holds, as it is before the first update.

    Args:
        agent: what learns.
        replay: what it learns from; only shapes are looked at.
        seed: of the run.
        overlap: `RunConfig.overlap`.

    Returns:
        {"train_state": TrainState, "sums": the metrics' running sums, "acting": with overlap, the parameters that
        the next episodes are collected with, "priorities": the replay's, where it has some}.

    Raises:
        ValueError: the replay draws by priorities, and the agent gives none.
    """
    key = stream_key(seed, "init")
    metrics = check_update(agent, replay)
    train_state = jax.jit(agent.init)(key)
    priorities = jax.jit(lambda: replay.priorities(replay.init()))()  # without the rest of the memory
    sums = {name: jnp.zeros((), x.dtype) for name, x in metrics.items() if name != "priority"}
    acting = _copy(train_state.params) if overlap else None
    return {"train_state": train_state, "sums": sums, "acting": acting, "priorities": priorities}


def check_update(agent: Agent, replay: Replay) -> dict[str, jax.ShapeDtypeStruct]:
    """Traces an update, so that settings which do not fit each other are refused before anything is written.

    Args:
        agent: what learns.
        replay: what it learns from.

    Returns:
        What the update tells, as shapes.

    Raises:
        ValueError: the agent cannot learn from such windows, or gives none of the priorities that they are drawn by.
    """
    key = stream_key(0, "init")
    memory = jax.eval_shape(replay.init)
    sample = jax.eval_shape(replay.sample, memory, key)
    _, metrics = jax.eval_shape(agent.update, jax.eval_shape(agent.init, key), sample, key)
    if replay.priorities(memory) is not None and "priority" not in metrics:
        raise ValueError("replay.priority_exponent: expected 0 for an agent that gives no priorities; tdmpc does")
    return metrics


def restore(
    agent: Agent,
    spec: EnvSpec,
    config: RunConfig,
    replay_config: ReplayConfig,
    logdir: Path,
    say: Callable[[str], None],
) -> tuple[TrainState, Progress]:
    """The newest good checkpoint of a run, for evaluation or for research code.

    Args:
        agent: as the run was trained.
        spec: of the environment.
        config: as the run was trained.
        replay_config: as the run was trained.
        logdir: of the run.
        say: called with a line about checkpoints that are skipped.

    Returns:
        (TrainState, Progress).

    Raises:
        ValueError: there is no readable checkpoint.
    """
    directory = Path(logdir) / "checkpoints"
    template = fresh_state(agent, make_replay(replay_config, spec), 0, overlap=config.overlap)
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
        self.replay_config = replay_config
        self.window = replay_config.batch_length
        self._make_workers = lambda: Workers(env, env_config, config.num_envs)
        self.workers: Workers | None = workers
        self.replay = make_replay(replay_config, spec)
        self.add = compiled(self.replay.add, donate_argnums=0)
        self.act: dict[str, Callable] = {}  # by mode
        self.open_loop = compiled(agent.open_loop, static_argnames="context")
        self.dream = None if agent.dream is None else compiled(agent.dream, static_argnames=("context", "horizon"))
        self.predict_ahead = compiled(agent.predict_ahead)
        self.checkpoints = Checkpoints(logdir / "checkpoints", keep=config.keep_checkpoints)
        self.metrics = MetricsLog(logdir)
        self.progress = Progress()
        self.collector = ThreadPoolExecutor(1, "collector")
        self.ahead: Future | None = None  # with overlap: the collection that runs beside learning
        self.saved: Progress = self.progress
        self.started = time.monotonic()

    def __enter__(self) -> "_Run":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.collector.shutdown()
        if self.workers is not None:
            self.workers.close()
        self.metrics.close()

    # -- state ---------------------------------------------------------------------------------------

    def resume(self) -> None:
        """Takes the state from the newest good checkpoint and the episodes, or begins afresh."""
        config = self.config
        self.replay_state = jax.jit(self.replay.init)()
        fresh = fresh_state(self.agent, self.replay, config.seed, overlap=config.overlap)
        self._take(fresh)
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
        self._take(tree)
        self.progress = Progress(**metadata["progress"])
        self.saved = self.progress
        self.metrics.rewind(self.progress.metrics_bytes, self.say)
        for _, episode in load_episodes(self.logdir / "episodes", self.progress.episodes, self.spec, self.say):
            self.replay_state = add_episode(self.replay, self.add, self.replay_state, episode)
        self.replay_state = self.replay.with_priorities(self.replay_state, tree["priorities"])
        self.say(
            f"resumed at {self.progress.env_steps} env_steps, {self.progress.episodes} episodes, "
            f"{self.progress.updates} updates"
        )

    def _take(self, tree: dict[str, Any]) -> None:
        self.train_state, self.sums, self.acting = tree["train_state"], tree["sums"], tree["acting"]

    def compile(self) -> None:
        """Compiles before anything is timed; says how long it took and what memory the run needs."""
        self.say("compiling")
        started, key, num_envs = time.monotonic(), stream_key(self.config.seed, "learn", 0), self.config.num_envs
        observation = np.zeros((num_envs, *self.spec.observation_shape), self.spec.observation_dtype)
        carry, is_first = self.agent.initial(num_envs), np.ones(num_envs, bool)
        for mode in ("explore", "eval"):
            act = compile_act(self.agent, mode)
            inputs = (self.train_state.params, carry, observation, is_first, key, jnp.int32(0))
            self.act[mode] = act.lower(*inputs).compile()
        learn_step = compiled(self._learn_step, donate_argnums=(0, 2))
        self.learn_step = learn_step.lower(self.train_state, self.replay_state, self.sums, key).compile()
        analysis = self.learn_step.memory_analysis()
        work = analysis.temp_size_in_bytes if analysis else 0
        replay = replay_bytes(self.replay_config, self.spec)
        resident = memory.resident_bytes() if jax.default_backend() == "cpu" else None
        most = f", at most {(resident + work + _ALLOWANCE) / 2**30:.1f} GiB in this process" if resident else ""
        needs = f"replay {replay / 2**30:.2f} GiB, learning {work / 2**30:.2f} GiB{most}"
        self.say(f"compiled in {time.monotonic() - started:.1f} s; memory: {needs}")

    def save(self) -> None:
        """Writes a checkpoint, unless this very state was saved already."""
        self._check_finite()
        if self.checkpoints.steps() and _step(self.saved) == _step(self.progress):
            return
        now = time.monotonic()
        seconds = self.progress.seconds + now - self.started
        self.progress = self.progress._replace(metrics_bytes=self.metrics.position(), seconds=seconds)
        self.started = now
        tree = {"train_state": self.train_state, "sums": self.sums, "acting": self.acting}
        tree["priorities"] = self.replay.priorities(self.replay_state)
        self.checkpoints.save(_step(self.progress), tree, {"progress": self.progress._asdict()})
        self.saved = self.progress

    # -- what comes next -----------------------------------------------------------------------------

    def done(self) -> bool:
        """Whether nothing is left to do."""
        return next_phase(self.config, self.progress, self.window) == "stop"

    def until_done(self) -> None:
        """The loop."""
        try:
            while (phase := next_phase(self.config, self.progress, self.window)) != "stop":
                if phase == "learn":
                    self.learn()
                elif phase == "evaluate":
                    self.evaluate()
                else:
                    if checkpoint_due(self.config, self.progress, self.saved):
                        self.save()
                    self.collect()
            self.save()
        except Interrupted:
            self._settle()
            self.save()
            raise

    # -- phases --------------------------------------------------------------------------------------

    def collect(self) -> None:
        """One episode in every environment, written to disk and added to the replay."""
        progress, started = self.progress, time.monotonic()
        episodes, values, parts = self.ahead.result() if self.ahead else self._episodes()
        self.ahead = None
        with parts("write"):
            for i, episode in enumerate(episodes):
                write_episode(self.logdir / "episodes", progress.episodes + i, episode)
                self.replay_state = add_episode(self.replay, self.add, self.replay_state, episode)
            jax.block_until_ready(self.replay_state)
        decisions = sum(len(episode.reward) - 1 for episode in episodes)
        self.progress = progress._replace(
            env_steps=progress.env_steps + decisions * self.spec.action_repeat,
            episodes=progress.episodes + len(episodes),
            records=progress.records + decisions + len(episodes),
        )
        if self.config.overlap:
            self.acting = _copy(self.train_state.params)
        values["collect/decisions"] = decisions / len(episodes)
        self._log("episodes", values | parts.seconds() | {"time/collect": time.monotonic() - started})

    def _episodes(
        self, on_decision: Callable[[], None] | None = None
    ) -> tuple[list[Batch], dict[str, float], Stopwatch]:
        """The episodes that are due next, what to write about them, and where their time went."""
        progress, config, parts = self.progress, self.config, Stopwatch()
        random = in_seed_phase(config, progress, self.window)
        if random:
            policy, key = random_policy(self.spec), stream_key(config.seed, "random", progress.episodes)
        else:
            params = self.acting if config.overlap else self.train_state.params
            policy = agent_policy(self.agent, params, self.act["explore"])
            key = stream_key(config.seed, "explore", progress.episodes)
        seeds = env_seeds(config.seed, "env_collect", progress.episodes, config.num_envs)
        on_decision = on_decision or self._on_decision
        episodes = self._with_workers(
            lambda workers: run_episodes(workers, policy, seeds, key, on_decision=on_decision, parts=parts)
        )
        returns = [episode_return(episode) for episode in episodes]
        return episodes, {"collect/return": float(np.mean(returns)), "collect/random": float(random)}, parts

    def _collect_ahead(self) -> None:
        """Starts the next collection in a thread, unless it runs, or nothing more is to be collected."""
        if self.ahead is None and self.progress.env_steps < self.config.env_steps:
            self.ahead = self.collector.submit(self._episodes, self._stop_if_asked)

    def _settle(self) -> None:
        """Waits until no thread uses the environments."""
        if self.ahead is not None:
            wait([self.ahead])

    def learn(self) -> None:
        """The updates that are due, then one row of their mean metrics."""
        if self.config.overlap:
            self._collect_ahead()
        due = updates_due(self.config, self.progress, self.window)
        started, first = time.monotonic(), self.progress.updates
        while self.progress.updates < due:
            self._stop_if_asked()
            key = stream_key(self.config.seed, "learn", self.progress.updates)
            inputs = self.train_state, self.replay_state, self.sums, key
            self.train_state, priorities, self.sums = self.learn_step(*inputs)
            self.replay_state = self.replay.with_priorities(self.replay_state, priorities)
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
        self._settle()
        progress, config, parts = self.progress, self.config, Stopwatch()
        started = time.monotonic()
        policy = agent_policy(self.agent, self.train_state.params, self.act["eval"])
        count = config.eval_episodes
        seeds = env_seeds(config.seed, "env_evaluate", progress.episodes * count, count)
        key, open_loop_key, ahead_key = jax.random.split(stream_key(config.seed, "evaluate", progress.episodes), 3)
        infos: list[dict[str, np.ndarray]] = []

        def phase(workers: Workers) -> list[Batch]:
            infos.clear()  # where a worker died, this is not the first try
            return evaluate(workers, policy, seeds, key, on_decision=self._on_decision, parts=parts, infos=infos)

        episodes = self._with_workers(phase)
        returns = [episode_return(episode) for episode in episodes]
        values: dict[str, Any] = {
            "evaluation/return": float(np.mean(returns)),
            "evaluation/return_std": float(np.std(returns)),
            "evaluation/episodes": len(returns),
            "evaluation/returns": returns,
        }
        with parts("diagnose"):
            values |= planning_metrics(episodes, infos)
            values |= prediction_metrics(self.predict_ahead, self.train_state.params, episodes, ahead_key)
        with parts("write"):
            values |= self._pictures(episodes[0], open_loop_key)
        values |= parts.seconds() | {"time/evaluate": time.monotonic() - started}
        self.progress = progress._replace(evaluated_at=progress.env_steps)
        self._log("evaluated", values)

    def _pictures(self, episode: Batch, key: jax.Array) -> dict[str, float]:
        """An evaluation episode as a film, its prediction from its first steps, the actor's dreams from there.

        Returns the prediction's errors.
        """
        context, length = self.config.open_loop_context, self.config.open_loop_length
        directory, name = self.logdir / "videos", f"{self.progress.env_steps:09d}"
        directory.mkdir(exist_ok=True)
        if self.spec.is_pixels:
            video.write_video(directory / f"evaluation_{name}.mp4", video.newest_frame(episode.observation), FPS)
        if len(episode.reward) <= context:
            return {}
        window = jax.tree.map(lambda x: jnp.asarray(x[:length])[None], episode)
        params = self.train_state.params
        predicted = jax.device_get(self.open_loop(params, window, key, context=context))
        errors = video.write_open_loop(directory, name, predicted, context=context, fps=FPS, report=self.say)
        if self.dream is not None:
            several = jax.tree.map(lambda x: jnp.repeat(x, DREAMS, 0), window)
            dreamt = jax.device_get(self.dream(params, several, key, context=context, horizon=length - context))
            video.write_dreams(directory, name, dreamt, context=context, fps=FPS, report=self.say)
        return errors

    # -- small things --------------------------------------------------------------------------------

    def _learn_step(self, train_state, replay_state, sums, key):
        sample_key, update_key = jax.random.split(key)
        sample = self.replay.sample(replay_state, sample_key)
        train_state, metrics = self.agent.update(train_state, sample, update_key)
        if "priority" in metrics:
            replay_state = self.replay.reprioritise(replay_state, sample.indices, metrics.pop("priority"))
        return train_state, self.replay.priorities(replay_state), jax.tree.map(jnp.add, sums, metrics)

    def _with_workers(self, phase: Callable[[Workers], list[Batch]]) -> list[Batch]:
        """Runs a phase; where a worker dies, starts new ones and the phase again: same seeds, same episodes."""
        for attempt in range(WORKER_RESTARTS + 1):
            try:
                self.workers = self.workers or self._make_workers()
                return phase(self.workers)
            except WorkerDied as error:
                self.workers = None
                self._stop_if_asked()  # a signal to the process group ends them, too
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
                "Lower the step sizes or the clipping among --optimizer's settings and look at the rewards' scale"
            )

    def _counters(self) -> dict[str, int]:
        return {name: getattr(self.progress, name) for name in ("env_steps", "episodes", "updates")}

    def _log(self, kind: str, values: dict[str, Any]) -> None:
        resident = memory.resident_bytes()
        machine = {"time/total": self._seconds()} | ({"memory/resident": resident / 2**30} if resident else {})
        self.metrics.write(self._counters(), values | machine)
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


def _step(progress: Progress) -> int:
    """A number that grows with every change of the counters."""
    return 2 * progress.episodes + progress.updates + (progress.evaluated_at == progress.env_steps)


def _copy(params: Params) -> Params:
    return jax.tree.map(jnp.copy, params)
