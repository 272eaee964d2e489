"""Data in the forms that shrinking needs: batches to train on, inputs to fit on, points held out.

Arrays come in an order that is a function of the seed and the epoch alone, so that a run which goes
on from a checkpoint sees what it would have seen.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from keras_l2feat.data import Dataset, load
from keras_l2feat.errors import InputError, bad_argument, require, require_counts
from keras_l2feat.types import Model

__all__ = ["Points"]

HELD_OUT = 0.1  # share of the points, and at most
MOST = 10_000  # points
BATCH = 128
MEASURED = 512  # points at a time where nothing is trained


class Points:
    """Training points and points held out.

    Args:
        model: the Keras model that is trained.
        data: a `data.Dataset`, its name or file, a pair `(x, y)` of arrays as for `model.fit`, or a
            finite `tf.data.Dataset` of batches `(x, y)` or `(x, y, weights)`.
        validation: what is held out: a share of the points, or other points in any of these
            forms; 0 for nothing; `None` for a tenth of arrays, and nothing of batches.
        batch_size: of arrays; seed: of split and order.

    Attributes:
        batches: `tf.data.Dataset` of one epoch; steps: how many there are.
        epoch: number of the epoch whose order `batches` has, a `tf.Variable`.
        held: `tf.data.Dataset` of batches that are only measured on, or `None`; held_out: how many
            points, where that is known.
        labels: labels of some points, (points, …).
        dataset: the `Dataset` itself, if that is what was given.
    """

    def __init__(
        self,
        model: Model,
        data: Any,
        validation: Any = None,
        *,
        batch_size: int | None = None,
        seed: int = 0,
    ) -> None:
        import tensorflow as tf

        require_counts(batch_size=batch_size)
        fixed = model.inputs[0].shape[0]
        self.dataset = None
        self.epoch = tf.Variable(0, dtype=tf.int32, trainable=False)
        self.held, self.held_out = None, 0
        self._given = None
        if isinstance(data, tf.data.Dataset):
            self.batches = data
            self.steps = int(data.cardinality())
            ends = self.steps != tf.data.INFINITE_CARDINALITY
            require(ends, "data", "finite, as after .take(steps)", "a dataset that repeats")
            if self.steps < 0:  # nobody knows without looking
                self.steps = sum(1 for _ in data)
            require(self.steps != 0, "data", "of at least one batch", "an empty dataset")
            if isinstance(validation, (int, float)) and validation:
                raise bad_argument("validation", "points, where data come in batches", validation)
            self.labels = np.asarray(_flat(next(iter(data))[1])[0])
        else:
            x, y = self._arrays(model, data)
            count = len(_flat(x)[0])
            order = np.random.default_rng(seed).permutation(count)
            out = self._held_out(validation, count)
            if out:
                held, self.held_out = np.sort(order[:out]), out
                self.held = _batched(_taken(x, held), _taken(y, held), fixed or MEASURED, fixed)
                kept = np.sort(order[out:])
                x, y = _taken(x, kept), _taken(y, kept)
            self._given = x, y
            size = fixed or min(batch_size or BATCH, count - out)
            self.labels = np.asarray(_flat(y)[0])
            self.batches, self.steps = self._shuffled(x, y, size, seed, fixed)
        if self.held is None and not isinstance(validation, (int, float, type(None))):
            self.held = self._other(model, validation, fixed)

    def _arrays(self, model, data):
        if isinstance(data, (str, Path, Dataset)):
            self.dataset = data = load(data)
            return data.inputs(model), data.y_train
        pair = isinstance(data, tuple) and len(data) == 2
        expected = "a data set, its name, a pair (x, y) or a tf.data.Dataset"
        require(pair, "data", expected, type(data))
        import keras

        x, y = (keras.tree.map_structure(np.asarray, part) for part in data)
        lengths = {len(array) for array in _flat((x, y))}
        if len(lengths) != 1 or 0 in lengths:
            raise bad_argument("data", "of arrays with as many points each", sorted(lengths))
        return x, y

    def _held_out(self, validation, count):
        if validation is None:
            return min(MOST, int(HELD_OUT * count))
        if isinstance(validation, (int, float)):
            require(0 <= validation < 1, "validation", "a share from 0 to 1, or points", validation)
            return int(validation * count)
        return 0

    def _other(self, model, validation, fixed):
        import tensorflow as tf

        if isinstance(validation, tf.data.Dataset):
            return validation
        dataset = self.dataset
        x, y = self._arrays(model, validation)
        self.dataset, self.held_out = dataset, len(_flat(x)[0])
        return _batched(x, y, fixed or MEASURED, fixed)

    def _shuffled(self, x, y, size, seed, fixed):
        """Batches in an order that depends on the seed and on the variable `epoch`."""
        import tensorflow as tf

        count = len(_flat(x)[0])
        tensors = [tf.constant(array) for array in _flat((x, y))]

        def epoch_of(_):
            order = tf.random.experimental.stateless_shuffle(
                tf.range(count), seed=tf.stack([tf.constant(seed, tf.int32), self.epoch])
            )
            return tf.data.Dataset.from_tensor_slices(order).batch(size, bool(fixed))

        def batch(indices):
            import keras

            found = [tf.gather(tensor, indices) for tensor in tensors]
            return keras.tree.pack_sequence_as((x, y), found)

        batches = tf.data.Dataset.from_tensors(0).flat_map(epoch_of)
        steps = count // size if fixed else -(-count // size)
        batches = batches.map(batch, num_parallel_calls=1).prefetch(4)
        return batches.apply(tf.data.experimental.assert_cardinality(steps)), steps

    def inputs(self, model: Model, count: int) -> list:
        """At most `count` training inputs, spread evenly (the first of batches): one array a model
        input."""
        if self._given is not None:
            x = self._given[0]
            total = len(_flat(x)[0])
            chosen = np.arange(total)
            if total > count:
                chosen = np.linspace(0, total - 1, count).astype(int)
            return _in_order(model, _taken(x, chosen))
        parts, seen = [], 0
        for given in self.every(model):
            parts.append(given)
            seen += len(given[0])
            if seen >= count:
                break
        return [np.concatenate(arrays)[:count] for arrays in zip(*parts)]

    def every(self, model: Model) -> Iterator:
        """The inputs of all batches, lists of one array a model input."""
        for batch in self.batches:
            yield [np.asarray(part) for part in _in_order(model, batch[0])]

    def whole(self) -> tuple:
        """All training points `(x, y)`, one array each, for full batches.

        Raises:
            InputError: they come in batches, or are several arrays.
        """
        if self._given is None or any(not isinstance(part, np.ndarray) for part in self._given):
            raise InputError("Method 'lbfgs' needs one array of inputs and one of targets.")
        return self._given


def _flat(tree):
    import keras

    return keras.tree.flatten(tree)


def _taken(tree, chosen):
    import keras

    return keras.tree.map_structure(lambda array: array[chosen], tree)


def _batched(x, y, size, fixed):
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices((x, y)).batch(size, bool(fixed)).prefetch(1)


def _in_order(model, x):
    """Inputs given in any form that the model takes, in the order of `model.inputs`."""
    if isinstance(x, dict):
        return [x[name] for name in (tensor.name for tensor in model.inputs)]
    return _flat(x)
