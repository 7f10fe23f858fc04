"""Import TensorFlow and Keras with the kit's settings, not those of the user's environment."""

import os

from hbac_utils.utils.errors import InputError

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # no start-up messages
os.environ.pop("TF_USE_LEGACY_KERAS", None)  # KerasCV would use another Keras
# Keras reads these variables, and keras.json in the folder KERAS_HOME, when it is imported
users = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("KERAS_")}
os.environ |= {"KERAS_BACKEND": "tensorflow", "KERAS_HOME": f"{os.devnull}/keras"}
# the file descriptor, not sys.stderr: the lines come from C++
saved, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
os.dup2(null, 2)
try:
    import keras
    import tensorflow as tf

    tf.config.list_physical_devices()  # else GPUs are searched for at the first operation
finally:
    os.dup2(saved, 2)
    os.close(saved)
    os.close(null)
    del os.environ["KERAS_BACKEND"], os.environ["KERAS_HOME"]
    os.environ |= users
tf.get_logger().setLevel("ERROR")


def use_own_settings(policy: str = "float32") -> None:
    """Set the precision of the layers that are built next; undo other settings of a notebook."""
    if keras.config.backend() != "tensorflow":
        raise InputError(
            f"Keras was imported with the backend {keras.config.backend()}, and this library needs "
            "tensorflow: restart the notebook, and set KERAS_BACKEND=tensorflow before that import"
        )
    keras.config.set_dtype_policy(policy)
    keras.config.set_floatx("float32")
    keras.config.set_image_data_format("channels_last")
    keras.config.set_epsilon(1e-7)
    keras.config.set_max_epochs(None)
    keras.config.set_max_steps_per_epoch(None)


use_own_settings()
