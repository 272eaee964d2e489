"""How large the pruned model's channels are beside the others of their tensor, and how far merged
units may move a sum."""

from typing import Any

import numpy as np

from keras_l2feat.checking.numbers import ratio
from keras_l2feat.checking.rows import Rows
from keras_l2feat.pruning.channels import operations as ops
from keras_l2feat.pruning.channels.graph import Graph
from keras_l2feat.pruning.channels.interpret import Semantics, interpret

__all__ = ["Sizes", "amplification"]


class Sizes(Semantics[np.ndarray]):
    """(channels,) float64 for each tensor, the largest about 1: what weights of either sign add up
    to at most, where all inputs are of size 1.

    Attributes:
        channels: tensor number → sizes.
        sums: tensor number → the same before it is divided by the largest, of what kernels compute.
    """

    def __init__(self, graph: Graph) -> None:
        self.sums = {}
        self.channels = interpret(graph, self)

    def source(self, op: ops.Source, *inputs: np.ndarray) -> np.ndarray:
        return np.ones(len(op.out.units))

    def linear(self, op: ops.Linear, x: np.ndarray) -> np.ndarray:
        kernel = np.abs(op.stored())
        known = np.ones(kernel.shape[1]) if op.reader is None else x
        self.sums[op.out.number] = known @ kernel.sum(axis=0, dtype=np.float64)
        return _relative(self.sums[op.out.number])

    def depthwise(self, op: ops.Depthwise, x: np.ndarray) -> np.ndarray:
        return _relative((np.abs(op.kernel()).sum(axis=0) * x[:, None]).reshape(-1))

    def affine(self, op: ops.Affine, x: np.ndarray) -> np.ndarray:
        return _relative(np.abs(op.coefficients()[0]) * x)

    def map(self, op: ops.Map, *inputs: np.ndarray) -> np.ndarray:
        return inputs[0]

    def passed(self, op: Any, x: np.ndarray) -> np.ndarray:
        return x

    def sum(self, op: Any, *inputs: np.ndarray) -> np.ndarray:
        return inputs[0]

    normalize, product = passed, sum

    def attend(
        self,
        op: ops.Attend,
        query: np.ndarray,
        key: np.ndarray,
        value: np.ndarray,
        *masks: np.ndarray,
    ) -> np.ndarray:
        return value[op.channel]

    def recurrent(self, op: ops.Recurrent, x: np.ndarray) -> np.ndarray:
        return np.ones(len(op.out.units))

    def concat(self, op: ops.Concat, *inputs: np.ndarray) -> np.ndarray:
        return np.concatenate(inputs)

    def spread(self, op: ops.Spread, x: np.ndarray) -> np.ndarray:
        return x[op.channel]


def _relative(size):
    return size / max(float(size.max(initial=0.0)), 1e-300)


def amplification(
    kernel: np.ndarray,
    after: np.ndarray,
    sizes: np.ndarray,
    x: Rows,
    rows: Rows,
    kept: np.ndarray,
    gone: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """How far merged inputs may move each kept sum, in roundoffs of what it adds up after merging.

    Args:
        kernel: of the original, (taps, inputs, outputs).
        after: (pruned outputs,), what the pruned model's sums add up.
        sizes: (pruned inputs,); x: rows of the inputs; rows: of the outputs.
        kept: outputs; gone: (inputs,) bool, the original's inputs that were removed.

    Returns: shares (kept outputs,), and the inputs that are off.
    """
    p, column, factor = x.entries()
    chosen = (x.error[p] > 0) & gone[p]
    p, column, factor = p[chosen], column[chosen], factor[chosen]
    weight = np.abs(factor) * x.error[p] * np.concatenate([sizes, np.ones(x.count)])[column]
    effect = weight @ np.abs(kernel[:, p]).sum(axis=0, dtype=np.float64)[:, kept]
    return ratio(effect, after[rows.column[kept]] * np.abs(rows.factor[kept])), p
