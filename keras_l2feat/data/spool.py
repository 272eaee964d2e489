"""Data sets of any size, a batch at a time: put on disk once, and read from there as arrays."""

import contextlib
import tempfile
from typing import TYPE_CHECKING

import numpy as np

from keras_l2feat.errors import InputError

if TYPE_CHECKING:
    import tensorflow as tf

__all__ = ["spooled"]


def spooled(batches: "tf.data.Dataset") -> tuple[list[np.ndarray], np.ndarray | None]:
    """The points of a finite `tf.data.Dataset` of batches `x` or `(x, y)`, as arrays that live in
    temporary files: no more than a batch is held in memory. The files are gone with the arrays.

    Returns: list of one array an input, `(N, …)`, and the labels `y (N, …)`, or `None` if there are
        none, or several.

    Raises:
        InputError: the data set is empty or repeats, or batches do not fit together.
    """
    import keras

    if int(batches.cardinality()) == -1:
        raise InputError("Argument 'data' must end. Received: a tf.data.Dataset that repeats.")
    files: list = []
    first: tuple = ()
    labelled, count = False, 0
    with contextlib.ExitStack() as opened:
        for batch in batches.as_numpy_iterator():
            pair = isinstance(batch, tuple)
            inputs = keras.tree.flatten(batch[0] if pair else batch)
            labelled = pair and len(batch) > 1 and isinstance(batch[1], np.ndarray)
            arrays = [*inputs, batch[1]] if labelled else inputs
            files = files or [opened.enter_context(tempfile.TemporaryFile()) for _ in arrays]
            shapes = [array.shape[1:] for array in arrays]
            first = first or (shapes, [array.dtype for array in arrays])
            if shapes != first[0]:
                raise InputError(
                    "All batches of a tf.data.Dataset must hold points of one shape. "
                    f"Received: {first[0]} and {shapes}."
                )
            for file, array in zip(files, arrays):
                file.write(np.ascontiguousarray(array).data)
            count += len(arrays[0])
        if not count:
            raise InputError(
                "Argument 'data' must hold points. Received: an empty tf.data.Dataset."
            )
        whole = [_mapped(file, count, *kind) for file, *kind in zip(files, *first)]
    return (whole[:-1], whole[-1]) if labelled else (whole, None)


def _mapped(file, count, shape, dtype):
    """What was written, as an array; the mapping stays when the file is closed."""
    file.flush()
    if 0 in shape:
        return np.zeros((count, *shape), dtype)
    return np.asarray(np.memmap(file, dtype, "r", shape=(count, *shape)))
