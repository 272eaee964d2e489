"""Adam on minibatches: the cheap way to a good start on much data."""

from collections.abc import Sequence

from keras_l2feat.costs import cost_function
from keras_l2feat.objectives.problem import Problem
from keras_l2feat.types import Model

__all__ = ["minibatches"]


def minibatches(
    model: Model,
    problem: Problem,
    epochs: int,
    *,
    batch_size: int = 200,
    learning_rate: float = 2e-3,
    callbacks: Sequence = (),
    seed: int = 0,
    quiet: bool = True,
) -> None:
    """Train a Keras model in place by `model.fit`, with Adam and a cosine schedule down to 0.

    Args:
        model: its layers carry λ; it gives Z_L.
        problem: its data and its cost are trained on.
        epochs: passes over the data.
        batch_size: points a step.
        learning_rate: Adam's at the start.
        callbacks: Keras callbacks.
        seed: of the order of the points.
        quiet: no lines about epochs.
    """
    import keras

    data, cost = problem.data, cost_function(problem.cost)
    steps = epochs * -(-len(data.x_train) // batch_size)
    keras.utils.set_random_seed(seed)
    schedule = keras.optimizers.schedules.CosineDecay(learning_rate, steps)
    model.compile(keras.optimizers.Adam(schedule), lambda y, z: cost(z, y))
    model.fit(
        data.inputs(model),
        data.y_train,
        batch_size=batch_size,
        epochs=epochs,
        verbose=0 if quiet else 2,
        callbacks=list(callbacks),
    )
