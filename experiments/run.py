"""The command `latentplan train` from a checkout: python experiments/run.py --help."""

import sys

from latentplan.cli.train import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], ("python", "experiments/run.py")))
