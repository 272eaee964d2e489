"""The figures of a card: what a model does on its data, computed here alone, for building and for
checking."""

import math

import numpy as np

from keras_l2feat.costs import cost_with_gradient
from keras_l2feat.errors import InputError
from keras_l2feat.objectives import Problem
from keras_l2feat.types import Model

__all__ = ["metrics", "outputs", "probe"]

BATCH = 1000


def outputs(model: Model, x: np.ndarray) -> np.ndarray:
    """The outputs of a model with one input and one output on `x`, as float64 `(N, n_L)`."""
    import keras

    parts = [model(x[start : start + BATCH], training=False) for start in range(0, len(x), BATCH)]
    return np.concatenate([keras.ops.convert_to_numpy(part) for part in parts]).astype(np.float64)


def metrics(model: Model, problem: Problem) -> dict:
    """Loss, cost and accuracy on the training and the test set, and Σ‖W‖², computed in float64 from
    the outputs.

    Args:
        model: a Keras model with linear outputs.
        problem: what it was trained on, by a cost with a name.

    Raises:
        InputError: the cost is not one of the model's outputs as they are.

    Returns: `train_loss`, `train_cost`, `squared_norm`; with a test set `test_cost`; for classes
    also `train_accuracy` and `test_accuracy`.
    """
    import keras

    from keras_l2feat.objectives.data_term import data_term, head

    data, cost = problem.data, problem.cost
    if data_term(model, data, cost).outputs != cost:
        raise InputError(
            f"Model {model.name!r} ends in {head(model)}; linear outputs are expected."
        )
    squared_norm = math.fsum(
        float(np.sum(np.square(keras.ops.convert_to_numpy(weight).astype(np.float64))))
        for weight in model.trainable_weights
    )
    found = {}
    for split, y in {"train": data.y_train, "test": data.y_test}.items():
        if y is None:
            continue
        z = outputs(model, data.inputs(model, split))
        found[f"{split}_cost"] = cost_with_gradient(cost)(z, y)[0]
        if data.classes is not None:
            found[f"{split}_accuracy"] = float(np.mean(z.argmax(axis=1) == y))
    return {
        "train_loss": found["train_cost"] + problem.lam * squared_norm,
        **found,
        "squared_norm": squared_norm,
    }


def probe(model: Model) -> np.ndarray:
    """The outputs `(4, n_L)` on four fixed inputs, a ramp from 0 to 1: what a loaded model must
    give again."""
    shape = (4, *model.input_shape[1:])
    return outputs(model, np.linspace(0, 1, math.prod(shape), dtype="float32").reshape(shape))
