"""`python -m aaos`: the same as `python -m aaos.cli`."""

import sys

from aaos.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
