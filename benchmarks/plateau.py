"""A curve at 12 widths by descent, against model.fit at each width, and against the best of three
L-BFGS runs.

mnist-1k, L = 3, λ = 1e-3. The baseline is a Keras loop: Adam, then gradient descent, full batch,
stopped as soon as it reaches the loss that descent found at that width, or after MAX_EPOCHS (its
time is then a lower bound). Run: python benchmarks/plateau.py [--quick] [EPOCHS]
"""

import os
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras

from keras_l2feat import models
from keras_l2feat.data import load
from keras_l2feat.objectives import Problem
from keras_l2feat.plateau import descent, independent_trials
from keras_l2feat.training import Budget

LAM = 1e-3
WIDTHS = (2, 3, 5, 7, 10, 14, 20, 28, 40, 55, 75, 100)
MAX_EPOCHS = 1500  # 70 % Adam with a cosine schedule, 30 % gradient descent


class Until(keras.callbacks.Callback):
    """Stop as soon as the loss is at most `target`."""

    def __init__(self, target):
        super().__init__()
        self.target, self.reached = target, False

    def on_epoch_end(self, epoch, logs=None):
        if logs["loss"] <= self.target:
            self.reached = self.model.stop_training = True


def keras_loop(data, width, target, epochs):
    """Seconds, and whether `target` was reached."""
    model = models.mlp(784, (width, width), 10, lam=LAM, seed=0)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    until = Until(target)
    began, best = time.perf_counter(), float("inf")
    adam_epochs = int(0.7 * epochs)
    phases = [
        (
            keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(1e-2, adam_epochs)),
            adam_epochs,
        ),
        (keras.optimizers.SGD(0.1), epochs - adam_epochs),
    ]
    for optimizer, count in phases:
        if not until.reached:
            model.compile(optimizer, loss)
            history = model.fit(
                data.x_train,
                data.y_train,
                batch_size=len(data.x_train),
                epochs=count,
                shuffle=False,
                verbose=0,
                callbacks=[until],
            )
            best = min(best, *history.history["loss"])
    return time.perf_counter() - began, until.reached, best


def main():
    quick = "--quick" in sys.argv
    widths = (3, 10, 20) if quick else WIDTHS
    numbers = [int(argument) for argument in sys.argv[1:] if argument.isdigit()]
    epochs = numbers[0] if numbers else 200 if quick else MAX_EPOCHS
    data = load("mnist-1k")
    descent(Problem("mnist-789-42", LAM), [2, 3], budget=Budget(5))  # compile
    began = time.perf_counter()
    trials = {trial.width: trial for trial in descent(Problem(data, LAM), widths)}
    ours = time.perf_counter() - began
    print(f"descent: {len(trials)} widths in {ours:.1f} s")
    theirs, worse = 0.0, []
    for width in widths:
        loss = trials[width].loss
        seconds, reached, best = keras_loop(data, width, loss, epochs)
        theirs += seconds
        began = time.perf_counter()
        scratch = independent_trials(Problem(data, LAM), width, (0, 1, 2))
        three, spent = min(trial.loss for trial in scratch), time.perf_counter() - began
        worse += [width] if loss > three else []
        print(
            f"width {width:>3}: descent {loss:.5f} | model.fit {best:.5f} in {seconds:.0f} s"
            f"{'' if reached else ' (not reached)'} | best of 3 L-BFGS {three:.5f} in {spent:.0f} s"
            f", descent / it = {loss / three:.4f}",
            flush=True,
        )
    print(
        f"ratio model.fit (at most {epochs} epochs a width) / descent: {theirs / ours:.1f} "
        "(bar: 10)"
    )
    print(f"widths at which descent is above the best of three: {worse or 'none'} (bar: none)")


if __name__ == "__main__":
    main()
