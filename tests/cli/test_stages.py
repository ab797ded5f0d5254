"""An agent with several updates on the command line: registered in two lines, trained, resumed, reported."""

import io
from dataclasses import replace

import pytest
from rich.console import Console
from two_stage import TWO_STAGE, TwoStageConfig

from latentplan.agents import AGENTS
from latentplan.cli import evaluate, report, train
from latentplan.driver.logging import read_metrics
from latentplan.driver.schedule import Stage
from latentplan.presets import PRESETS, AgentPresets, Preset
from latentplan.presets.planet import planet_debug

ARGUMENTS = ["--env", "Pendulum-v1", "--preset", "debug", "--obs", "state", "--agent", "two_stage"]


def two_stage_debug(bare):
    """The encoder at every second step of the schedule, what predicts its codes twice at each from the third one on."""
    experiment = planet_debug(bare)
    stages = Stage(update="vision", every=2), Stage(update="memory", times=2, first=2)
    config = TwoStageConfig(**vars(experiment.agent_config))
    return replace(experiment, run=replace(experiment.run, stages=stages), agent_config=config)


@pytest.fixture
def main(monkeypatch):
    """The command in this process, and what it printed."""
    monkeypatch.setitem(AGENTS, "two_stage", TWO_STAGE)
    monkeypatch.setitem(PRESETS, "two_stage", AgentPresets({"debug": Preset(two_stage_debug)}))

    def call(*arguments):
        out = io.StringIO()
        monkeypatch.setattr("rich.console.Console", lambda **kwargs: Console(file=out, width=200))
        return train.main([*ARGUMENTS, *arguments]), out.getvalue()

    return call


def learned(logdir):
    """(updates, those of each stage) at the end of every learning phase."""
    rows = [row for row in read_metrics(logdir / "metrics.jsonl") if "time/learn" in row]
    return [[row[name] for name in ("updates", "learn/vision/updates", "learn/memory/updates")] for row in rows]


def test_a_two_stage_agent_trains_is_resumed_and_logs_each_stage(main, tmp_path):
    """Bit for bit: tests/driver/test_loop.py."""
    settings = ["--logdir", str(tmp_path / "run"), "--stages.1.times", "3"]  # instead of the preset's
    status, printed = main(*settings, "--env-steps", "400")
    assert status == 0, printed
    assert "vision loss" in printed and "memory loss" in printed
    status, printed = main(*settings, "--env-steps", "600")
    assert status == 0 and "resumed at 400 env_steps" in printed, printed
    # Four steps of the schedule per episode: vision at 0, 2, 4, ..., memory three times at 2, 3, 4, ...
    assert learned(tmp_path / "run") == [[2 * n + 12 * n - 6, 2 * n, 12 * n - 6] for n in (1, 2)]
    names = {name for row in read_metrics(tmp_path / "run" / "metrics.jsonl") for name in row}
    assert {"learn/vision/kl", "learn/memory/loss"} <= names
    assert evaluate.main(["--logdir", str(tmp_path / "run"), "--episodes", "1"]) == 0
    assert report.write_report((tmp_path / "run",), tmp_path / "page").is_file()


def test_a_stage_that_the_agent_does_not_have_is_refused(main, tmp_path):
    status, printed = main("--logdir", str(tmp_path / "run"), "--stages.0.update", "sight")
    assert status == 2 and "expected each of the agent's updates (vision, memory)" in printed
    assert not (tmp_path / "run").exists()
