"""The command `latentplan doctor` from a checkout: python experiments/doctor.py --help."""

import sys

from latentplan.cli.doctor import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
