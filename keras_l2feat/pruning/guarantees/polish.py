"""Merge, then train the small network on: fewer neurons at nearly the same loss.

Near-aligned neurons that long training would have brought onto one ray are merged early, and
L2-regularized full-batch training repairs what that costs. Rounds go on as long as the target
holds: each removes a share of the units, cheapest first, and polishes; a round that misses the
target is taken back and tried with half the share.

The rest of `pruning` runs on every backend; training needs TensorFlow, which is imported when a
round begins.
"""

import math

import numpy as np

from keras_l2feat.errors import InputError, Interrupted, bad_argument
from keras_l2feat.progress import bar
from keras_l2feat.pruning.channels.read import read
from keras_l2feat.pruning.evaluate import outputs
from keras_l2feat.pruning.guarantees.bounded import cheapest_plan
from keras_l2feat.pruning.plan import Plan
from keras_l2feat.pruning.rewrite import rewrite

__all__ = ["kept", "kept_in_words", "percentage", "polish"]

SHARE = 0.25  # of the units that are left, in the first round
ITERATIONS = 200  # of training after each round


def percentage(text) -> float:
    """`"0.1%"` or `0.001` as the number 0.001.

    Raises:
        InputError: neither.
    """
    try:
        value = (
            float(text[:-1]) / 100 if isinstance(text, str) and text.endswith("%") else float(text)
        )
    except (TypeError, ValueError):
        value = -1.0
    if not 0 <= value < math.inf:
        raise bad_argument("keep_loss", "a part such as 0.1% or 0.001", text)
    return value


def polish(
    graph, data, *, keep_loss=None, keep_accuracy=False, lam=None, iterations=ITERATIONS, quiet=True
):
    """Remove units and train on, in rounds, to a target.

    Args:
        graph: of the model to start from.
        data: a `data.Dataset`; training sees its training points.
        keep_loss: by which part the loss C + λ Σ‖W‖² may rise, a number or "0.1%". By default 0.1
            %, or anything where only the accuracy is to be kept.
        keep_accuracy: whether the accuracy (on the test points, where there are some) may not fall.
        lam: λ; by default what the layers carry.
        iterations: L-BFGS steps after each round.
        quiet: no progress bar.

    Returns: the graph of the polished model; the rounds that were kept, `(graph, plan)` each; and a
        list of records `{"units", "loss", "accuracy", "test_accuracy", "kept"}`, the start first.

    Raises:
        InputError: the data have no labels, or keep_accuracy without classes.
        Interrupted: by Ctrl-C; its `best` is what would be returned, with the rounds so far.
    """
    if not hasattr(data, "x_train"):
        raise InputError("Polishing needs a data set with labels: a data.Dataset, or its name.")
    if keep_accuracy and data.classes is None:
        raise InputError(
            f"Argument 'keep_accuracy' needs classes. Data set {data.name!r} has regression "
            "targets."
        )
    room = _room(keep_loss, keep_accuracy)
    loss = _train(rewrite(graph, Plan()), data, lam, 1).history["loss"][0]
    records = [_record(graph, loss, data, kept=True)]
    best, rounds, share = graph, [], SHARE
    inputs = [data.inputs(graph.model)]
    try:
        with bar(description="polish", quiet=quiet, unit="round") as progress:
            while True:
                plan = cheapest_plan(best, inputs, share)
                if not plan:
                    break
                model = rewrite(best, plan)
                fitted = _train(model, data, lam, iterations, quiet=quiet)
                tried = read(model)
                record = _record(tried, fitted.loss, data, kept=False)
                progress.update()
                progress.set_postfix(units=sum(record["units"].values()), loss=record["loss"])
                record["kept"] = record["loss"] <= (1 + room) * loss and not (
                    keep_accuracy and _accuracy(record) < _accuracy(records[0])
                )
                records.append(record)
                if record["kept"]:
                    rounds.append((best, plan))
                    best = tried
                elif len(plan.removed) == 1:
                    break
                else:
                    share *= len(plan.removed) // 2 / len(plan.removed)
    except KeyboardInterrupt as interrupt:
        raise Interrupted(best=(best, rounds, records)) from interrupt
    return best, rounds, records


def kept(records, data, keep_loss, keep_accuracy) -> dict:
    """What stayed in place of a bound on single outputs, of which training leaves none.

    Args:
        records: from `polish`; data, keep_loss, keep_accuracy: as there.

    Returns: `data` (its name), `points`, `loss` [before, after], `asked` (what was to stay), and
        `accuracy` [before, after] with `accuracy_on`, where there are classes.
    """
    ends = records[0], [record for record in records if record["kept"]][-1]
    asked = ["accuracy"] if keep_accuracy else []
    if keep_loss is not None or not keep_accuracy:
        asked.insert(0, f"loss up to {_room(keep_loss, keep_accuracy):.3g} of itself")
    test = records[0]["test_accuracy"] is not None
    return {
        "data": data.name,
        "points": len(data.x_train),
        "asked": asked,
        "loss": [record["loss"] for record in ends],
        "accuracy": None if data.classes is None else [_accuracy(record) for record in ends],
        "accuracy_on": f"{len(data.y_test)} test points" if test else "the same points",
    }


def kept_in_words(kept) -> tuple:
    """`(whether the accuracy did not fall, a sentence)` of what `kept` returns."""
    (loss, now), accuracy = kept["loss"], kept["accuracy"]
    text = f"loss {loss:.6g} → {now:.6g} on the {kept['points']} training points of {kept['data']}"
    if accuracy is not None:
        text += f", accuracy {accuracy[0]:.2%} → {accuracy[1]:.2%} on {kept['accuracy_on']}"
    fine = accuracy is None or accuracy[1] >= accuracy[0]
    return fine, f"{text} (to be kept: {' and '.join(kept['asked'])})"


def _room(keep_loss, keep_accuracy):
    if keep_loss is None:
        return math.inf if keep_accuracy else 0.001
    return percentage(keep_loss)


def _train(model, data, lam, iterations, *, quiet=True):
    from keras_l2feat.training import fit

    return fit(model, data, lam=lam, iterations=iterations, quiet=quiet)


def _accuracy(record):
    return record["accuracy"] if record["test_accuracy"] is None else record["test_accuracy"]


def _record(graph, loss, data, *, kept):
    from keras_l2feat.objectives.data_term import predictions

    shares = {"accuracy": None, "test_accuracy": None}
    if data.classes is not None:
        for name, split, labels in (
            ("accuracy", "train", data.y_train),
            ("test_accuracy", "test", data.y_test),
        ):
            if labels is not None:
                scores = outputs(graph.model, [data.inputs(graph.model, split)])
                shares[name] = float(np.mean(predictions(graph.model, scores) == labels))
    units = {layer: len(units) for layer, units in graph.writers.items()}
    return {"units": units, "loss": float(loss), **shares, "kept": kept}
