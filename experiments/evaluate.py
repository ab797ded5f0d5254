"""The command `latentplan evaluate` from a checkout: python experiments/evaluate.py --help."""

import sys

from latentplan.cli.evaluate import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
