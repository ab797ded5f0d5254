"""Environments of a user's own through the command line: short ones, endless ones, odd spaces, arguments."""

import importlib
import json
import sys

import numpy as np
import pytest

from latentplan.cli import evaluate
from latentplan.cli import train as run
from latentplan.driver.schedule import Progress
from latentplan.replay.episodes import read_episode
from latentplan.runs import load_run

SHORT = ["--preset", "debug", "--eval-episodes", "1", "--updates-per-episode", "1"]


@pytest.fixture
def called(capsys, monkeypatch):
    """Calls a command; its exit status, and what it printed. The environments' module is not imported before."""
    monkeypatch.delitem(sys.modules, "sample_envs", raising=False)

    def call(main, *arguments):
        status = main([str(x) for x in arguments])
        printed = capsys.readouterr()
        return status, printed.out + printed.err

    return call


def test_episodes_of_one_decision_with_channels_first_several_choices_and_arguments(tmp_path, called):
    logdir = tmp_path / "odd"
    arguments = [
        "--env",
        "sample_envs:Odd-v0",
        *SHORT,
        "--image-size",
        "16",
        "--action-repeat",
        "1",
        "--logdir",
        logdir,
    ]
    status, printed = called(run.main, *arguments, "--env-kwargs", "goal=2", "--env-steps", "40")
    assert status == 0, printed
    for line in (
        "observation image (16, 16, 4) uint8; 6 actions, action repeat 1",
        "sample_envs:Odd-v0: the observation uint8 [4, 20, 10] is taken as [channels, height, width]",
        "sample_envs:Odd-v0: the actions MultiDiscrete([2 3]) are one choice among their 6 combinations",
    ):
        assert line in printed
    assert "no time limit" not in printed
    config = json.loads((logdir / "config.json").read_text())["config"]
    assert config["environment"]["env_kwargs"] == ["goal=2"] and config["replay"]["batch_length"] > 2
    episodes = list(load_run(logdir).episodes())
    assert {len(episode.reward) for episode in episodes} == {2} and len(episodes) == 40
    right = [float(np.argmax(episode.action[1]) == 5) for episode in episodes]  # (1, 2), the goal
    assert [float(episode.reward[1]) for episode in episodes] == right and sum(right) > 0
    assert list((logdir / "videos").glob("evaluation_*.mp4"))
    status, printed = called(run.main, *arguments, "--env-kwargs", "goal=1", "--env-steps", "42")
    assert status == 2 and "environment.env_kwargs: ['goal=2'] -> ['goal=1']" in printed
    status, printed = called(run.main, *arguments, "--env-kwargs", "goal=2", "--env-steps", "42")
    assert status == 0 and "resumed at 40 env_steps" in printed
    status, printed = called(evaluate.main, logdir)
    assert status == 2 and printed.endswith("import them first, if you trust them: --import sample_envs\n")
    importlib.import_module("sample_envs")
    status, printed = called(evaluate.main, logdir, "--episodes", "2", "--video", tmp_path / "odd.mp4")
    assert status == 0 and "is taken as [channels, height, width]" in printed and (tmp_path / "odd.mp4").exists()


def test_an_endless_environment_is_cut_off_by_the_option_and_told_so(tmp_path, called):
    logdir = tmp_path / "endless"
    arguments = ["--env", "sample_envs:Counter-v0", "--obs", "state", *SHORT, "--logdir", logdir]
    status, printed = called(run.main, *arguments, "--max-decisions", "12", "--env-steps", "150")
    assert status == 0, printed
    line = "an episode was cut off after 12 decisions, as max_decisions says"
    assert printed.count(line) == 1 and "no time limit" not in printed
    episode = read_episode(logdir / "episodes" / "000000.npz")
    assert len(episode.reward) == 13 and not episode.is_terminal.any()
    status, printed = called(evaluate.main, logdir, "--episodes", "1", "--env", "sample_envs:Counter-v0")
    assert status == 0 and printed.count(line) == 1 and "12 decisions" in printed
    shorter = ["--env", "sample_envs:Counter-v0", "--episodes", "1", "--max-decisions", "5"]
    status, printed = called(evaluate.main, logdir, *shorter)
    assert status == 0 and line.replace("12", "5") in printed and "episode 0: return 10.0, 5 decisions" in printed


def test_the_opening_line_says_that_there_is_no_time_limit(tmp_path, called, monkeypatch):
    monkeypatch.setattr("latentplan.driver.loop.train", lambda job, report: Progress(env_steps=7))
    arguments = ["--env", "sample_envs:Counter-v0", "--obs", "state", *SHORT, "--logdir", tmp_path / "run"]
    status, printed = called(run.main, *arguments)
    assert status == 0
    line = (
        "sample_envs:Counter-v0: no time limit: episodes end where the environment ends them; --max-decisions sets one"
    )
    assert line in printed and "done: 7 env_steps, 0 updates; results in" in printed
    assert "nothing was learned, as all env_steps went into random episodes; raise --env-steps" in printed
