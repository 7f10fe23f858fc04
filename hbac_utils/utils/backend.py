"""Import TensorFlow and Keras without their dozen lines of start-up messages."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# the file descriptor, not sys.stderr: the lines come from C++
saved, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
os.dup2(null, 2)
try:
    import keras  # noqa: F401  imported from here by other modules
    import tensorflow as tf

    tf.config.list_physical_devices()  # else GPUs are searched for at the first operation
finally:
    os.dup2(saved, 2)
    os.close(saved)
    os.close(null)
tf.get_logger().setLevel("ERROR")
