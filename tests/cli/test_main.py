"""The command `latentplan`: its subcommands, and what it says where a package is missing."""

import importlib
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import latentplan as lp
from latentplan.cli.main import COMMANDS, EXTRAS, main

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
MISSING = [package for package in EXTRAS if package != "rich"]  # flax needs that itself
WITHOUT_EXTRAS = f"import sys; sys.modules.update(dict.fromkeys({MISSING}))\n"


def run(program, *arguments):
    """A program in a process of its own: its exit status, and what it printed."""
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def test_help_lists_the_subcommands_and_version_is_the_packages(capsys):
    assert main(["--help"]) == 0
    usage = capsys.readouterr().out
    assert all(f"\n  {name} " in usage for name in COMMANDS) and len(usage.splitlines()) < 15
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"latentplan {lp.__version__}\n"
    assert main(["trian"]) == 2
    assert capsys.readouterr().err.startswith("latentplan: unknown command 'trian'; did you mean train?\n\nusage: ")
    assert main(["xyz"]) == 2
    assert capsys.readouterr().err.startswith("latentplan: unknown command 'xyz'\n\nusage: ")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_subcommand_explains_itself_under_the_name_it_was_called_by(name, capsys):
    with pytest.raises(SystemExit) as end:
        main([name, "--help"])
    assert end.value.code == 0 and f"usage: latentplan {name}" in capsys.readouterr().out
    script = {"train": "run"}.get(name, name)
    assert (
        f'run("{name}", sys.argv[1:], ("python", "experiments/{script}.py"))'
        in (ROOT / "experiments" / f"{script}.py").read_text()
    )


def test_the_command_is_light_before_a_subcommand_runs():
    program = "import sys\nfrom latentplan.cli.main import main\nmain(['--help'])\n"
    program += "print({'jax', 'numpy', 'tyro', 'gymnasium'} & sys.modules.keys())"
    assert run(program)[1].splitlines()[-1] == "set()"


@pytest.mark.parametrize(("name", "package"), [("train", "tyro"), ("evaluate", "tyro"), ("report", "tyro")])
def test_a_missing_package_is_named_with_its_extra(name, package):
    status, printed, complaint = run(
        WITHOUT_EXTRAS + f"from latentplan.cli.main import run\nsys.exit(run('{name}', []))"
    )
    assert status == 1 and not printed
    assert complaint == (
        f"{name}: expected the package {package}, which is not installed; pip install 'latentplan[{EXTRAS[package]}]'\n"
    )


def test_a_missing_package_of_our_own_is_not_hidden(monkeypatch):
    monkeypatch.setattr(importlib, "import_module", lambda name: exec("import no_such_package"))
    with pytest.raises(ModuleNotFoundError, match="no_such_package"):
        main(["doctor"])


def test_the_library_works_without_any_extra():
    program = WITHOUT_EXTRAS + "import latentplan as lp\nfor name in lp.__all__: getattr(lp, name)\n"
    program += "import latentplan.driver.loop, latentplan.cli.doctor; print('all')"
    status, printed, complaint = run(program)
    assert (status, printed) == (0, "all\n"), complaint


def test_extras_and_the_command_are_declared():
    extras = PROJECT["optional-dependencies"]
    assert PROJECT["scripts"] == {"latentplan": "latentplan.cli.main:main"}
    for package, extra in EXTRAS.items():
        assert any(line.startswith(package.replace("_", "-")) for line in extras[extra]), (package, extra)
    assert extras["experiments"] == ["latentplan[cli,video]"]  # its name in 0.1.0


def test_an_ascii_locale_neither_kills_a_command_nor_hides_a_run(tmp_path):
    """The folder's name is no ASCII, and a checkpoint in it is written and read by libraries that take UTF-8 only."""
    code = (
        "import sys, numpy as np\n"
        "from latentplan.driver.checkpoint import Checkpoints\n"
        "def main(argv, program):\n"
        "    checkpoints = Checkpoints(argv[0])\n"
        "    checkpoints.save(1, {'x': np.ones(2)}, {'text': 'ü'})\n"
        "    print(checkpoints.restore({'x': np.zeros(2)}, print)[1], 'ü')\n"
        "    return 0\n"
        "sys.modules['latentplan.cli.doctor'] = type(sys)('doctor')\n"
        "sys.modules['latentplan.cli.doctor'].main = main\n"
        "from latentplan.cli.main import run\n"
        "sys.exit(run('doctor', sys.argv[1:]))\n"
    )
    script = tmp_path / "script.py"
    script.write_text(code, encoding="utf-8")
    ascii_locale = {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, str(script), str(tmp_path / "rün")]
    ended = subprocess.run(command, env=os.environ | ascii_locale, capture_output=True, timeout=120)
    assert ended.returncode == 0, ended.stderr.decode()
    assert ended.stdout.decode() == "{'text': 'ü'} ü\n"
