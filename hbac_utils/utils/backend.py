"""Import TensorFlow and Keras without their dozen lines of start-up messages."""

import contextlib
import os
from collections.abc import Iterator


@contextlib.contextmanager
def _standard_error_closed() -> Iterator[None]:
    # the file descriptor, not sys.stderr: the lines come from C++
    saved, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(null)


os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
with _standard_error_closed():
    import keras  # noqa: F401  imported from here by other modules
    import tensorflow as tf

    tf.config.list_physical_devices()  # else GPUs are searched for at the first operation
tf.get_logger().setLevel("ERROR")
