"""What rounds led to: sizes, loss and accuracy, measured on points that training does not see."""

import time
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from keras_l2feat.objectives.data_term import predictions
from keras_l2feat.pruning.channels.graph import Graph
from keras_l2feat.pruning.takeover.sizes import Sizes
from keras_l2feat.types import Model

__all__ = ["Shrinkage", "measured", "sizes", "step_seconds"]

TIMED = 40  # steps


@dataclass
class Shrinkage:
    """What `shrink` did.

    Attributes:
        target: name → value of what was asked for.
        curve: records, the original first: "round", "epochs" (of the round), "share" (of the size
            asked for that is left), "units", "flops", "parameters", "inputs" (how many entries of
            the inputs are read, `None` where that is not known), "loss" and "accuracy" (on points
            held out; `None` where there are none, or no classes), "cut_loss" and "cut_accuracy"
            (the same before training on), "seconds" (of training), "cut_seconds", "kept" (whether
            the target holds), "widths".
        held_out: number of points that were only measured on.
        seconds: of everything; training_seconds: of training alone.
        original_seconds: what as many epochs of the original would take, estimated from some steps
            of it; `None` where it was not timed.
        facts: of the data, and how it was trained.
    """

    target: dict
    curve: list = field(default_factory=list)
    held_out: int = 0
    seconds: float = 0.0
    training_seconds: float = 0.0
    original_seconds: float | None = None
    facts: dict = field(default_factory=dict)

    def to_json(self) -> dict:
        """All of it, JSON-able."""
        return asdict(self)


def measured(model: Model, held: Any, kind: dict) -> dict:
    """`loss` (without regularizers) and `accuracy` of a compiled model on batches, `None` where
    there are none.

    Args:
        model: compiled; held: `tf.data.Dataset` of batches `(x, y)`; kind: see `training.kind_of`.
    """
    if held is None:
        return {"loss": None, "accuracy": None}
    found = model.evaluate(held, verbose=0, return_dict=True)
    loss = float(found["loss"]) - float(sum(np.asarray(x) for x in model.losses))
    return {"loss": loss, "accuracy": _accuracy(model, held, kind)}


def _accuracy(model, held, kind):
    outputs = model.outputs
    binary = len(outputs) == 1 and len(outputs[0].shape) == 2 and outputs[0].shape[-1] == 1
    right = count = 0
    for batch in held:
        labels = np.asarray(batch[1]) if not isinstance(batch[1], (dict, list, tuple)) else None
        if labels is None or not (kind["classes"] or (binary and labels.dtype.kind in "iub")):
            return None
        scores = np.asarray(model.predict_on_batch(batch[0]))
        if labels.ndim == 2 and labels.shape[1] == scores.shape[1] > 1:
            labels = labels.argmax(axis=1)
        right += int((predictions(model, scores) == labels.reshape(-1)).sum())
        count += len(labels)
    return right / count if count else None


def sizes(graph: Graph) -> dict:
    """Units, operations and parameters of a model as it is."""
    return Sizes(graph).of(np.ones(len(graph.pinned), dtype=bool))


def step_seconds(model: Model, batches: Any, steps: int) -> float:
    """Seconds of one training step of a compiled model, which is changed."""
    count = min(TIMED, steps)
    model.fit(batches.take(min(2, steps)), verbose=0, shuffle=False)
    start = time.perf_counter()
    model.fit(batches.take(count), verbose=0, shuffle=False)
    return (time.perf_counter() - start) / count
