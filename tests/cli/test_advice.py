"""Folders and options that messages of the command line name."""

import os
import re
import subprocess
import sys
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest

from latentplan import cli
from latentplan.cli import options
from latentplan.cli.evaluate import Evaluation
from latentplan.cli.export import Export
from latentplan.cli.main import COMMANDS, main
from latentplan.cli.words import explain
from latentplan.config import field_hints, split_hint
from latentplan.models.world_model import DYNAMICS
from latentplan.presets import PRESETS, make_preset
from latentplan.presets.experiment import FLAT
from latentplan.runs import load_run

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def home(monkeypatch, tmp_path):
    """The home directory, which is not the current one."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "file").write_text("")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(tmp_path)
    return home


@pytest.mark.parametrize(
    "arguments",
    [
        ["evaluate", "~/run"],
        ["evaluate", "--logdir=~/run"],
        ["report", "~/run"],
        ["results", "~/run"],
        ["export", "~/run", "--policy", "~/policy"],
    ],
)
def test_a_folder_in_the_home_directory_is_found_by_every_command(home, arguments, capsys):
    assert main(arguments) == 2
    complaint = capsys.readouterr().err
    assert complaint == f"logdir: expected the folder of a run, with a config.json, got {home / 'run'}\n"
    with pytest.raises(ValueError, match=f"got {home / 'run'}"):
        load_run("~/run")


def test_training_writes_into_the_home_directory(home, tmp_path):
    from latentplan.driver.logging import prepare_logdir

    assert prepare_logdir("~/runs/one") == home / "runs" / "one" and (home / "runs" / "one").is_dir()
    assert not (tmp_path / "~").exists()


@pytest.mark.parametrize("name", ["report", "results"])
def test_results_are_written_into_the_home_directory(home, tmp_path, name, monkeypatch):
    monkeypatch.setattr(
        f"latentplan.cli.{name}.{'write_report' if name == 'report' else 'write_tables'}", lambda *x: seen.append(x)
    )
    seen = []
    assert main([name, *(["~/run"] if name == "report" else []), "--out", "~/shown"]) == 0
    assert seen[0][-1] == home / "shown" and not (tmp_path / "~").exists()


def test_a_checkout_finds_environments_of_the_current_directory(tmp_path):
    """`python experiments/run.py` and its worker processes. The run's folder is a file, so that nothing is trained."""
    pendulum = "gymnasium.envs.classic_control:PendulumEnv"
    (tmp_path / "my_envs.py").write_text(f"import gymnasium\n\ngymnasium.register('Point-v0', {pendulum!r})\n")
    (tmp_path / "taken").write_text("")
    arguments = ["--env", "my_envs:Point-v0", "--obs", "state", "--preset", "debug", "--logdir", "taken"]
    done = subprocess.run(
        [sys.executable, str(ROOT / "experiments" / "run.py"), *arguments],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 2 and "logdir: expected a directory, got the file" in done.stderr, done.stderr


def test_arguments_and_limits_reach_the_config():
    default = make_preset("debug", "Pendulum-v1", "state")
    flags = ["--env-kwargs", "g=5", "goal=[1, 2]", "--max-decisions", "30"]
    chosen = options.parse(default, flags, None, ("train",)).environment
    assert (chosen.env_kwargs, chosen.max_decisions) == (("g=5", "goal=[1, 2]"), 30)
    assert chosen.kwargs == {"g": 5, "goal": [1, 2]}
    assert (default.environment.env_kwargs, default.environment.max_decisions) == ((), None)
    with pytest.raises(ValueError, match="--env-kwargs: expected key=value, not 'g', got .*; for example map_name=8x8"):
        options.parse(default, ["--env-kwargs", "g"], None, ("train",))
    with pytest.raises(
        ValueError, match="--env-kwargs: expected once, with all its values, got it again; write --env-k"
    ):
        options.parse(default, ["--env-kwargs", "g=5", "--env_kwargs=h=2"], None, ("train",))
    with pytest.raises(ValueError, match="--max-decisions: expected at least 1"):
        options.parse(default, ["--max-decisions", "0"], None, ("train",))


@pytest.mark.parametrize(
    "given", [["--model.kind", "mine"], ["--model.kind=mine"], ["--seed", "3", "--model.kind", "mine"]]
)
def test_an_extension_that_is_not_imported_is_told_how(given):
    default = make_preset("debug", "Pendulum-v1", "state")
    known = ", ".join(DYNAMICS)
    message = f"--model.kind: expected one of {known}, got 'mine'; import the module that registers it"
    with pytest.raises(ValueError, match=f"^{message}$") as refused:
        options.parse(default, given, None, ("train",))
    assert explain(refused.value) == f"{message} (--import MODULE)"
    assert options.parse(default, ["--model.kind", "ssm"], None, ("train",)).agent_config.model.kind == "ssm"


def names_of(config, prefix=""):
    """The options that set a config."""
    for field, hint in field_hints(type(config)).items():
        value, option = getattr(config, field), prefix + field.replace("_", "-")
        if is_dataclass(value):
            yield from names_of(value, prefix if FLAT in split_hint(hint)[1] else f"{option}.")
        yield option


def test_options_that_messages_name_exist():
    known = {"help", "version", "extra", "out", "logdirs"}
    texts = [file.read_text() for file in Path(cli.__file__).parent.glob("*.py")]
    known |= {option for text in texts for option in re.findall(r'add_argument\("--([a-z-]+)"', text)}
    known |= {field.name for field in fields(Export)}
    known |= {field.name.replace("_", "-") for field in fields(Evaluation)}
    for agent in PRESETS:
        known |= set(names_of(make_preset("debug", "cartpole_balance", "pixels", agent=agent)))
    named = {option for text in texts for option in re.findall(r"--([a-z][a-z.-]*[a-z])", text)}
    assert {"max-decisions", "logdir", "env"} <= named <= known
    assert {"train", "evaluate", "report", "results", "doctor"} <= COMMANDS.keys()
