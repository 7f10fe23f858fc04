"""Curves for TensorBoard, which a training can do without."""

import sys
from collections.abc import Mapping
from pathlib import Path

from hbac_utils.backend import tf


class Board:
    """Writes scalars for TensorBoard; where it cannot, it says so once and writes no more.

    Parameters
    ----------
    folder : Path
        For the files of events.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._writer = self._tried(lambda: tf.summary.create_file_writer(str(folder)))

    def add(self, step: int, values: Mapping[str, float | None]) -> None:
        """Write the values of a step, except those that are None."""
        if self._writer is None or not self._tried(lambda: self._write(step, values)):
            self._writer = None

    def _write(self, step: int, values: Mapping[str, float | None]) -> bool:
        with self._writer.as_default():
            for name, value in values.items():
                if value is not None:
                    tf.summary.scalar(name, value, step=step)
        self._writer.flush()
        return True

    def _tried(self, action):
        try:
            return action()
        except tf.errors.OpError as error:  # a full disk, for one
            reason = error.message.partition("\n")[0]
            print(f"no curves for TensorBoard in {self._folder}: {reason}", file=sys.stderr)
            return None
