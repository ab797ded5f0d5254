"""The command `latentplan evaluate` from a checkout: python experiments/evaluate.py --help."""

import sys

from latentplan.cli.main import run

if __name__ == "__main__":
    sys.exit(run("evaluate", sys.argv[1:], ("python", "experiments/evaluate.py")))
