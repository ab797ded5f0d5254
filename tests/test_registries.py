"""One file and one line: throw-away members of the registries, used end to end through the command line."""

import importlib
import io
import json
import sys

import pytest
from rich.console import Console
from test_docs import ROOT, python_blocks

from latentplan.agents import AGENTS
from latentplan.cli import evaluate, train
from latentplan.driver.logging import read_metrics
from latentplan.models.world_model import DYNAMICS
from latentplan.planners import PLANNERS
from latentplan.presets import PRESETS

SHORT = ["--env", "Pendulum-v1", "--obs", "state", "--preset", "debug", "--env-steps", "300", "--seed-episodes", "1"]


REGISTERS = {
    "planner": (0, [(PLANNERS, "local_search")]),
    "dynamics": (0, [(DYNAMICS, "clock")]),
    "agent": (1, [(AGENTS, "one_loss"), (PRESETS, "one_loss")]),
}
"""A guide -> which of its blocks registers something, and what."""


@pytest.fixture
def member(monkeypatch, tmp_path):
    """(guide) -> writes the guide's block into a file and imports it; the registries are restored after the test."""
    monkeypatch.syspath_prepend(tmp_path)

    def add(guide):
        index, entries = REGISTERS[guide]
        for registry, name in entries:
            monkeypatch.setitem(registry, name, None)
        _, block = python_blocks((ROOT / "docs" / "guides" / f"{guide}.md").read_text())[index]
        (tmp_path / f"guide_{guide}.py").write_text(block)
        monkeypatch.delitem(sys.modules, f"guide_{guide}", raising=False)
        importlib.import_module(f"guide_{guide}")

    return add


@pytest.fixture
def main(monkeypatch):
    """The training command in this process, and what it printed."""

    def call(*arguments):
        out = io.StringIO()
        monkeypatch.setattr("rich.console.Console", lambda **kwargs: Console(file=out, width=200))
        return train.main([*SHORT, *arguments]), out.getvalue()

    return call


def trained(logdir):
    """The run's config; that it learned and was evaluated."""
    rows = read_metrics(logdir / "metrics.jsonl")
    for field in ("learn/loss", "evaluation/return"):
        assert any(field in row for row in rows), field
    return json.loads((logdir / "config.json").read_text())["config"]


def test_a_planner_and_latent_dynamics_more(member, main, tmp_path, capsys):
    """In one run, since neither knows of the other."""
    member("planner")
    member("dynamics")
    chosen = ["--planner", "local_search", "--planner.step", "0.2", "--model.kind", "clock"]
    status, printed = main(*chosen, "--logdir", str(tmp_path / "run"))
    assert status == 0, printed
    config = trained(tmp_path / "run")
    assert config["agent_config"]["model"]["kind"] == "clock"
    assert config["planner"] == "local_search"
    planner = config["agent_config"]["planner"]
    assert planner == {"horizon": 4, "num_iterations": 2, "num_candidates": 20, "step": 0.2}  # debug's own sizes
    assert evaluate.main(["--logdir", str(tmp_path / "run"), "--episodes", "1", "--planner", "local_search"]) == 0
    capsys.readouterr()
    status, printed = main("--planner", "local_search", "--planner.step", "0")
    assert status == 2 and "--planner.step: expected more than 0, got 0.0; the default is 0.3" in printed
    status, printed = main("--planner", "global_search")
    assert status == 2 and "--planner: expected cem, icem" in printed and "local_search, got" in printed

    status, printed = main("--model.kind", "clock", "--model.classes", "4")
    assert status == 2 and "--model.classes: expected 0 with kind clock, which supports nothing else, got 4" in printed


def test_an_agent_more(member, main, tmp_path, capsys):
    member("agent")
    status, printed = main("--agent", "one_loss", "--learning-rate", "1e-3", "--logdir", str(tmp_path / "run"))
    assert status == 0, printed
    config = trained(tmp_path / "run")
    assert (config["agent"], config["planner"], config["agent_config"]["learning_rate"]) == ("one_loss", "policy", 1e-3)
    acting = ["--logdir", str(tmp_path / "run"), "--episodes", "1", "--act", "policy", "planner"]
    assert evaluate.main(acting) == 0, capsys.readouterr()
    printed = capsys.readouterr().out
    assert printed.count(" (1 episode, no exploration noise)") == 2 and "+-" not in printed
    assert "acting by policy" in printed and "acting by cem" in printed
    status, printed = main("--agent", "one_loss", "--preset", "cpu")
    assert status == 2 and "--preset: expected debug (or a protocol of another agent" in printed


def test_choices_are_the_registries_names(member, capsys):
    for guide in ("planner", "dynamics", "agent"):
        member(guide)
    with pytest.raises(SystemExit):
        train.main(["--help"])
    printed = "".join(capsys.readouterr().out.replace("│", " ").split())
    for option, registry in {"agent": AGENTS, "planner": PLANNERS, "model.kind": DYNAMICS}.items():
        assert f"--{option}{{{','.join(registry)}}}" in printed
