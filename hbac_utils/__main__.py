"""Run the ``hbac`` command: ``python -m hbac_utils VERB``."""

import sys

from hbac_utils.cli import main
from hbac_utils.utils.commands import ignore_signals, print_any_text


def run() -> None:
    """Run a verb, then ignore signals: one in the last second would replace the exit code."""
    print_any_text()
    code = main()
    ignore_signals()
    sys.exit(code)


if __name__ == "__main__":
    run()
