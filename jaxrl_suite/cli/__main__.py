"""`python -m jaxrl_suite.cli`, the same as the command `jaxrl-suite`."""

import sys

from jaxrl_suite.cli import main

if __name__ == "__main__":
    sys.exit(main())
