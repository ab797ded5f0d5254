"""Writes what a run has for use elsewhere: latentplan export runs/NAME --policy policy.jax --minari mine/walker-v0."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from latentplan.cli.words import explain
from latentplan.config import Config, NonNegativeInt
from latentplan.extensions import IMPORTS


@dataclass(frozen=True, kw_only=True)
class Export(Config):
    """Export a run: its agent as a program, its episodes as a data set."""

    logdir: str
    """Folder of the run; may also be given first, without the option's name."""
    policy: str = ""
    """File for the trained agent as a program that runs with JAX alone. Empty: none."""
    minari: str = ""
    """Name of a new Minari data set with the collected episodes, such as mine/walker-v0. Empty: none."""
    checkpoint: NonNegativeInt | None = None
    """Number of the checkpoint whose agent is exported. None: the newest."""
    imports: Annotated[tuple[str, ...], IMPORTS] = ()
    """A module to import first, such as the run's extensions; repeat the option for several."""


def main(argv: list[str], program: Sequence[str] = ("latentplan", "export")) -> int:
    """The command line.

    Args:
        argv: without the program's name. The folder may come first, without --logdir.
        program: its name, as it was typed.

    Returns:
        Exit status: 0 done, 1 a failure, 2 a mistake on the command line.
    """
    from latentplan.cli import options

    if argv and not argv[0].startswith("-"):
        argv = ["--logdir", *argv]
    try:
        _export(options.parse(Export, argv, __doc__, program))
    except (ValueError, OSError) as error:
        print(explain(error), file=sys.stderr)
        return 2 if isinstance(error, ValueError) else 1
    return 0


def _export(options: Export) -> None:
    from latentplan.data import minari
    from latentplan.runs import load_run

    run = load_run(options.logdir)
    if not options.policy and not options.minari:
        raise ValueError("--policy or --minari: expected one of them at least, got none; name what to write")
    if options.minari:
        minari.check_name(options.minari)  # before anything is written
    if options.policy:
        size = run.export_policy(options.policy, options.checkpoint)
        print(f"policy in {options.policy}, {size / 2**20:.1f} MiB")
    if options.minari:
        config = run.config
        about = f"{config.env}, collected by latentplan's {config.agent} (seed {config.run.seed}); actions in [-1, 1]"
        number = minari.write(options.minari, run.episodes(), run.spec, env=config.env, description=about)
        print(f"{number} episodes in the Minari data set {options.minari}")
