"""Training between two cuts: the model's own step, a rate that falls to zero, the original as a
teacher if asked."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import keras

from keras_l2feat.errors import InputError
from keras_l2feat.objectives.data_term import head
from keras_l2feat.shrinking.points import Points
from keras_l2feat.types import Model

__all__ = ["check_fit", "kind_of", "minimized", "taught", "trained"]

TEMPERATURE = 2.0  # by which logits are divided before teacher and student are compared


def trained(
    model: Model,
    points: Points,
    epochs: int,
    *,
    start: int = 0,
    first: int = 0,
    rate: float | None = None,
    callbacks: Sequence = (),
    after: Callable | None = lambda done: None,
) -> Any:
    """Train a compiled model for some epochs.

    Args:
        model: changed in place; points: `Points`.
        epochs: how many; start: of them were done before.
        first: how many epochs were trained in the rounds before this one.
        rate: from which the learning rate falls to 0 by half a cosine, `None`: as it is.
        callbacks: Keras callbacks of the user's; where there are any, they are told of the points
            held out too, as "val_loss" and the like.
        after: called with the number of epochs done after each.
    """
    own = [_Epochs(points, first, after)]
    if rate is not None:
        own.insert(0, _Falling(rate, points.steps, epochs))
    model.fit(
        points.batches,
        initial_epoch=start,
        epochs=epochs,
        shuffle=False,
        validation_data=points.held if callbacks else None,
        callbacks=[*callbacks, *own],
        verbose=0,
    )


class _Falling(keras.callbacks.Callback):
    """The learning rate, step after step."""

    def __init__(self, rate, steps, epochs):
        super().__init__()
        self.rate, self.steps, self.epochs, self.now = rate, steps, epochs, 0

    def on_epoch_begin(self, epoch, logs=None):
        self.now = epoch

    def on_train_batch_begin(self, batch, logs=None):
        done = (self.now * self.steps + batch) / (self.epochs * self.steps)
        self.model.optimizer.learning_rate = self.rate * (1 + math.cos(math.pi * done)) / 2


class _Epochs(keras.callbacks.Callback):
    """Tells the data which epoch it is, and the caller when one is done."""

    def __init__(self, points, first, after):
        super().__init__()
        self.points, self.first, self.after = points, first, after

    def on_epoch_begin(self, epoch, logs=None):
        self.points.epoch.assign(self.first + epoch)

    def on_epoch_end(self, epoch, logs=None):
        self.after(epoch + 1)


def minimized(model: Model, points: Points, iterations: int, quiet: bool = True) -> None:
    """Train by L-BFGS on full batches, an iteration an epoch, in place."""
    from keras_l2feat.training import fit

    data = points.dataset if points.held is None and points.dataset is not None else points.whole()
    fit(model, data, iterations=iterations, quiet=quiet)


def kind_of(model: Model, points: Points) -> dict:
    """What the outputs of a compiled model are: `classes` (whether each output is the score of a
    class) and `probabilities`, as `targets.harm` takes them."""
    loss = getattr(model.loss, "name", model.loss)
    known = isinstance(loss, str) and "crossentropy" in loss and "binary" not in loss
    labels = points.labels
    whole = labels.dtype.kind in "iu" and labels.size == len(labels)
    one = len(model.outputs) == 1 and len(model.outputs[0].shape) == 2
    classes = one and model.outputs[0].shape[-1] > 1 and (known or whole)
    return {"classes": classes, "probabilities": classes and head(model) == "softmax"}


def check_fit(model: Model, points: Points, kind: dict) -> None:
    """Whether a compiled model can be measured on data.

    Raises:
        InputError: labels are no outputs, or its loss cannot be computed on the first batch.
    """
    labels = points.labels
    if kind["classes"] and labels.dtype.kind in "iu" and labels.size == len(labels):
        classes = model.outputs[0].shape[-1]
        wrong = labels[(labels < 0) | (labels >= classes)]
        if len(wrong):
            raise InputError(
                f"Model {model.name!r} tells {classes} classes apart, 0 to {classes - 1}. "
                f"Received: label {wrong[0]}."
            )
    try:
        model.evaluate(points.batches.take(1), verbose=0)
    except Exception as error:  # whatever Keras, TensorFlow or a loss of the user's own raises
        reason = " ".join(str(error).split())[:300]
        raise InputError(
            f"Model {model.name!r}, as it is compiled, cannot be measured on the data: {reason}"
        ) from error


def taught(model: Model, teacher: Model, share: float, kind: dict) -> None:
    """Let a model learn from a teacher's outputs as from labels.

    The loss becomes (1 - share) C + share D, with D the cross-entropy of predicted classes at
    temperature T, times T² [Hinton et al. 2015, "Distilling the knowledge in a neural network"], or
    the mean squared difference of outputs that are no classes. Regularizers count as before.

    Args:
        model: compiled, changed in place; teacher: a Keras model of the same inputs.
        share: from 0 to 1; kind: see `kind_of`.
    """
    from keras import ops

    own = model.compute_loss

    def soft(target, given):
        if not kind["classes"]:
            return ops.mean((ops.cast(given, "float32") - ops.cast(target, "float32")) ** 2)
        if kind["probabilities"]:
            target, given = (ops.log(ops.maximum(p, 1e-7)) for p in (target, given))
        target, given = (ops.cast(z, "float32") / TEMPERATURE for z in (target, given))
        likely = ops.softmax(target) * ops.log_softmax(given)
        return -(TEMPERATURE**2) * ops.mean(ops.sum(likely, axis=-1))

    def compute_loss(x=None, y=None, y_pred=None, sample_weight=None, training=True):
        loss = own(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=training)
        if not training:
            return loss
        answers = zip(*map(keras.tree.flatten, (teacher(x, training=False), y_pred)))
        learned = sum(soft(target, given) for target, given in answers)
        penalty = sum(model.losses)
        return (1 - share) * loss + share * (learned + penalty)

    model.compute_loss = compute_loss
