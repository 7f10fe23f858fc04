"""Memory for batches that is used again instead of being asked of the system each time.

Touching fresh memory for the first time costs as much as copying a batch into it.
"""

import numpy as np

ALIGNMENT = 64  # bytes; TensorFlow takes an array as it is only where it is so aligned
SPARE = 8  # buffers kept for later; a pipeline has about five batches in flight


class Buffers:
    """Hands out arrays of one shape but for the first axis; memory comes back by itself.

    An array's memory is used again only when nothing refers to the array any more: neither
    Python, nor a view of it, nor a tensor that TensorFlow made of it without copying.

    Parameters
    ----------
    shape : tuple of int
        Of one sample.
    dtype : numpy dtype
    """

    def __init__(self, shape: tuple[int, ...], dtype):
        self._shape, self._dtype = shape, np.dtype(dtype)
        self._sample_bytes = self._dtype.itemsize * int(np.prod(shape))
        self._spare: list[np.ndarray] = []

    def take(self, n: int) -> np.ndarray:
        """Give an array of shape (n, *shape), aligned, its content arbitrary."""
        size = n * self._sample_bytes + ALIGNMENT
        try:
            memory = self._spare.pop()
        except IndexError:
            memory = None
        if memory is None or len(memory) < size:
            memory = np.empty(size, np.uint8)
        return np.asarray(_Lease(memory, self._spare, (n, *self._shape), self._dtype))


class _Lease:
    """Stands behind an array as its ``base`` and gives the memory back when it dies."""

    def __init__(self, memory: np.ndarray, spare: list, shape: tuple, dtype: np.dtype):
        self._memory, self._spare = memory, spare
        address = memory.ctypes.data
        self.__array_interface__ = {
            "version": 3,
            "shape": shape,
            "typestr": dtype.str,
            "data": (address + -address % ALIGNMENT, False),
        }

    def __del__(self):
        if len(self._spare) < SPARE:
            self._spare.append(self._memory)
