"""Run the ``hbac`` command: ``python -m hbac_utils VERB``."""

import sys

from hbac_utils.cli import main
from hbac_utils.utils.commands import ignore_signals


def run() -> None:
    """Run a verb, then ignore signals: one in the last second would replace the exit code."""
    code = main()
    ignore_signals()
    sys.exit(code)


if __name__ == "__main__":
    run()
