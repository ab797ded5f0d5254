"""The command `latentplan results` from a checkout: python experiments/results.py --help."""

import sys

from latentplan.cli.results import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
