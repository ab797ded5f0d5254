"""The command `latentplan`. Importing this is cheap: a subcommand is imported when it is called."""

import argparse
import difflib
import importlib
import os
import sys
from collections.abc import Sequence

import latentplan
from latentplan.extensions import import_extensions

COMMANDS = {
    "train": "train an agent: latentplan train --env walker_walk",
    "evaluate": "run a trained agent and say its return: latentplan evaluate runs/NAME",
    "report": "show runs as one HTML page: latentplan report runs/NAME",
    "export": "write an agent as a program, or episodes as a data set: latentplan export runs/NAME --policy FILE",
    "results": "keep runs as data, with tables and curves: latentplan results runs/NAME --out results",
    "doctor": "say what works on this machine: latentplan doctor",
}
"""Subcommand -> what it does. Each is a module of this package with `main(argv, program)`."""

EXTRAS = {
    **dict.fromkeys(("tyro", "rich", "matplotlib", "pygame", "tensorboardX"), "cli"),
    "imageio_ffmpeg": "video",
    **dict.fromkeys(("h5py", "minari"), "data"),
    "flatbuffers": "export",
    **dict.fromkeys(("pandas", "rliable"), "results"),
}
"""Package -> the extra that brings it."""


def main(argv: Sequence[str] | None = None) -> int:
    """The command line.

    Args:
        argv: without the program's name; None: as it was typed.

    Returns:
        Exit status: that of the subcommand; 2 where there is no such one.
    """
    name, *rest = argv if argv is not None else sys.argv[1:] or ["--help"]
    if name in ("-h", "--help"):
        print(_usage())
        return 0
    if name == "--version":
        print(f"latentplan {latentplan.__version__}")
        return 0
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        meant = f"; did you mean {near[0]}?" if near else ""
        print(f"latentplan: unknown command {name!r}{meant}\n\n{_usage()}", file=sys.stderr)
        return 2
    return run(name, rest)


def run(name: str, argv: Sequence[str], program: Sequence[str] = ()) -> int:
    """Runs a subcommand.

    Modules that `--import` names are imported first, so that what they register is a choice of the subcommand. They
    may lie in the current directory.

    Args:
        name: in `COMMANDS`.
        argv: its arguments.
        program: what was typed before them; empty: `latentplan NAME`.

    Returns:
        Its exit status; 1 where a package that it needs is not installed, 2 where an extension cannot be imported.
    """
    _speak_utf8()
    options = argparse.ArgumentParser(" ".join(program) or f"latentplan {name}", add_help=False, allow_abbrev=False)
    options.add_argument("--import", action="append", default=[], dest="modules")
    try:
        import_extensions(options.parse_known_args(argv)[0].modules)
    except ValueError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2
    try:
        command = importlib.import_module(f"latentplan.cli.{name}")
        return command.main(list(argv), tuple(program) or ("latentplan", name))
    except ModuleNotFoundError as error:
        package = (error.name or "").split(".")[0]
        if package not in EXTRAS:
            raise
        remedy = f"pip install 'latentplan[{EXTRAS[package]}]'"
        print(f"{name}: expected the package {package}, which is not installed; {remedy}", file=sys.stderr)
        return 1


def _speak_utf8() -> None:
    """Starts Python again in UTF-8 mode where the locale is another: orbax takes paths as UTF-8 only."""
    if sys.getfilesystemencoding() != "utf-8" and not sys.flags.utf8_mode:
        sys.stdout.flush()
        os.execve(sys.executable, sys.orig_argv, os.environ | {"PYTHONUTF8": "1"})


def _usage() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {text}" for name, text in COMMANDS.items()]
    return "\n".join(
        ["usage: latentplan COMMAND ...", "", *lines, "", "latentplan COMMAND --help shows every setting of a command."]
    )
