"""``python -m skmrm.cli``: the command line."""

import sys

from skmrm.cli import main

if __name__ == "__main__":
    sys.exit(main())
