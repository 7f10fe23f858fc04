"""Run the ``hbac`` command: ``python -m hbac_utils VERB``."""

import os
import sys

from hbac_utils.cli import main
from hbac_utils.utils.commands import ignore_signals, print_any_text


def run() -> None:
    """Run a verb, then ignore signals: one in the last second would replace the exit code."""
    if sys.flags.optimize > 1:
        os.environ.pop("PYTHONOPTIMIZE", "")
        # without docstrings neither `--help` nor KerasCV works, here and in the notebooks
        os.execv(sys.executable, [sys.executable, "-m", "hbac_utils", *sys.argv[1:]])
    print_any_text()
    code = main()
    ignore_signals()
    sys.exit(code)


if __name__ == "__main__":
    run()
