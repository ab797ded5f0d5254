"""The command `latentplan results` from a checkout: python experiments/results.py --help."""

import sys

from latentplan.cli.main import run

if __name__ == "__main__":
    sys.exit(run("results", sys.argv[1:], ("python", "experiments/results.py")))
