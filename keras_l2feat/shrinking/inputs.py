"""What a network reads of its inputs.

An input that never varies in the data does what a bias does: the bias gets it, and nobody reads it
any more. On the data this changes nothing; a weight of such an input is what it began as.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np

from keras_l2feat.pruning.channels.graph import Graph
from keras_l2feat.pruning.channels.interpret import interpret
from keras_l2feat.pruning.channels.operations import KERNELS, Linear, Normalize, Source
from keras_l2feat.pruning.takeover.readings import readings
from keras_l2feat.pruning.values.intervals import Intervals, box_of_inputs

__all__ = ["Inputs"]


class Inputs:
    """The entries of a model's inputs (of an image, its channels, unless it is flattened), as the
    first kernels see them.

    Args:
        graph: of the model.
        batches: of all training data, lists of one array a model input.

    Attributes:
        constant: reader name → (entries,) float64, what an entry always is, NaN where it varies.
    """

    def __init__(self, graph: Graph, batches: Iterable) -> None:
        self.constant = {}
        first, _ = _first(graph)
        box = _box(graph, batches) if first else None
        if box is None:
            return
        found = {tensor.number: b for tensor, b in zip(graph.inputs, box)}
        interpret(graph, Intervals(graph), found)
        for name, op in first.items():
            low, high = found[op.inputs[0].number].low, found[op.inputs[0].number].high
            # at a border, a tap sees zero
            same = (low == high) & (op.folds | (low == 0))
            if same.any():
                self.constant[name] = np.where(same, low, np.nan)

    def hand_over(self, graph: Graph) -> None:
        """Let biases do what constant inputs do, in place, wherever there is a bias to take it.

        Args:
            graph: of the model, or of one that was cut from it.
        """
        known = readings(graph)
        for name, constant in self.constant.items():
            reading = known[name]
            layers = {reading.layer, *(reading.constant[:1] if reading.constant else ())}
            weights = {key: graph.layers[key].get_weights() for key in layers}
            kernel = reading.kernel(weights)
            given = np.tile(constant, len(reading.units) // len(constant))
            gone = np.flatnonzero((given == 0) | (~np.isnan(given) & bool(reading.constant)))
            if reading.constant:
                kernel[-1] += given[gone] @ kernel[gone]
            kernel[gone] = 0.0
            reading.store(weights, kernel)
            for key, values in weights.items():
                graph.layers[key].set_weights(values)

    @staticmethod
    def read(graph: Graph) -> Any:
        """How many entries are read, with a weight that is not zero; `None` where it is not kernels
        alone that read them."""
        first, whole = _first(graph)
        used: dict = {}
        for op in first.values():
            some = op.kernel().any(axis=(0, 2))
            used[op.inputs[0].number] = used.get(op.inputs[0].number, False) | some
        return int(sum(some.sum() for some in used.values())) if whole and used else None


def _first(graph):
    """Reader name → `Linear`, of kernels that see a function of the inputs which training does not
    change; and whether nothing else sees it."""
    bare, found, known, whole = {t.number for t in graph.inputs}, {}, readings(graph), True
    for op in graph.ops:
        seen = [tensor.number in bare for tensor in op.inputs]
        if not any(seen):
            continue
        layer = graph.layers.get(op.layer)
        if isinstance(op, Linear) and op.reader in known:
            if len(graph.readers[op.reader].inputs) == 1:
                found[op.reader] = op
                continue
        elif all(seen) and not isinstance(op, (*KERNELS, Normalize, Source)):
            if layer is None or not layer.trainable_variables:
                bare.add(op.out.number)
                continue
        whole = False
    return found, whole


def _box(graph, batches):
    """The `Box` of each input; `None` where all entries vary, or some are no finite numbers."""
    low = high = None
    for given in batches:
        if any(part.dtype.kind not in "fiub" for part in given):
            return None
        ends = [[_over(x, t, end) for x, t in zip(given, graph.inputs)] for end in (np.min, np.max)]
        low = ends[0] if low is None else list(map(np.minimum, low, ends[0]))
        high = ends[1] if high is None else list(map(np.maximum, high, ends[1]))
        if not all(np.isfinite(end).all() for end in (*low, *high)):
            return None
        if all((a < b).all() for a, b in zip(low, high)):
            return None
    return [box_of_inputs(graph, a, b, only=k)[0] for k, (a, b) in enumerate(zip(low, high))]


def _over(x, tensor, end):
    """The end of a batch over points, and over axes of any size."""
    axes = (0, *(axis for axis, size in enumerate(tensor.shape) if axis and size is None))
    return end(x, axis=axes, keepdims=True)[0].astype(np.float64)
