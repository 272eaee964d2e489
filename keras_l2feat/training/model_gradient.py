"""Value and gradient of the regularized loss of any Keras model, for full-batch optimizers."""

from typing import Any

import numpy as np

from keras_l2feat.backend import require_tensorflow
from keras_l2feat.costs import cost_function
from keras_l2feat.data import Dataset
from keras_l2feat.training.gradient import pieces_of
from keras_l2feat.types import Arrays, Cost, Data, Model

__all__ = ["ModelObjective"]


class ModelObjective:
    """`C(model(x), y) + Σ model.losses` on one data set, as a function of the model's trainable
    variables.

    The model runs in inference mode: dropout and noise are off, batch statistics stay as they are.

    Args:
        model: a built Keras model on the TensorFlow backend.
        data: a `data.Dataset`, or a `tf.data.Dataset` of finite batches `(x, y)`.
        cost: name or function (see `costs`).
        batch_size: points a piece, `None` for all at once.
    """

    def __init__(
        self, model: Model, data: Data, *, cost: Cost, batch_size: int | None = None
    ) -> None:
        require_tensorflow()
        import tensorflow as tf

        self._model, self._variables = model, model.trainable_variables
        self._batches: Any = data
        if isinstance(data, Dataset):
            sides = data.inputs(model), data.y_train
            pieces = (map(tf.constant, pieces_of(side, batch_size)) for side in sides)
            self._batches = list(zip(*pieces))
        loss = cost_function(cost)

        @tf.function(reduce_retracing=True)
        def data_term(x, y):
            with tf.GradientTape() as tape:
                value = loss(model(x, training=False), y)
            return value, tape.gradient(value, values, unconnected_gradients="zero")

        @tf.function
        def penalty():
            with tf.GradientTape() as tape:
                value = tf.add_n(model.losses) if model.losses else tf.zeros([], values[0].dtype)
            return value, tape.gradient(value, values, unconnected_gradients="zero")

        values = [variable.value for variable in self._variables]
        self._data_term, self._penalty = data_term, penalty

    def __call__(self, arrays: Arrays) -> tuple:
        """Value (float) and gradients (list of arrays) at values of the trainable variables, which
        are assigned."""
        self.assign(arrays)
        penalty, slopes = self._penalty()
        total, sums, count = 0.0, [np.zeros_like(array) for array in arrays], 0
        for x, y in self._batches:
            value, gradients = self._data_term(x, y)
            total += len(x) * float(value)
            sums = [s + len(x) * g.numpy() for s, g in zip(sums, gradients)]
            count += len(x)
        return float(penalty) + total / count, [p.numpy() + s / count for p, s in zip(slopes, sums)]

    def arrays(self) -> list:
        """The values of the trainable variables."""
        return [variable.numpy() for variable in self._variables]

    def assign(self, arrays: Arrays) -> None:
        """Set the trainable variables."""
        for variable, array in zip(self._variables, arrays, strict=True):
            variable.assign(array)
