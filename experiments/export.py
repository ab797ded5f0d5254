"""The command `latentplan export` from a checkout: python experiments/export.py --help."""

import sys

from latentplan.cli.main import run

if __name__ == "__main__":
    sys.exit(run("export", sys.argv[1:], ("python", "experiments/export.py")))
