"""`python -m ditproof_probe SPEC`: see `ditproof_probe.bootstrap`."""

import sys

from ditproof_probe.bootstrap import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
