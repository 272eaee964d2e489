"""`shrink`: rounds of {choose by cost, hand over by least squares, rewrite, train on}."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_l2feat import files
from keras_l2feat.backend import require_tensorflow
from keras_l2feat.errors import InputError, bad_argument, require
from keras_l2feat.pruning.channels.read import read
from keras_l2feat.shrinking.checkpoint import Checkpoint
from keras_l2feat.shrinking.goal import Goal
from keras_l2feat.shrinking.points import Points
from keras_l2feat.shrinking.record import Shrinkage
from keras_l2feat.shrinking.rounds import Options, Rounds
from keras_l2feat.shrinking.state import Settings
from keras_l2feat.types import Data, Model

__all__ = ["shrink"]

METHODS = ("compiled", "lbfgs")
TAUGHT = 0.5  # share of the loss that `distill=True` gives to the original's outputs


def shrink(
    model: Model | str | Path,
    data: Data,
    *,
    validation: Any = None,
    epochs: int = 20,
    rounds: int | None = None,
    distill: Any = False,
    method: str = "compiled",
    rate: float | None = None,
    decay: bool = True,
    batch_size: int | None = None,
    callbacks: Sequence = (),
    keep_rounds: str | Path | None = None,
    checkpoint: str | Path | None = None,
    resume: bool = False,
    seed: int = 0,
    quiet: bool = True,
    **target,
) -> tuple[Model, Shrinkage]:
    """Make a trained model smaller while it trains on.

    In each round the units go that cost least, all that stay take over what they did by least
    squares, the model is rewritten, physically smaller, and trained on with its own compiled loss,
    optimizer, metrics and callbacks; the optimizer's state goes with the units that stay.

    Args:
        model: a built Keras model, or the path of a .keras file; it is not changed. One that is not
            compiled is trained by Adam on the usual loss of the data.
        data: a `data.Dataset`, its name or file, a pair `(x, y)` as for `model.fit`, or a finite
            `tf.data.Dataset` of batches `(x, y)`. Test points of a data set are measured in the
            end, and used for nothing.
        validation: points that are only measured on: a share of the training points (0 for none),
            or points in any of the forms of `data`; by default a tenth of arrays.
        epochs: of training, all rounds together.
        rounds: number of rounds; by default each keeps about 70 % of what there is.
        distill: learn from the outputs of `model` too: `True`, or the share of the loss that they
            get.
        method: "compiled" (the model's own step), or "lbfgs": full batches, an iteration an epoch;
            for small networks with weight decay.
        rate: the learning rate that each round begins with; by default the optimizer's (of a
            schedule, its first).
        decay: whether the rate falls to 0 within each round, by half a cosine; without, the
            optimizer's own rate or schedule holds.
        batch_size: of arrays, 128 by default.
        callbacks: Keras callbacks; each round is one call of `fit` to them, with the points held
            out as validation data. What they stop ends the round.
        keep_rounds: a folder, into which each round's model is written.
        checkpoint: an .npz file that holds the state after each epoch.
        resume: go on from the checkpoint. The same call ends with the same weights as without a
            break, where the data are arrays (or batches that are the same in every epoch) and
            callbacks keep no state.
        seed: of the split, the order of the points and dropout.
        quiet: no progress bar.
        **target: one of `units`, `flops`, `parameters`, `latency` (the share that may stay, as 0.5
            or "50%"; latency is measured), `loss="+1%"` (by which part the loss may rise) or
            `accuracy="-0.2%"` (by how much it may fall), on the points held out.

    Returns: `(smaller model, Shrinkage)`; the model is plain Keras, compiled as the given one is.

    Raises:
        InputError: an argument, or a model that cannot be read.
        CheckFailed: no smaller network keeps the target.
        Interrupted: by Ctrl-C; its `best` is what would be returned, as of the last round that was
            done and kept, or `None`.

    Example:
    >>> from keras_l2feat import data, models
    >>> model = models.mlp(784, (30, 30), 3)
    >>> small, done = shrink(model, "mnist-789-42", units=0.5, epochs=2)
    >>> [layer.units for layer in small.layers][-1], done.curve[-1]["units"] <= 33
    (3, True)
    """
    require_tensorflow()
    goal = Goal.of(target, epochs, rounds)
    require(method in METHODS, "method", f"one of {', '.join(METHODS)}", method)
    require(0 <= float(distill) <= 1, "distill", "True, or a share from 0 to 1", distill)
    if rate is not None and not 0 < rate < np.inf:
        raise bad_argument("rate", "positive", rate)
    if isinstance(model, (str, Path)):
        model = files.load_model(model)
    graph = read(model)
    points = Points(graph.model, data, validation, batch_size=batch_size, seed=seed)
    if not goal.sized and points.held is None:
        raise InputError(f"Target {goal.name!r} needs points held out, a share above 0 or others.")
    if method == "lbfgs":
        points.whole()
    settings = Settings.of(model, points, rate, decay=decay)
    options = Options(
        method=method,
        share=TAUGHT if distill is True else float(distill),
        decay=decay,
        callbacks=tuple(callbacks),
        keep_rounds=keep_rounds,
        seed=seed,
        quiet=quiet,
    )
    run = Rounds(graph, points, settings, goal, options, model)
    return run.go(Checkpoint(checkpoint, run.facts()), resume)
