"""The command `latentplan train` from a checkout: python experiments/run.py --help."""

import sys

from latentplan.cli.main import run

if __name__ == "__main__":
    sys.exit(run("train", sys.argv[1:], ("python", "experiments/run.py")))
