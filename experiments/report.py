"""The command `latentplan report` from a checkout: python experiments/report.py --help."""

import sys

from latentplan.cli.report import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
