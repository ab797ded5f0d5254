"""The command `latentplan report` from a checkout: python experiments/report.py --help."""

import sys

from latentplan.cli.main import run

if __name__ == "__main__":
    sys.exit(run("report", sys.argv[1:], ("python", "experiments/report.py")))
