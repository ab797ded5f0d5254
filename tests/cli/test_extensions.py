"""Modules of a user's own beside an installed library: found in the current directory, imported where needed."""

import json
import os
import subprocess
import sys

import pytest
from test_docs import ROOT, python_blocks

from latentplan.cli.main import main

SHORT = ["--obs", "state", "--preset", "debug", "--env-steps", "150", "--seed-episodes", "1", "--eval-episodes", "1"]
ENVIRONMENT = """
import gymnasium

gymnasium.register("Swing-v0", entry_point="gymnasium.envs.classic_control:PendulumEnv", max_episode_steps=40)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with two modules."""
    folder = tmp_path_factory.mktemp("mine")
    (_, block), *_ = python_blocks((ROOT / "docs" / "guides" / "planner.md").read_text())
    (folder / "my_planners.py").write_text(block)
    (folder / "my_envs.py").write_text(ENVIRONMENT)
    return folder


@pytest.fixture(scope="module")
def command(tmp_path_factory):
    """The command as pip installs it: a script in another folder than the current one."""
    script = tmp_path_factory.mktemp("bin") / "latentplan"
    script.write_text(
        "import sys\nfrom latentplan.cli.main import main\n\nif __name__ == '__main__':\n    sys.exit(main())\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}

    def call(cwd, *arguments):
        done = subprocess.run(
            [sys.executable, str(script), *arguments],
            cwd=cwd, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout, done.stderr

    return call


def test_what_is_imported_can_be_chosen_and_is_imported_again_when_it_is_said(command, folder, capsys):
    arguments = ["--import", "my_planners", "--import=my_envs", "--env", "Swing-v0", "--planner", "local_search"]
    logdir = str(folder / "runs" / "one")
    status, printed, complaint = command(folder, "train", *SHORT, *arguments, "--logdir", logdir)
    assert status == 0, printed + complaint
    config = json.loads((folder / "runs" / "one" / "config.json").read_text())["config"]
    assert (config["imports"], config["planner"]) == (["my_planners", "my_envs"], "local_search")
    imports = ["--import", "my_planners", "--import", "my_envs"]
    assert main(["evaluate", "--logdir", logdir]) == 2  # config.json alone imports nothing
    complaint = capsys.readouterr().err
    assert complaint.startswith(
        "imports: expected this run's modules to be imported, got none of my_planners, my_envs; "
    )
    assert complaint.endswith(f": {' '.join(imports)}\n") and len(complaint.splitlines()) == 1
    status, printed, complaint = command(folder, "evaluate", "--logdir", logdir, "--episodes", "1", *imports)
    assert status == 0, printed + complaint


@pytest.mark.parametrize("name", ["train", "evaluate", "report"])
def test_a_module_that_is_missing_is_told_in_a_line(name, capsys):
    assert main([name, "--import", "no_such_module_here"]) == 2
    assert capsys.readouterr().err == (
        f"{name}: import: expected a module that can be imported, got 'no_such_module_here' (No module named "
        "'no_such_module_here'); start in the folder that holds it, or add that folder to PYTHONPATH\n"
    )


@pytest.mark.parametrize("path", ["./my_planners", "my_planners.py", "../my_planners.py", "/tmp/my_planners.py"])
def test_the_path_of_a_module_is_answered_with_its_name(path, capsys):
    assert main(["train", "--import", path]) == 2
    said = f"train: import: expected the name of a module, got {path!r}; give the module's name, my_planners\n"
    assert capsys.readouterr().err == said


def test_modules_of_the_current_directory_are_found(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shown_once.py").write_text("print('imported')")
    with pytest.raises(SystemExit):
        main(["evaluate", "--import", "shown_once", "--help"])
    printed = capsys.readouterr().out
    assert printed.startswith("imported") and "--import MODULE" in printed
