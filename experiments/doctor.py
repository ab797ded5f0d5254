"""The command `latentplan doctor` from a checkout: python experiments/doctor.py --help."""

import sys

from latentplan.cli.main import run

if __name__ == "__main__":
    sys.exit(run("doctor", sys.argv[1:], ("python", "experiments/doctor.py")))
