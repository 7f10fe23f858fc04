"""TensorFlow and Keras, imported without its start-up chatter.

It writes a dozen lines about CPU features and absent GPUs to the process's standard error
before its own log level takes effect; in a notebook they are the first thing one sees.
"""

import contextlib
import os
from collections.abc import Iterator


@contextlib.contextmanager
def _standard_error_closed() -> Iterator[None]:
    # the file descriptor, not sys.stderr: the lines come from C++
    saved, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)


os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
with _standard_error_closed():
    import keras  # noqa: F401  for those who import it from here
    import tensorflow as tf

    tf.config.list_physical_devices()  # looks for GPUs now, not with the first operation
tf.get_logger().setLevel("ERROR")
