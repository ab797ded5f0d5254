"""The command line as a person uses it: a whole run from pixels, kill -9 and resume, Ctrl-C, and their mistakes."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from compare_runs import compare
from rich.console import Console

from latentplan.cli import evaluate, results
from latentplan.cli import train as run
from latentplan.cli.main import run as subcommand
from latentplan.driver.logging import read_metrics, reproducible
from latentplan.replay.episodes import episode_path, read_episode
from latentplan.runs import load_run
from latentplan.runs.summary import summarise

ROOT = Path(__file__).resolve().parents[2]
PIXELS = ["--env", "cartpole_balance", "--preset", "debug", "--action-repeat", "50", "--env-steps", "5000"]
STATE = ["--env", "Pendulum-v1", "--preset", "debug", "--obs", "state"]


def start(arguments):
    return subprocess.Popen(
        [sys.executable, "experiments/run.py", *arguments],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip


def wait_for(logdir, field, count, process):
    """Until so many lines of metrics.jsonl hold a field."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        file = logdir / "metrics.jsonl"
        if file.exists() and file.read_text().count(f'"{field}"') >= count:
            return
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.02)
    process.kill()
    pytest.fail(f"{count} lines with {field} did not come: {process.stdout.read()}")


def timeless(logdir):
    return [reproducible(row) for row in read_metrics(logdir / "metrics.jsonl")]


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    logdir = tmp_path_factory.mktemp("runs") / "straight"
    process = start([*PIXELS, "--logdir", str(logdir)])
    output, _ = process.communicate(timeout=400)
    assert process.returncode == 0, output
    return logdir, output


@pytest.fixture
def main(monkeypatch):
    """run.main in this process, and what it printed."""

    def call(arguments):
        out = io.StringIO()
        monkeypatch.setattr("rich.console.Console", lambda **kwargs: Console(file=out, width=200))
        return run.main(arguments), out.getvalue()

    return call


def test_whole_run_from_pixels_leaves_everything(straight):
    logdir, output = straight
    first, *_, last = output.strip().splitlines()
    assert "preset debug" in output.splitlines()[0] or "preset debug" in first
    assert last.startswith("done: 5000 env_steps")
    config = json.loads((logdir / "config.json").read_text())
    assert config["config"]["env"] == "cartpole_balance"
    (segment,) = config["segments"]
    assert {"jax", "mujoco", "latentplan"} <= segment["versions"].keys()
    assert segment["device"] and segment["commit"] and segment["command"][1] == "experiments/run.py"
    rows = timeless(logdir)
    diagnostics = ("open_loop/observation_mse", "prediction/kl", "planning/planned_return", "planning/elite_return")
    for field in ("collect/return", "learn/kl", "evaluation/return_std", *diagnostics):
        assert any(field in row for row in rows), field
    assert list(logdir.glob("events.out.tfevents.*"))
    assert len(list((logdir / "checkpoints").iterdir())) == 2
    assert len(list((logdir / "videos").glob("open_loop_*.png"))) == len(list((logdir / "videos").glob("eval*.mp4")))
    episode = read_episode(logdir / "episodes" / "000000.npz")
    assert episode.observation["image"].shape == (21, 64, 64, 3)
    assert episode.is_last[-1] and not episode.is_terminal[-1]  # a time limit, not a termination


def test_kill_9_and_resume_gives_identical_metrics(straight, tmp_path):
    whole, _ = straight
    logdir = tmp_path / "killed"
    arguments = [*PIXELS, "--logdir", str(logdir)]
    process = start(arguments)
    wait_for(logdir, "learn/loss", 2, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert len(timeless(logdir)) < len(timeless(whole))
    resumed = start(arguments)
    output, _ = resumed.communicate(timeout=400)
    assert resumed.returncode == 0, output
    assert "resumed at" in output
    assert len(json.loads((logdir / "config.json").read_text())["segments"]) == 2
    found = compare(whole, logdir)
    assert (found.rows, found.episodes) == (len(timeless(whole)), 5) and found.lost == found.differing == []


@pytest.mark.slow  # tests/driver/test_loop.py interrupts at many events, in one process
def test_ctrl_c_saves_exits_130_and_resumes(straight, tmp_path):
    logdir = tmp_path / "interrupted"
    arguments = [*PIXELS, "--logdir", str(logdir)]
    process = start(arguments)
    wait_for(logdir, "learn/loss", 1, process)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 130, output
    assert "interrupted and saved" in output
    assert list((logdir / "checkpoints").iterdir())
    resumed = start(arguments)
    output, _ = resumed.communicate(timeout=400)
    assert resumed.returncode == 0, output
    assert timeless(logdir) == timeless(straight[0])


@pytest.mark.slow  # tests/envs/test_atari.py has what is different about games
def test_a_game_in_grey_runs(main, tmp_path):
    pytest.importorskip("ale_py")
    logdir = tmp_path / "pong"
    arguments = ["--env", "ALE/Pong-v5", "--preset", "debug", "--grayscale", "--image-size", "16"]
    arguments += ["--action-repeat", "60", "--env-steps", "8000", "--atari.noops", "5"]  # short episodes
    status, printed = main([*arguments, "--logdir", str(logdir)])
    assert status == 0, printed
    assert "ALE/Pong-v5: observation image (16, 16, 1) uint8; 6 actions, action repeat 60" in printed
    rows = [row for row in read_metrics(logdir / "metrics.jsonl") if "collect/return" in row]
    decisions = [len(read_episode(file).reward) - 1 for file in sorted((logdir / "episodes").glob("*.npz"))]
    assert [row["env_steps"] for row in rows] == (60 * np.cumsum(decisions)).tolist()
    assert rows[-1]["env_steps"] >= 8000 and rows[0]["collect/return"] < -5
    assert (
        len(list((logdir / "videos").glob("open_loop_*.png"))) == len(list((logdir / "videos").glob("eval*.mp4"))) > 0
    )


def test_evaluate_reports_and_films(straight, tmp_path, capsys):
    film = tmp_path / "out.mp4"
    assert (
        evaluate.main(["--logdir", str(straight[0]), "--episodes", "2", "--num-envs", "2", "--video", str(film)]) == 0
    )
    printed = capsys.readouterr().out
    assert "mean and std over 2 episodes" in printed
    assert printed.count("20 decisions") == 2
    assert film.stat().st_size > 1000


@pytest.mark.slow  # tests/test_registries.py trains an agent and acts by its policy and a planner
def test_a_dreamer_trains_goes_on_and_acts_by_policy_and_planner(main, tmp_path, capsys):
    """From the run to a row of the results: one model, two ways to act."""
    logdir = tmp_path / "dreamer"
    arguments = [*STATE, "--agent", "dreamer_v3", "--logdir", str(logdir)]
    assert main([*arguments, "--env-steps", "600"])[0] == 0
    status, printed = main([*arguments, "--env-steps", "1000"])
    assert status == 0 and "resumed at 600 env_steps" in printed, printed
    assert main([*arguments[:-1], str(tmp_path / "whole"), "--env-steps", "1000"])[0] == 0
    rows = timeless(logdir)  # with an evaluation at 600, where it ended first
    assert all(row in rows for row in timeless(tmp_path / "whole"))
    acting = ["--logdir", str(logdir), "--episodes", "2", "--act", "policy", "planner", "--planner", "mppi"]
    assert evaluate.main(acting) == 0, capsys.readouterr()
    printed = capsys.readouterr().out
    assert "acting by policy" in printed and "acting by mppi" in printed
    run_ = summarise(load_run(logdir))
    assert run_["acting"].keys() == {"policy", "mppi"}
    assert [len(found["returns"]) for found in run_["acting"].values()] == [2, 2]
    assert run_["acting"]["policy"]["returns"] != run_["acting"]["mppi"]["returns"]
    table = results.of_acting([run_])
    assert "| mppi, its critic at a plan's end | " in table and "| 2 | 1,000 | dreamer |" in table
    assert evaluate.main([*acting[:2], "--episodes", "1"]) == 0  # as it was trained
    assert "acting by" not in capsys.readouterr().out


@pytest.mark.slow  # tests/test_registries.py evaluates with another planner
def test_any_run_is_evaluated_with_another_planner(straight, capsys):
    arguments = ["--logdir", str(straight[0]), "--episodes", "1"]
    returns = {}
    for planner in ("", "cem", "shooting"):
        assert evaluate.main([*arguments, *(("--planner", planner) if planner else ())]) == 0
        printed = capsys.readouterr().out
        assert ("acting by shooting" in printed) == (planner == "shooting")
        returns[planner] = re.search(r"episode 0: return (\S+),", printed)[1]
    assert returns[""] == returns["cem"] != returns["shooting"]


def test_acting_by_a_policy_needs_one(straight, capsys):
    assert evaluate.main(["--logdir", str(straight[0]), "--act", "policy"]) == 2
    assert "act: expected an agent with a policy of its own" in capsys.readouterr().err
    assert evaluate.main(["--logdir", str(straight[0]), "--act", "policy", "--planner", "mppi"]) == 2
    assert "planner: expected none with --act policy, got mppi" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--env", "walker_wlak"], "walker_walk"),
        (
            ["--obs", "states"],
            "obs: expected names among height, orientations, velocity, state, image, got 'states'",
        ),
        (
            ["--env", "CartPole-v1", "--obs", "state", "--preset", "debug", "--planner", "icem"],
            "use cem, mppi or shooting",
        ),
        ([*STATE, "--planner", "policy"], "this agent has none"),
        (["--env", "no_such_module_here:Env-v0", "--obs", "state"], "no_such_module_here"),
        ([*STATE, "--planner.horizon", "0"], "--planner.horizon: expected at least 1, got 0; the default is 4"),
        ([*STATE, "--replay.batch-length", "5000"], "--replay.batch-length: expected at most capacity = 1000 records"),
        ([*STATE, "--replay.capacity", "100000000000"], "GiB"),
    ],
)
def test_mistakes_are_explained_and_exit_with_2(main, tmp_path, arguments, expected):
    status, printed = main([*arguments, "--logdir", str(tmp_path / "run")])
    assert status == 2, printed
    assert not (tmp_path / "run").exists()  # nothing is left that could stand in the way of the right command
    assert expected in printed
    assert "Traceback" not in printed and "ValueError" not in printed


def test_more_elites_than_candidates_names_both(main, tmp_path):
    status, printed = main([*STATE, "--planner.num-elites", "50", "--logdir", str(tmp_path / "run")])
    assert status == 2
    assert "--planner.num-elites: expected at most num_candidates = 20, got 50; lower" in printed


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            ["--agent", "tdmpc2", "--loss.global-prior-scale", "1"],
            "--loss.global-prior-scale: expected a setting of --agent tdmpc2, got one of planet; choose",
        ),
        (
            ["--planner", "mppi", "--planner.noise-beta=2"],
            "--planner.noise-beta: expected a setting of --planner mppi, got one of icem; choose --planner icem, or",
        ),
        (["--model.num_q", "3"], "--model.num_q: expected a setting of --agent planet, got one of tdmpc or tdmpc2;"),
        (["--planner", "policy", "--planner.no-warm-start"], "got one of cem or icem or mppi or gradient or shooting;"),
        (["--agent", "tdmpc", "--model.nobody-has-this"], ""),
    ],
)
def test_settings_of_others_are_told(capsys, tmp_path, arguments, expected):
    with pytest.raises(SystemExit) as exit:
        run.main([*STATE, *arguments, "--logdir", str(tmp_path / "run")])
    printed = capsys.readouterr()
    told = " ".join(printed.err.split())
    assert exit.value.code == 2 and expected in told
    assert "Unrecognized options" in told and "--help" in told  # the rest of the parser's help
    assert told.count("expected a setting") == bool(expected)


def test_logdir_that_is_a_file_is_refused(main, tmp_path):
    (tmp_path / "file").write_text("mine")
    status, printed = main([*STATE, "--logdir", str(tmp_path / "file")])
    assert status == 2 and "logdir" in printed
    assert (tmp_path / "file").read_text() == "mine"


def test_other_config_in_the_same_logdir_is_refused_naming_the_fields(main, straight):
    before = (straight[0] / "config.json").read_bytes()
    status, printed = main([*PIXELS, "--planner.horizon", "5", "--seed", "3", "--logdir", str(straight[0])])
    assert status == 2
    assert "agent_config.planner.horizon: 4 -> 5" in printed
    assert "run.seed: 0 -> 3" in printed
    assert (straight[0] / "config.json").read_bytes() == before


def test_another_agent_in_the_same_logdir_is_refused_in_a_line(main, straight):
    status, printed = main([*PIXELS, "--agent", "dreamer_v1", "--logdir", str(straight[0])])
    assert status == 2
    assert "agent: 'planet' -> 'dreamer_v1'\nUse the same flags" in printed


def test_two_runs_cannot_share_a_logdir(main, tmp_path):
    logdir = tmp_path / "run"
    logdir.mkdir()
    with run.lock(logdir):
        status, printed = main([*STATE, "--logdir", str(logdir)])
    assert status == 2 and "in use" in printed


def test_help_explains_fields_with_units(capsys):
    with pytest.raises(SystemExit) as exit:
        run.main(["--help", "--env", "cartpole_swingup"])
    assert exit.value.code == 0
    printed = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for words in (
        "--planner.num-candidates",
        "--env-steps",
        "simulator control steps",
        "in nats",
        "default: cartpole_swingup",
        "Defaults shown are for --env cartpole_swingup --obs pixels --agent planet; add your --env, --obs and --agent",
        "where a size and another planner than the agent's own join AGENT: planet-icem",
        "so that the model is soon corrected where the planner exploits its errors. (default: 0.0)",
    ):
        assert words in printed, words


def test_preset_is_announced(main, tmp_path):
    _, printed = main(["--env", "walker_wlak"])
    assert printed.startswith("preset auto -> cpu: JAX sees no accelerator") or "accelerator" in printed.splitlines()[0]
    status, printed = main(["--preset", "debg"])
    assert status == 2 and printed.startswith("--preset: expected paper, cpu, debug")


def test_evaluate_without_a_run_is_explained(tmp_path, capsys):
    for arguments in (["--logdir", str(tmp_path)], [str(tmp_path)], [str(tmp_path), "--episodes", "1"]):
        assert evaluate.main(arguments) == 2
        assert capsys.readouterr().err.startswith("logdir: expected the folder of a run, with a config.json")


def test_an_image_and_a_vector_together_are_learned_from(tmp_path, capsys):
    """A throw-away environment that observes a dictionary, through the command line: train, resume, evaluate."""
    logdir = tmp_path / "both"
    arguments = ["--env", "sample_envs:Both-v0", "--preset", "debug", "--image-size", "16", "--logdir", str(logdir)]
    assert run.main([*arguments, "--env-steps", "300"]) == 0
    assert "observation camera (16, 16, 3) uint8, joints (5,) float32; 2 actions" in capsys.readouterr().out
    episode = read_episode(episode_path(logdir / "episodes", 0))
    assert {name: x.shape[1:] for name, x in episode.observation.items()} == {"camera": (16, 16, 3), "joints": (5,)}
    names = {path.name.rpartition("_")[2] for path in (logdir / "videos").iterdir()}
    assert {"camera.mp4", "camera.png", "joints.png"} <= names
    assert subcommand("evaluate", [str(logdir), "--episodes", "1", "--import", "sample_envs"]) == 0
