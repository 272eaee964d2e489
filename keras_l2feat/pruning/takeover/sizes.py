"""How large a network is with some units gone: units, floating point operations, parameters."""

import math

import numpy as np

from keras_l2feat.pruning.channels.graph import Graph
from keras_l2feat.pruning.channels.operations import KERNELS, Attend, Depthwise, Linear

__all__ = ["SIZES", "Sizes"]

SIZES = ("units", "flops", "parameters")


class Sizes:
    """Each size is a sum of products: an amount, times the share of each of its axes that is kept.

    Args:
        graph: the model's `Graph`.
    """

    def __init__(self, graph: Graph) -> None:
        self.count = len(graph.pinned)
        self.terms = {
            "units": [(len(units), [units]) for units in graph.writers.values()],
            "flops": [_operation(op) for op in graph.ops if isinstance(op, KERNELS)],
            "parameters": _parameters(graph),
        }

    def of(self, kept: np.ndarray) -> dict:
        """The sizes with (units,) bool `kept`: whole numbers, by name."""
        return {
            name: round(sum(a * math.prod(kept[u].mean() for u in axes) for a, axes in terms))
            for name, terms in self.terms.items()
        }

    def saved(self, name: str) -> np.ndarray:
        """What the removal of each unit alone saves of a size, (units,) float64."""
        total = np.zeros(self.count)
        for amount, axes in self.terms[name]:
            for units in axes:
                np.add.at(total, units, amount / len(units))
        return total


def _operation(op):
    table = isinstance(op, Depthwise) or (isinstance(op, Linear) and op.reader is None)
    read = [] if table else [op.inputs[0].units]
    written = op.units.ravel() if isinstance(op, Attend) else op.out.units
    return 2 * op.weights * op.out.places, [*read, written]


def _parameters(graph):
    axes = {}
    for slot in graph.slots.values():
        axes.setdefault((slot.layer, slot.index), []).append(slot.units)
    terms, seen = [], set()
    for name, layer in graph.layers.items():
        for index, weight in enumerate(layer.weights):
            if id(weight) not in seen and math.prod(weight.shape):
                seen.add(id(weight))
                terms.append((math.prod(weight.shape), axes.get((name, index), [])))
    return terms
