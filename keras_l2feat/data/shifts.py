"""Images moved by up to one pixel each way: what makes a few digits into many."""

from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["moving", "shifted"]

STEPS = (-1, 0, 1)


def shifted(x: np.ndarray, y: np.ndarray, seed: int | Sequence[int], batch: int = 128) -> Any:
    """Batches of images, in a new order, each moved by up to one pixel each way.

    Args:
        x: (N, height, width, channels) float32; y: (N,).
        seed: of the order and the shifts.
        batch: points a batch.

    Returns: a finite `tf.data.Dataset` of one epoch.
    """
    import tensorflow as tf

    generator = np.random.default_rng(seed)
    order = generator.permutation(len(x))
    moves = generator.integers(-1, 2, (len(x), 2))
    padded, moved = _padded(x), np.empty_like(x)
    height, width = x.shape[1:3]
    for down in STEPS:
        for right in STEPS:
            here = (moves == (down, right)).all(axis=1)
            moved[here] = padded[here, 1 + down :, 1 + right :][:, :height, :width]
    return tf.data.Dataset.from_tensor_slices((moved[order], y[order])).batch(batch)


def moving(x: np.ndarray, y: np.ndarray, seed: int, batch: int = 128) -> Any:
    """The same, new in every pass: nine slices of each batch, one a shift.

    Args:
        x, y, seed, batch: as for `shifted`.

    Returns: a `tf.data.Dataset` that can be gone through again and again.
    """
    import tensorflow as tf

    height, width = x.shape[1:3]
    images, labels = tf.constant(_padded(x)), tf.constant(y)

    def given(indices):
        parts, classes, size = [], [], -(-tf.shape(indices)[0] // 9)
        for nth in range(9):
            here = indices[nth * size : (nth + 1) * size]
            down, right = divmod(nth, 3)
            seen = tf.gather(images, here)
            parts.append(seen[:, down : down + height, right : right + width])
            classes.append(tf.gather(labels, here))
        return tf.concat(parts, 0), tf.concat(classes, 0)

    order = tf.data.Dataset.range(len(y)).shuffle(len(y), seed=seed)
    return order.batch(batch).map(given).prefetch(4)


def _padded(x):
    return np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)])
