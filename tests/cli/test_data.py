"""Learning from recorded episodes with the command line: without an environment, with one, interrupted, exported."""

import io

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box
from rich.console import Console

from latentplan.cli import evaluate, train
from latentplan.cli.report import write_report
from latentplan.driver.logging import read_metrics, reproducible
from latentplan.runs import load_run

OPTIMIZED = True
DEBUG = ["--preset", "debug", "--obs", "state", "--replay.batch-size", "16", "--model.no-predict-terminal"]


class Cart(gymnasium.Env):
    """A damped cart on a line; its position squared is the cost."""

    observation_space = Box(-np.inf, np.inf, (2,), np.float64)
    action_space = Box(-1.0, 1.0, (1,), np.float64)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x = self.np_random.normal(size=2)
        return self.x.copy(), {}

    def step(self, action):
        self.x = np.array([self.x[0] + 0.2 * self.x[1], 0.9 * self.x[1] + 0.5 * action[0]])
        return self.x.copy(), -(self.x[0] ** 2), False, False, {}


gymnasium.register("RecordedCart-v0", Cart, max_episode_steps=20)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """40 episodes of random actions, as NumPy files, and the mean absolute deviation of their rewards."""
    folder, env, rng, rewards = tmp_path_factory.mktemp("data"), Cart(), np.random.default_rng(0), []
    for i in range(40):
        observations, actions = [env.reset(seed=i)[0]], rng.uniform(-1, 1, (20, 1))
        for action in actions:
            observation, reward, *_ = env.step(action)
            observations.append(observation)
            rewards.append(reward)
        np.savez(folder / f"{i:02d}.npz", observations=observations, actions=actions, rewards=rewards[-20:])
    return folder, float(np.mean(np.abs(rewards - np.median(rewards))))


@pytest.fixture
def main(monkeypatch):
    """train.main in this process, and what it printed."""

    def call(*arguments):
        out = io.StringIO()
        monkeypatch.setattr("rich.console.Console", lambda **kwargs: Console(file=out, width=200))
        return train.main(list(map(str, arguments))), out.getvalue()

    return call


def timeless(logdir):
    return [reproducible(row) for row in read_metrics(logdir / "metrics.jsonl")]


def test_a_world_model_is_learned_from_40_episodes_without_an_environment(data, main, tmp_path, capsys, monkeypatch):
    folder, deviation = data
    flags = ["--data", folder, *DEBUG, "--data-updates", 400, "--data-eval-every", 200]
    status, printed = main(*flags, "--logdir", tmp_path / "run")
    assert status == 0, printed
    assert "36 episodes to learn from, 4 held out" in printed and "done: 0 env_steps, 400 updates" in printed
    first, last = (row for row in read_metrics(tmp_path / "run" / "metrics.jsonl") if "held_out/loss" in row)
    assert (first["updates"], last["updates"]) == (200, 400) and last["held_out/loss"] < first["held_out/loss"]
    assert last["prediction/reward_mae"][0] < 0.5 * deviation
    run = load_run(tmp_path / "run")
    assert run.config.env == "recorded" and run.spec.observations["state"].shape == (2,)
    assert len(run.metrics["held_out"]["prediction/reward_mae"]) == 2
    assert list(tmp_path.glob("run/videos/open_loop_*.png"))
    assert "on held-out episodes" in write_report((tmp_path / "run",), tmp_path / "report").read_text()

    status, _ = main(*flags, "--logdir", tmp_path / "again", "--data-updates", 200)
    status, printed = main(*flags, "--logdir", tmp_path / "again")  # resumed, and longer
    assert status == 0 and "resumed at 0 env_steps, 0 episodes, 200 updates" in printed
    assert timeless(tmp_path / "again") == timeless(tmp_path / "run")

    (folder / "40.npz").write_bytes((folder / "39.npz").read_bytes())
    try:
        status, printed = main(*flags, "--logdir", tmp_path / "again", "--data-updates", 600)
    finally:
        (folder / "40.npz").unlink()
    assert status == 2 and "data: expected the data of the run's beginning, 36 episodes with 756 records" in printed

    assert evaluate.main([str(tmp_path / "run"), "--episodes", "1"]) == 2
    assert "env: expected an environment, got recorded data without one" in capsys.readouterr().err


def test_with_an_environment_it_is_evaluated_there_and_goes_on_collecting(data, main, tmp_path):
    flags = [
        "--data",
        data[0],
        "--env",
        f"{__name__}:RecordedCart-v0",
        *DEBUG,
        "--data-updates",
        20,
        "--eval-every",
        20,
    ]
    status, printed = main(*flags, "--env-steps", 40, "--updates-per-episode", 5, "--logdir", tmp_path / "run")
    assert status == 0, printed
    rows = read_metrics(tmp_path / "run" / "metrics.jsonl")
    evaluated = [row for row in rows if "evaluation/return" in row]
    assert [(row["env_steps"], row["updates"]) for row in evaluated] == [(0, 20), (20, 25), (40, 30)]
    assert all("held_out/loss" in row for row in evaluated)
    assert not any(row.get("collect/random") for row in rows)  # the data stands in for random episodes
    assert len(list(load_run(tmp_path / "run").episodes())) == 2


def test_mistakes_with_data_are_told_before_anything_is_made(data, main, tmp_path):
    status, printed = main("--data", tmp_path / "none", *DEBUG, "--logdir", tmp_path / "run")
    assert status == 2 and "data: expected a file, a folder, a pattern" in printed
    status, printed = main("--data", data[0], "--env", "Pendulum-v1", *DEBUG, "--logdir", tmp_path / "run")
    assert status == 2 and "expected state float32 [3], got state float32 [2]" in printed
    status, printed = main("--data", data[0], *DEBUG, "--replay.capacity", 100, "--logdir", tmp_path / "run")
    assert status == 2 and "--replay.capacity: expected at least 756" in printed
    status, printed = main(*DEBUG, "--env", "Pendulum-v1", "--env-steps", 0, "--logdir", tmp_path / "run")
    assert status == 2 and "--env-steps: expected at least 1 without recorded data" in printed
    status, printed = main("--data", data[0], *DEBUG, "--env-steps", 100, "--logdir", tmp_path / "run")
    assert status == 2 and "--env-steps: expected 0 without an environment, got 100; name the" in printed
    for obs in ("image", "pixels", "state,camera"):
        status, printed = main("--data", data[0], *DEBUG, "--obs", obs, "--logdir", tmp_path / "run")
        got = obs.split(",")[-1]
        assert status == 2 and f"--obs: expected what the data holds, state, got {got}; leave it out" in printed
    status, printed = main("--data", data[0], *DEBUG, "--from", tmp_path / "none", "--logdir", tmp_path / "run")
    assert status == 2 and "--from: expected the folder of a run, with a config.json, got" in printed
    assert not (tmp_path / "run").exists()
