"""The training loop with a fake agent and a fake environment: schedule, crashes, resuming, faults."""

import contextlib
import dataclasses
import errno
import json
import os
import shutil
import signal
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from latentplan.diagnostics.windows import first_window
from latentplan.driver import loop, provenance, run_folder
from latentplan.driver.checkpoint import Checkpoints
from latentplan.driver.evaluation import Evaluator
from latentplan.driver.job import Job
from latentplan.driver.learner import Learner
from latentplan.driver.logging import read_metrics, reproducible
from latentplan.driver.loop import train
from latentplan.driver.reporting import Interrupted, Reporter
from latentplan.driver.restarts import RestartingWorkers
from latentplan.driver.rng import stream_key
from latentplan.driver.run_folder import NonFinite, RunFolder
from latentplan.driver.schedule import (
    Progress,
    RunConfig,
    Stage,
    after_step,
    after_update,
    checkpoint_due,
    in_seed_phase,
    next_phase,
    next_update,
    stages_of,
)
from latentplan.envs.boundary import SpaceMismatch
from latentplan.envs.env import EnvConfig
from latentplan.envs.workers import StepResult, WorkerDied
from latentplan.files import DiskFull
from latentplan.replay.episodes import read_episode
from latentplan.replay.ring import ReplayConfig
from latentplan.types import Agent, Batch, Diagnostic, EnvSpec, Measurement, OpenLoop, TrainState

# Runs are stopped at some events and resumed: at a few, or slowly at many others.
every = pytest.mark.parametrize("every", [19, pytest.param(7, marks=pytest.mark.slow)])
SPEC = EnvSpec.single((2,), action_size=1, action_repeat=3, max_decisions=4)
REPLAY = ReplayConfig(capacity=40, batch_size=3, batch_length=4)
CONFIG = RunConfig(
    env_steps=72,  # 6 episodes of 4 decisions of 3 control steps
    seed_episodes=2,
    updates_per_episode=3,
    eval_every=24,
    eval_episodes=2,
    checkpoint_every=24,
    open_loop_context=2,
    open_loop_length=4,
)


class FakeWorkers:
    """Observes (seed mod 1009, decisions so far); rewards the action; ends after four decisions."""

    spec = SPEC

    def __init__(self, num_envs=1):
        self.num_envs = num_envs
        self.closed = False

    def reset(self, seeds):
        self.seeds, self.count = np.array([s % 1009 for s in seeds], np.float32), 0
        return self._observation()

    def step(self, actions):
        self.count += 1
        last = np.full(self.num_envs, self.count == SPEC.max_decisions)
        return StepResult(self._observation(), np.asarray(actions)[:, 0], last, np.zeros(self.num_envs, bool))

    def _observation(self):
        return {"state": np.stack([self.seeds, np.full(self.num_envs, self.count)], 1).astype(np.float32)}

    def close(self):
        self.closed = True


def fake_agent(nan_after: int | None = None) -> Agent:
    """Its one parameter drifts with all it is given, so that any difference in data, order or keys shows."""

    def update(state, sample, key):
        batch = sample.batch
        drift = jnp.mean(batch.observation["state"]) * 1e-3 + jnp.mean(batch.reward) + jax.random.normal(key)
        value = 0.9 * state.params + drift
        if nan_after is not None:
            value = jnp.where(state.updates + 1 >= nan_after, jnp.nan, value)
        metrics = {"loss": value, "kl": jnp.abs(drift), "finite": jnp.isfinite(value).astype(jnp.float32)}
        return TrainState(value, (), state.updates + 1), metrics

    def act(params, carry, observation, is_first, key, *, mode):
        noise = jax.random.normal(key, (len(is_first), 1)) if mode == "explore" else 0.0
        action = jnp.tanh(params + carry + noise)
        return action, jnp.where(is_first[:, None], 0.0, carry) + 0.1, {}

    def drift(params, evidence, key):
        return Measurement({"drift": jnp.full(2, params) + jax.random.normal(key) + jnp.mean(evidence.batch.reward)})

    def open_loop(params, evidence, key):
        batch = evidence.batch
        model = {name: x + params for name, x in batch.observation.items()}
        predicted = OpenLoop(batch.observation, model, batch.reward, batch.reward)
        return Measurement({"reward_mae": jnp.abs(params)}, predicted)

    return Agent(
        init=lambda key: TrainState(jax.random.normal(key), (), jnp.int32(0)),
        initial=lambda num_envs: jnp.zeros((num_envs, 1)),
        act=act,
        updates={"joint": update},
        diagnostics={
            "open_loop": Diagnostic(open_loop, first_window, "open_loop"),
            "prediction": Diagnostic(drift),
        },
    )


def job(logdir, *, agent=None, config=CONFIG, workers=None, replay=REPLAY):
    workers = workers or FakeWorkers(config.num_envs)
    return Job(agent or fake_agent(), SPEC, "fake", EnvConfig(), config, replay, logdir, workers)


def run(logdir, report=lambda kind, values: None, **options):
    logdir.mkdir(exist_ok=True)
    return train(job(logdir, **options), report)


def timeless(logdir):
    return [reproducible(row) for row in read_metrics(logdir / "metrics.jsonl")]


def newest(logdir):
    """(TrainState, Progress) of the newest checkpoint."""
    template = jax.eval_shape(fake_agent().init, jax.random.key(0))
    state, metadata = Checkpoints(logdir / "checkpoints").restore(template, print, part="['train_state']")
    return state, Progress(**metadata["progress"])


def final_value(logdir):
    state, progress = newest(logdir)
    return float(state.params), progress._replace(seconds=0.0, metrics_bytes=0)


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """One uninterrupted run, its events, and what it leaves."""
    logdir = tmp_path_factory.mktemp("straight")
    events = []
    run(logdir, lambda kind, values: events.append(kind))
    return logdir, events


WAYS = {
    "alternating": CONFIG,
    "overlapping": dataclasses.replace(CONFIG, overlap=True),
    "interleaved": dataclasses.replace(CONFIG, interleave=True, updates_per_decision=0.75),
}


@pytest.fixture(scope="module", params=WAYS)
def whole(request, straight, tmp_path_factory):
    """The same, for every way to collect: (logdir, events, config)."""
    if request.param == "alternating":
        return *straight, CONFIG
    logdir, config, events = tmp_path_factory.mktemp(request.param), WAYS[request.param], []
    run(logdir, lambda kind, values: events.append(kind), config=config)
    return logdir, events, config


def test_overlapping_collects_with_the_parameters_from_before_the_updates(straight, tmp_path):
    logdir, acted = tmp_path / "run", []

    def act(params, carry, observation, is_first, key, *, mode):
        jax.debug.callback(lambda params, mode=mode: acted.append((mode, float(params))), params)
        return fake_agent().act(params, carry, observation, is_first, key, mode=mode)

    agent = fake_agent()._replace(act=act)
    run(logdir, agent=agent, config=dataclasses.replace(CONFIG, overlap=True))
    overlapping = list(dict.fromkeys(params for mode, params in acted if mode == "explore"))
    acted.clear()
    run(tmp_path / "alternating", agent=agent)
    alternating = list(dict.fromkeys(params for mode, params in acted if mode == "explore"))
    assert overlapping[0] == float(agent.init(stream_key(CONFIG.seed, "init")).params)
    assert len(overlapping) == len(alternating) == 4  # one set of parameters per planned episode
    assert overlapping[1] == alternating[0]  # what three updates on the two random episodes gave
    counts = [(row["episodes"], row["updates"]) for row in timeless(logdir)]
    assert counts == [(row["episodes"], row["updates"]) for row in timeless(straight[0])]


def test_interleaved_updates_follow_decisions_and_learn_from_the_episode_under_way(tmp_path):
    happened = []

    def act(params, carry, observation, is_first, key, *, mode):
        note = lambda params, seed: happened.append((mode, float(params), float(seed)))  # noqa: E731
        jax.debug.callback(note, params, observation["state"][0, 0])
        return fake_agent().act(params, carry, observation, is_first, key, mode=mode)

    def update(state, sample, key):
        jax.debug.callback(
            lambda seeds: happened.append(("learn", set(seeds.flatten().tolist()))),
            sample.batch.observation["state"][..., 0],
        )
        return fake_agent().updates["joint"](state, sample, key)

    agent = fake_agent()._replace(act=act, updates={"joint": update})
    logdir, config = tmp_path / "run", dataclasses.replace(WAYS["interleaved"], updates_per_decision=1.0)
    run(logdir, agent=agent, config=config)
    rows = timeless(logdir)
    learned = [(r["episodes"], r["updates"]) for r in rows if "learn/loss" in r]
    assert learned == [(2, 8), (3, 12), (4, 16), (5, 20), (6, 24)]  # the random episodes are made up for at once
    explored = [event for event in happened if event[0] != "eval"]
    order = "".join(event[0][0] for event in explored)
    assert order == "l" * 8 + "el" * 16
    assert len({event[1] for event in explored if event[0] == "explore"}) == 16  # each with the newest parameters
    seeds = {event[2] for event in explored if event[0] == "explore"}
    within = [event[2] in after[1] for event, after in zip(explored[8::2], explored[9::2], strict=True)]
    assert len(seeds) == 4 and sum(within) >= 4  # its own episode is among the samples


def test_an_interleaved_episode_whose_environment_fails_leaves_no_trace(tmp_path, monkeypatch):
    """Of its updates, its priorities and its records, which have overwritten older ones in a full memory."""
    replay = dataclasses.replace(REPLAY, priority_exponent=0.6, capacity=12)
    plain = fake_agent()

    def update(state, sample, key):
        weighed = sample.batch._replace(reward=sample.batch.reward * jnp.mean(sample.weight))
        after, metrics = plain.updates["joint"](state, sample._replace(batch=weighed), key)
        return after, metrics | {"priority": jnp.abs(after.params) + jnp.arange(1.0, 4.0)}

    options = {"agent": plain._replace(updates={"joint": update}), "config": WAYS["interleaved"], "replay": replay}
    run(tmp_path / "whole", **options)
    make, made = failing(2, "Traceback: lost", episode=6)  # after two random ones, two of an evaluation and one
    # that was learned from
    monkeypatch.setattr(loop, "Workers", make)
    messages = []
    report = lambda k, v: messages.append(v["message"]) if k == "message" else None  # noqa: E731
    run(tmp_path / "failed", report, workers=make(), **options)
    assert len(made) == 3 and any("restart 2 of 2" in m for m in messages)
    assert timeless(tmp_path / "failed") == timeless(tmp_path / "whole")
    assert final_value(tmp_path / "failed") == final_value(tmp_path / "whole")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({}, "updates_per_decision: expected above 0 with interleave, got 0.0"),
        ({"updates_per_decision": 1.0, "num_envs": 2}, "num_envs: expected 1 with interleave, got 2"),
        ({"updates_per_decision": 1.0, "overlap": True}, "overlap: expected False with interleave, got True"),
    ],
)
def test_interleaving_refuses_what_does_not_go_with_it(changed, message):
    with pytest.raises(ValueError, match=message):
        RunConfig(interleave=True, **changed)


def test_schedule_counts_and_units(straight):
    logdir, _ = straight
    rows = timeless(logdir)
    collected = [r for r in rows if "collect/return" in r]
    learned = [r for r in rows if "learn/loss" in r]
    evaluated = [r for r in rows if "evaluation/return" in r]
    assert [r["env_steps"] for r in collected] == [12, 24, 36, 48, 60, 72]  # action repeat counted
    assert [r["collect/random"] for r in collected] == [1, 1, 0, 0, 0, 0]
    assert [(r["episodes"], r["updates"]) for r in learned] == [(2, 3), (3, 6), (4, 9), (5, 12), (6, 15)]
    assert [r["episodes"] for r in evaluated] == [2, 4, 6]
    assert all(r["evaluation/episodes"] == 2 for r in evaluated)
    for i in range(6):
        episode = read_episode(logdir / "episodes" / f"{i:06d}.npz", SPEC)
        assert len(episode.reward) == 5
        assert collected[i]["collect/return"] == pytest.approx(float(episode.reward.sum(dtype=np.float64)))


def test_evaluation_has_no_noise_and_seeds_of_its_own(straight):
    logdir, _ = straight
    seeds = {read_episode(logdir / "episodes" / f"{i:06d}.npz").observation["state"][0, 0] for i in range(6)}
    assert len(seeds) == 6
    rows = [r for r in timeless(logdir) if "evaluation/return" in r]
    assert rows[0]["evaluation/return_std"] == pytest.approx(0.0, abs=1e-9)  # deterministic: reward is the action


def test_a_run_that_is_beyond_what_is_asked_for_says_so(tmp_path):
    run(tmp_path)
    messages = []
    report = lambda k, v: messages.append(v["message"]) if k == "message" else None  # noqa: E731
    progress = run(tmp_path, report, config=dataclasses.replace(CONFIG, env_steps=36))
    said = "already at 72 env_steps and 15 updates, with env_steps = 36 asked for; nothing is left to do"
    assert progress.env_steps == 72 and said in messages and "compiling" not in messages


class Killed(BaseException):
    """Stands for kill -9: nothing of the program runs after it."""


def kill_and_resume(logdir, at, **options):
    """A run that is killed at its event number `at`, and the same command again."""
    seen = []

    def die(kind, values):
        seen.append(kind)
        if len(seen) == at + 1:
            raise Killed

    with pytest.raises(Killed):
        run(logdir, die, **options)
    run(logdir, **options)


@every
def test_resume_after_a_kill_at_any_event_is_bit_exact(every, whole, tmp_path):
    reference, events, config = whole
    for at in range(every // 2, len(events), every):
        logdir = tmp_path / f"killed{at}"
        kill_and_resume(logdir, at, config=config)
        assert timeless(logdir) == timeless(reference), f"killed at event {at}, {events[at]}"
        assert final_value(logdir) == final_value(reference)


@every
def test_priorities_are_part_of_what_is_resumed(every, tmp_path):
    """Windows are drawn by priorities that updates gave, so one lost priority would change all that follows."""
    replay = dataclasses.replace(REPLAY, priority_exponent=0.6)
    plain = fake_agent()

    def update(state, sample, key):
        weighed = sample.batch._replace(reward=sample.batch.reward * jnp.mean(sample.weight))
        after, metrics = plain.updates["joint"](state, sample._replace(batch=weighed), key)
        return after, metrics | {"priority": jnp.abs(after.params) + jnp.arange(1.0, 4.0)}

    agent, events = plain._replace(updates={"joint": update}), []
    reference = tmp_path / "reference"
    run(reference, lambda kind, values: events.append(kind), agent=agent, replay=replay)
    assert "learn/priority" not in {name for row in timeless(reference) for name in row}
    uniform = tmp_path / "uniform"
    run(uniform, agent=agent)
    assert timeless(uniform) != timeless(reference)
    for at in range(every // 2, len(events), every):
        logdir = tmp_path / f"killed{at}"
        kill_and_resume(logdir, at, agent=agent, replay=replay)
        assert timeless(logdir) == timeless(reference), f"killed at event {at}, {events[at]}"


def test_an_agent_without_priorities_refuses_a_replay_that_draws_by_them(tmp_path):
    with pytest.raises(ValueError, match="priority_exponent: expected 0, since this agent returns no priorities"):
        run(tmp_path / "run", replay=dataclasses.replace(REPLAY, priority_exponent=0.6))


@every
def test_interrupts_save_and_resume_bit_exact(every, whole, tmp_path):
    reference, events, config = whole
    before = signal.getsignal(signal.SIGINT)
    for at in range(every // 3, len(events), every):
        logdir, seen = tmp_path / f"interrupted{at}", []

        def press(kind, values, seen=seen, at=at):
            seen.append(kind)
            if len(seen) == at + 1:
                os.kill(os.getpid(), signal.SIGINT)

        try:
            run(logdir, press, config=config)
        except Interrupted:
            assert newest(logdir)[1].episodes <= 6
        run(logdir, config=config)
        assert timeless(logdir) == timeless(reference), f"interrupted at event {at}, {events[at]}"
        assert final_value(logdir) == final_value(reference)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_longer_run_continues_a_shorter_one(whole, tmp_path):
    reference, _, config = whole
    logdir = tmp_path / "run"
    run(logdir, config=dataclasses.replace(config, env_steps=48))
    run(logdir, config=config)
    assert timeless(logdir) == timeless(reference)


def test_finished_run_does_nothing(straight):
    logdir, _ = straight
    before = timeless(logdir)
    assert run(logdir).env_steps == 72
    assert timeless(logdir) == before


def test_parallel_environments_collect_that_many_episodes_at_a_time(tmp_path):
    from dataclasses import replace

    config = replace(CONFIG, num_envs=2)
    run(tmp_path / "two", config=config)
    rows = timeless(tmp_path / "two")
    assert [r["episodes"] for r in rows if "collect/return" in r] == [2, 4, 6]
    assert [r["updates"] for r in rows if "learn/loss" in r] == [6, 12, 18]  # 3 per episode all the same


def test_nan_stops_names_the_metric_and_keeps_the_last_good_checkpoint(tmp_path):
    logdir = tmp_path / "nan"
    with pytest.raises(NonFinite, match=r"learn/loss.*last valid checkpoint is step") as error:
        run(logdir, agent=fake_agent(nan_after=8))
    assert "8" not in str(error.value) or "updates" in str(error.value)
    value, progress = final_value(logdir)
    assert np.isfinite(value)
    assert progress.updates < 8


def test_a_run_that_starts_from_given_parameters_resumes_without_them(straight, tmp_path):
    def init(key, params=None):
        return fake_agent().init(key) if params is None else TrainState(params, (), jnp.int32(0))

    agent, logdir = fake_agent()._replace(init=init), tmp_path / "started"
    given, seen = jnp.float32(3.0), []

    def kill(kind, values):
        seen.append(kind)
        if len(seen) == 3:
            raise Killed

    logdir.mkdir()
    with pytest.raises(Killed):
        train(job(logdir, agent=agent)._replace(start=given), kill)
    assert Checkpoints(logdir / "checkpoints").steps()
    run(logdir, agent=agent)
    (tmp_path / "whole").mkdir()
    train(job(tmp_path / "whole", agent=agent)._replace(start=given))
    assert timeless(logdir) == timeless(tmp_path / "whole") != timeless(straight[0])


def failing(number: int, traceback: str = "", episode: int = 2):
    """A constructor of environments of which the first `number` fail at the third decision of that episode."""
    made = []

    def make(env=None, config=None, num_envs=1):
        workers = FakeWorkers(num_envs)
        made.append(workers)
        if len(made) > number:
            return workers
        reset, step = workers.reset, workers.step

        def reset_and_count(seeds):
            workers.episodes = getattr(workers, "episodes", 0) + 1
            return reset(seeds)

        def step_or_fail(actions):
            if workers.count == 2 and (workers.episodes == episode or len(made) > 1):
                raise WorkerDied(0, "(fake) failed: ConnectionError: lost", traceback)
            return step(actions)

        workers.reset, workers.step = reset_and_count, step_or_fail
        return workers

    return make, made


@pytest.mark.parametrize("traceback", ["", "Traceback: lost"], ids=["killed", "raised"])
def test_an_environment_that_fails_is_restarted_and_its_episode_repeated(whole, tmp_path, monkeypatch, traceback):
    logdir, _, config = whole
    make, made = failing(2, traceback)
    monkeypatch.setattr(loop, "Workers", make)
    messages = []
    report = lambda k, v: messages.append(v["message"]) if k == "message" else None  # noqa: E731
    run(tmp_path / "failed", report, config=config, workers=make())
    assert timeless(tmp_path / "failed") == timeless(logdir) and len(made) == 3
    repeated = [m for m in messages if "worker 0 (fake) failed: ConnectionError: lost; restarting" in m]
    assert len(repeated) == 2 and "restart 2 of 2" in repeated[1] and "Traceback" not in repeated[1]


def test_an_environment_that_keeps_failing_ends_the_run_and_nothing_collected_is_lost(straight, tmp_path, monkeypatch):
    logdir, (make, made) = tmp_path / "failing", failing(99, "Traceback: lost")
    monkeypatch.setattr(loop, "Workers", make)
    config = dataclasses.replace(CONFIG, checkpoint_every=1000)
    with pytest.raises(WorkerDied, match="Traceback: lost"):
        run(logdir, config=config, workers=make())
    assert len(made) == 1 + config.env_restarts and newest(logdir)[1].episodes == 1
    monkeypatch.undo()
    run(logdir, config=config)
    assert timeless(logdir) == timeless(straight[0])


def test_full_disk_stops_and_the_run_goes_on_when_there_is_room(straight, tmp_path, monkeypatch):
    logdir = tmp_path / "full"
    real, calls = run_folder.write_episode, []

    def full(directory, index, episode):
        calls.append(index)
        if len(calls) == 4:
            raise DiskFull(errno.ENOSPC, f"{directory}: the disk is full; free some space and run the command again")
        return real(directory, index, episode)

    monkeypatch.setattr(run_folder, "write_episode", full)
    with pytest.raises(DiskFull):
        run(logdir)
    monkeypatch.setattr(run_folder, "write_episode", real)
    run(logdir)
    assert timeless(logdir) == timeless(straight[0])


def test_corrupt_checkpoint_falls_back_to_the_one_before(straight, tmp_path):
    logdir = tmp_path / "corrupt"
    with pytest.raises(Killed):
        run(logdir, _raise_at("evaluated", 3))
    newest = sorted((logdir / "checkpoints").iterdir())[-1]
    victim = max((p for p in newest.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    victim.write_bytes(victim.read_bytes()[: victim.stat().st_size // 2])
    messages = []
    run(logdir, lambda k, v: messages.append(v["message"]) if k == "message" else None)
    assert any("corrupt" in m and str(newest) in m for m in messages)
    assert timeless(logdir) == timeless(straight[0])


def test_only_corrupt_checkpoints_are_refused_not_overwritten(tmp_path):
    logdir = tmp_path / "allcorrupt"
    run(logdir)
    for file in (logdir / "checkpoints").rglob("record.json"):
        file.write_text("{")
    with pytest.raises(ValueError, match="only corrupt ones"):
        run(logdir)
    assert len(list((logdir / "episodes").glob("*.npz"))) == 6


def test_corrupt_episode_is_skipped_and_named(tmp_path):
    logdir = tmp_path / "episode"
    with pytest.raises(Killed):
        run(logdir, _raise_at("evaluated", 3))
    (logdir / "episodes" / "000001.npz").write_bytes(b"PK\x03\x04 torn")
    messages = []
    run(logdir, lambda k, v: messages.append(v["message"]) if k == "message" else None)
    assert any("000001.npz" in m for m in messages)
    assert timeless(logdir)[-1]["env_steps"] == 72


def test_windows_run_over_several_episodes(tmp_path):
    replay = ReplayConfig(capacity=40, batch_size=3, batch_length=12)  # episodes have 5 records
    progress = run(tmp_path / "long", replay=replay)
    assert (progress.env_steps, progress.episodes) == (72, 6) and progress.updates > 0


@pytest.mark.parametrize(("limit", "times"), [(4, 1), (None, 0)])
def test_the_first_episode_that_is_cut_off_is_told(tmp_path, limit, times):
    messages = []
    report = lambda k, v: messages.append(v["message"]) if k == "message" else None  # noqa: E731
    train(job(tmp_path)._replace(environment=EnvConfig(max_decisions=limit)), report)
    line = "an episode was cut off after 4 decisions, as max_decisions says; it counts as truncated, not as terminated"
    assert messages.count(line) == times


def test_metrics_are_strict_json_with_time_apart(straight):
    lines = (straight[0] / "metrics.jsonl").read_text().splitlines()
    for line in lines:
        row = json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not strict JSON"))
        assert {"env_steps", "episodes", "updates", "time/total"} <= row.keys()


@pytest.mark.parametrize("field", ["num_envs", "seed_episodes", "eval_episodes", "checkpoint_every"])
def test_schedule_errors_name_the_field(field):
    with pytest.raises(ValueError, match=rf"{field}: expected at least 1, got 0"):
        RunConfig(**{field: 0})


def _raise_at(kind, count):
    seen = []

    def report(got, values):
        if got == kind:
            seen.append(got)
            if len(seen) == count:
                raise Killed

    return report


def test_random_episodes_go_on_until_replay_holds_a_window():
    config = RunConfig(seed_episodes=2, updates_per_episode=3, env_steps=1000)
    short = Progress(env_steps=20, episodes=2, records=10)
    assert next_phase(config, short, window=12) == "collect"
    assert in_seed_phase(config, short, window=12)
    assert next_phase(config, short._replace(episodes=3, records=15), window=12) == "learn"


def order(stages, steps):
    """The updates of the first steps of a schedule, and how many of them a step has."""
    progress, taken = Progress(), []
    while progress.schedule_steps < steps:
        update = next_update(stages, progress)
        if update is None:
            progress = after_step(progress)
            taken.append(" ")
        else:
            progress = after_update(progress, update)
            taken.append(update)
    assert progress.updates == sum(progress.stage_updates.values()) == sum(update != " " for update in taken)
    assert progress.stage_updates == progress.summed_updates
    return "".join(taken)


def test_every_update_is_taken_once_per_step_unless_stages_say_otherwise():
    assert order(stages_of(RunConfig(), ["a"]), 3) == "a a a "
    assert order(stages_of(RunConfig(), ["a", "b"]), 2) == "ab ab "


@pytest.mark.parametrize(
    ("stages", "expected"),
    [
        ([Stage(update="m", every=3, times=2), Stage(update="p", times=3)], "mmppp ppp ppp mmppp "),  # MBPO
        ([Stage(update="v", until=2), Stage(update="m", first=2)], "v v m m "),  # World Models
        ([Stage(update="v", first=1, until=3, every=2)], " v   "),
        ([Stage(update="v", times=2, until=1)], "vv    "),
    ],
)
def test_stages_have_their_turns(stages, expected):
    assert order(stages_of(RunConfig(stages=tuple(stages)), "vmp"), 4) == expected


def test_stages_must_name_updates_once():
    for names in (["a", "c"], ["a", "a"]):
        stages = tuple(Stage(update=name) for name in names)
        with pytest.raises(ValueError, match=r"stages: expected each of the agent's updates \(a, b\) at most once"):
            stages_of(RunConfig(stages=stages), ["a", "b"])
    for wrong in ({"times": 0}, {"every": 0}, {"first": -1}, {"first": 2, "until": 2}):
        with pytest.raises(ValueError, match=r"Stage.(times|every|first|until): expected"):
            Stage(update="a", **wrong)


def test_evaluations_are_due_by_env_steps_whatever_was_evaluated_before():
    config = RunConfig(seed_episodes=2, updates_per_episode=0, eval_every=40, env_steps=1000)

    def phase(env_steps, evaluated_at, episodes=2):
        return next_phase(config, Progress(env_steps, episodes, records=99, evaluated_at=evaluated_at), window=1)

    assert phase(50, -1, episodes=1) == "collect"  # random still
    assert phase(20, -1) == "evaluate"
    assert phase(30, 20) == "collect"
    assert phase(41, 20) == "evaluate"
    assert phase(1001, 990) == "evaluate"  # at the end
    assert phase(1001, 1001) == "stop"
    assert phase(85, 75) == "evaluate"  # an extended run evaluates when a straight one does
    assert phase(155, 20) == "evaluate" and phase(155, 155) == "collect"  # once, however many were due


def test_checkpoints_are_due_by_env_steps():
    config = RunConfig(checkpoint_every=40)
    due = [
        checkpoint_due(config, Progress(now), Progress(saved)) for now, saved in ((39, 0), (45, 39), (79, 45), (80, 45))
    ]
    assert due == [False, True, False, True]


def quiet(kind, values):
    """Reports nothing."""


def test_asked_to_stop_it_starts_no_environments_again(tmp_path, monkeypatch):
    """A signal to the process group ends the environments' processes as well."""
    reporter = Reporter(quiet)

    def phase():
        reporter.stop.set()
        raise WorkerDied(0, "was killed by SIGTERM")

    start = lambda: pytest.fail("the environments were started again")  # noqa: E731
    with pytest.raises(Interrupted), RestartingWorkers(start, restarts=2) as workers:
        workers.run(phase, on_failure=reporter.stop_if_asked, say=quiet)


def test_what_is_not_as_declared_saves_the_run_and_is_not_tried_again(tmp_path):
    class Fails(FakeWorkers):
        """Its fourth reset gives something else."""

        resets = 0

        def reset(self, seeds):
            self.resets += 1
            if self.resets == 4:
                raise SpaceMismatch("env: fake returned the observation float32 [3]; expected Box")
            return super().reset(seeds)

    with pytest.raises(SpaceMismatch):
        run(tmp_path / "mismatch", workers=(workers := Fails()))
    assert workers.resets == 4
    _, progress = newest(tmp_path / "mismatch")
    assert progress.episodes == 2 and progress.updates == 3  # two random ones, and what is learned before evaluating
    assert run(tmp_path / "mismatch").env_steps == 72


def test_an_episode_too_short_to_predict_is_filmed_all_the_same(tmp_path):
    pixels = job(tmp_path)._replace(spec=EnvSpec.single((16, 16, 3), "uint8", action_size=1))
    short = Batch({"image": np.zeros((2, 16, 16, 3), np.uint8)}, np.zeros((2, 1)), *np.zeros((4, 2)))
    reporter = Reporter(quiet)
    evaluator = Evaluator(pixels, RestartingWorkers(FakeWorkers, restarts=0), reporter)
    evaluator.write_pictures(short, {}, "first")
    assert [file.name for file in (tmp_path / "videos").iterdir()] == ["evaluation_first.mp4"]


def test_a_second_signal_ends_the_process_at_once(tmp_path):
    code = (
        "import os, signal, threading, time\n"
        "from latentplan.driver.signals import stop_on_signals\n"
        "stop = threading.Event()\n"
        "with stop_on_signals(stop, lambda message: print(message, flush=True)):\n"
        "    os.kill(os.getpid(), signal.SIGINT); assert stop.is_set()\n"
        "    os.kill(os.getpid(), signal.SIGINT); time.sleep(30)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 130, ended.stderr
    assert "press again" in ended.stdout


def test_learning_moves_nothing_between_host_and_device(straight, tmp_path):
    """Sampling, update and the metrics' sums are one program, compiled once and before the first update."""
    episodes = [read_episode(straight[0] / "episodes" / f"{i:06d}.npz", SPEC) for i in range(CONFIG.seed_episodes)]
    with RunFolder(job(tmp_path), pytest.fail) as folder:
        state, learner = folder.resume(), Learner(job(tmp_path), folder.replay, Reporter(quiet))
        assert learner.compile(state) >= 0
        program = learner.programs["joint"]
        assert not [name for name in ("callback", "infeed", "outfeed") if name in program.as_text()]
        folder.add_episodes(state, episodes)
        key = stream_key(0, "learn", 0)
        with jax.transfer_guard("disallow"):
            after, *_ = program(state.train_state, state.replay_state, state.sums["joint"], key)
    assert int(after.updates) == 1 and state.train_state.params.is_deleted()  # donated


def test_compiling_is_reported_with_the_memory_that_is_needed(tmp_path):
    said = []
    run(tmp_path, lambda kind, values: said.append(values.get("message", "")))
    assert any("compiled in" in message and "GiB in this process" in message for message in said)


# -- several updates ---------------------------------------------------------------------------------------------------


def two_stage_agent() -> Agent:
    """The fake agent, whose update is taken twice under two names, with and without the noise of its key."""
    joint = fake_agent().updates["joint"]
    return fake_agent()._replace(
        updates={"first": joint, "second": lambda state, sample, key: joint(state, sample, jax.random.key(0))}
    )


STAGED = dataclasses.replace(CONFIG, stages=(Stage(update="first", every=2, times=3), Stage(update="second")))


@pytest.fixture(scope="module")
def staged(tmp_path_factory):
    """A run of an agent with two updates, on different clocks."""
    logdir, events = tmp_path_factory.mktemp("staged"), []
    run(logdir, lambda kind, values: events.append(kind), agent=two_stage_agent(), config=STAGED)
    return logdir, events


def test_stages_are_logged_by_name_and_counted(staged):
    learned = [row for row in timeless(staged[0]) if any(name.startswith("learn/") for name in row)]
    assert learned[0].keys() >= {"learn/first/loss", "learn/first/updates", "learn/second/kl", "learn/second/updates"}
    assert not any(name in row for row in learned for name in ("learn/loss", "learn/kl"))
    # Three steps of the schedule per episode; "first" has its turns at steps 0, 2, 4, ...
    assert [row["learn/second/updates"] for row in learned] == [3, 6, 9, 12, 15]
    assert [row["learn/first/updates"] for row in learned] == [6, 9, 15, 18, 24]
    assert [row["updates"] for row in learned] == [9, 15, 24, 30, 39]


@every
def test_stages_are_resumed_bit_exact_from_within_a_step_of_their_schedule(every, staged, tmp_path):
    reference, events = staged
    for at in range(every // 2, len(events), every):
        logdir, seen = tmp_path / f"interrupted{at}", []

        def press(kind, values, seen=seen, at=at):
            seen.append(kind)
            if len(seen) == at + 1:
                os.kill(os.getpid(), signal.SIGINT)

        with contextlib.suppress(Interrupted):
            run(logdir, press, agent=two_stage_agent(), config=STAGED)
        run(logdir, agent=two_stage_agent(), config=STAGED)
        assert timeless(logdir) == timeless(reference), f"interrupted at event {at}, {events[at]}"


def test_a_stage_that_has_no_turn_is_not_logged(tmp_path):
    stages = (Stage(update="first", until=3), Stage(update="second", first=3))
    config = dataclasses.replace(CONFIG, stages=stages, env_steps=36)
    run(tmp_path, agent=two_stage_agent(), config=config)
    first, second = [row for row in timeless(tmp_path) if "learn/first/updates" in row]
    assert "learn/first/loss" in first and "learn/second/loss" not in first
    assert "learn/first/loss" not in second and "learn/second/loss" in second


def test_nan_in_a_stage_is_named(tmp_path):
    broken = two_stage_agent()._replace(updates=two_stage_agent().updates | {"second": fake_agent(4).updates["joint"]})
    with pytest.raises(NonFinite, match="learn/second/loss"):
        run(tmp_path, agent=broken, config=STAGED)


# -- versions ----------------------------------------------------------------------------------------------------------


def test_a_run_of_another_version_is_not_resumed_but_restored(straight, tmp_path, monkeypatch):
    logdir = tmp_path / "run"
    shutil.copytree(straight[0], logdir)
    monkeypatch.setattr(provenance, "package_version", lambda: "9.0")
    config = dataclasses.replace(CONFIG, env_steps=96)
    with pytest.raises(ValueError, match=r"expected a run of latentplan 9.0, got one of .* in .*; it can be evaluated"):
        run(logdir, config=config)
    assert final_value(logdir) == final_value(straight[0])
