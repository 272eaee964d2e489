"""Steps that train the model they find."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_l2feat.zoo.making import Making, bare
from keras_l2feat.zoo.measure import metrics

__all__ = ["adamw", "align", "fit", "minibatch", "shrink", "silence"]


def fit(making: Making, *, max_iterations: int = 3000, **options: Any) -> None:
    """Full-batch training by `training.fit`, with its options."""
    from keras_l2feat import training

    fitted = training.fit(
        making.model,
        making.data,
        lam=making.recipe.lam,
        cost=making.problem.cost,
        iterations=max_iterations,
        quiet=making.quiet,
        **options,
    )
    making.record(fitted.loss)


def minibatch(
    making: Making,
    *,
    epochs: int,
    batch_size: int = 200,
    learning_rate: float = 2e-3,
    angle: float | None = None,
) -> None:
    """Adam on minibatches with a cosine schedule, by `model.fit`: the cheap way to a good start on
    much data.

    With an `angle`, neurons that near to a ray are snapped onto it after each epoch.
    """
    from keras_l2feat.callbacks import AlignNeurons
    from keras_l2feat.training.minibatch import minibatches

    minibatches(
        making.model,
        making.problem,
        epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        callbacks=[] if angle is None else [AlignNeurons(angle=angle, every=1)],
        seed=making.recipe.seed,
        quiet=making.quiet,
    )
    making.model = bare(making.model)  # a loss that is a function of ours cannot be saved
    making.record(metrics(making.model, making.problem)["train_loss"])


def adamw(
    making: Making,
    *,
    epochs: int,
    batch_size: int = 128,
    learning_rate: float = 2e-3,
    weight_decay: float = 1e-2,
) -> None:
    """AdamW with a cosine schedule on images that are moved by up to a pixel, anew in each
    epoch."""
    import keras

    from keras_l2feat.data.shifts import shifted

    x, y = _images(making)
    rate = keras.optimizers.schedules.CosineDecay(learning_rate, epochs * -(-len(x) // batch_size))
    making.model.compile(
        keras.optimizers.AdamW(rate, weight_decay=weight_decay),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    for epoch in range(epochs):
        batches = shifted(x, y, [making.recipe.seed, epoch], batch_size)
        verbose = 0 if making.quiet else 2
        making.model.fit(_fed(making, batches), shuffle=False, verbose=verbose)


def shrink(
    making: Making, *, epochs: int, rounds: int, batch_size: int = 128, **target: Any
) -> None:
    """`shrink` on images that are moved by up to a pixel, down to a target of it, with half of the
    loss from the outputs of the network that it began with."""
    import keras_l2feat
    from keras_l2feat.data.shifts import moving

    seed = making.recipe.seed
    x, y = _images(making)
    batches = _fed(making, moving(x, y, seed, batch_size))
    options = {"epochs": epochs, "rounds": rounds, "distill": True, "seed": seed}
    making.model, _ = keras_l2feat.shrink(
        making.model, batches, quiet=making.quiet, **options, **target
    )


def align(making: Making, *, angles: Sequence[float], every: int = 50, **options: Any) -> None:
    """Full-batch training with `callbacks.AlignNeurons`, once for each angle (radians), rising."""
    from keras_l2feat.callbacks import AlignNeurons

    for angle in angles:
        fit(making, callbacks=[AlignNeurons(angle=angle, every=every)], **options)


def silence(making: Making, *, share: float) -> None:
    """Set to zero the neurons and channels whose ‖w‖‖v‖ is at most `share` of their layer's
    largest.

    Weight decay has made them negligible; training from there on leaves them exactly zero.
    """
    from keras_l2feat.pruning.balance import norms
    from keras_l2feat.pruning.channels.read import read

    graph = read(making.model)
    sizes = np.prod(norms(graph), axis=0)
    for units in graph.writers.values():
        sizes[units] /= sizes[units].max(initial=0.0) or 1.0
    gone = (sizes <= share) & ~graph.pinned
    for slot in graph.slots.values():
        if slot.role in ("write", "read"):
            weight = np.moveaxis(np.array(graph.weight(slot.layer, slot.index)), slot.axis, 0)
            weight[gone[slot.units]] = 0.0
            graph.layers[slot.layer].weights[slot.index].assign(np.moveaxis(weight, 0, slot.axis))


def _images(making):
    data = making.data
    return data.x_train.reshape(-1, *data.input_shape, 1), data.y_train.astype("int32")


def _fed(making, batches):
    """Batches in the shape that the model takes."""
    import tensorflow as tf

    shape = (-1, *making.model.input_shape[1:])
    return batches.map(lambda x, y: (tf.reshape(x, shape), y)).prefetch(4)
