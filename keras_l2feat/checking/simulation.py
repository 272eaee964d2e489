"""One walk over two models: does each operation respect the maps, and how far are its weights off?

A `Semantics` whose values are `Rows`. Every method derives the rows of what an operation computes
from those of what it reads, by the conditions of docs/certificate.md; only at a kernel is anything
looked up, which units a removed one may be expressed by, and there the weights decide. A channel
that no row can be found for is its own, and whoever needs it fails.

    kernels.py      W M_in = M_out W' for what kernels compute
    diagonal.py     the same for normalizations and depthwise filters
    pointwise.py    activations: which rows commute with them
    joins.py        sums, products, concatenation, places
    attention.py    heads of one pattern
    recurrence.py   states, by induction over time
    sizes.py        how far merged units may move a sum
"""

import functools
from dataclasses import dataclass, field

import numpy as np

from keras_l2feat.checking import attention, diagonal, joins, pointwise, recurrence
from keras_l2feat.checking.kernels import Kernels
from keras_l2feat.checking.products import Product
from keras_l2feat.checking.rows import Rows
from keras_l2feat.checking.sizes import Sizes, amplification
from keras_l2feat.checking.tolerance import AMPLIFIED, LIMIT, Tolerance
from keras_l2feat.pruning.channels.interpret import Semantics

__all__ = ["Change", "Simulation", "UnitMaps"]


@dataclass
class Change:
    """What an operation's weights have to be changed by.

    Attributes:
        layer: its name.
        error: (units,) float64, roundoffs, of the layer's units in the original.
        amplified: the largest effect of merged units on a sum, in roundoffs of what it adds up.
    """

    layer: str
    error: np.ndarray
    amplified: float = 0.0


@dataclass
class UnitMaps:
    """`Maps` by the numbers of units: which were kept, by what they were scaled, and what else a
    removed one can be expressed by."""

    kept: np.ndarray  # (units,) bool
    scale: np.ndarray  # (units,) float64
    sources: dict = field(default_factory=dict)  # unit → list of {unit: factor}
    constants: dict = field(default_factory=dict)  # unit → list of what may be added to that


class Simulation(Semantics):
    """The rows of every tensor of a graph.

    Args:
        graph, other: channel graphs of the original and of the pruned model, of one skeleton.
        maps: `UnitMaps`.
        exact: count in integers instead of float64.

    Attributes:
        boxes: tensor number → `Interval` of the original's channels, where inputs stay in a box;
            empty for all inputs.
        changes: list of `Change`.
        faults: (layer, unit, reason) of what was not respected.
        blamed: (units,) int of each fault, whose removal may be what it is for.
    """

    def __init__(self, graph, other, maps, *, exact=False):
        self.graph, self.pruned, self.maps = graph, other, maps
        self.tolerance = Tolerance((graph.dtype(layer) for layer, *_ in graph.slots), exact)
        self.boxes, self.changes, self.faults, self.blamed = {}, [], [], []

    # ---- what all methods use

    def kept(self, tensor):
        """(channels,) bool."""
        return self.maps.kept[tensor.units]

    def default(self, op):
        """Rows of an output that is expected to be as the maps say."""
        units = op.out.units
        return Rows.of_kept(self.maps.kept[units], 1.0 / self.maps.scale[units])

    def nothing(self, op):
        """Rows of an output of which nothing is known: all channels are their own."""
        rows = self.default(op)
        return rows.where(np.zeros(rows.count, dtype=bool))

    def fault(self, op, position, reason):
        """Note what was not respected."""
        self.faults.append((op.layer, int(position), reason))

    def blame(self, units) -> None:
        """Note which of some units have gone: that may be what a fault is for."""
        self.blamed.append(units[~self.maps.kept[units]])

    def changed(self, layer, error, amplified) -> None:
        """Note by how much a layer's weights have to be changed."""
        self.changes.append(Change(layer, np.where(np.isfinite(error), error, 0.0), amplified))

    def other(self, op):
        """The same operation of the pruned model."""
        return self.pruned.ops[op.out.number]

    @functools.cached_property
    def sizes(self):
        """How large the pruned model's channels are."""
        return Sizes(self.pruned)

    def rounded(self, op, rows):
        """Constants are what was told, or 0, where they are that up to roundings of the weights
        that they were added up from."""
        told = [self.maps.constants.get(u, ()) for u in op.out.units.tolist()]
        waiting = rows.constant != 0
        for nth in range(max(map(len, told), default=0) + 1):
            goal = np.array([t[nth] if nth < len(t) else 0.0 for t in told])
            apart = self.tolerance.off(rows.constant - goal, rows.terms)
            near = waiting & (apart <= LIMIT)
            rows.constant = np.where(near, goal, rows.constant)
            rows.error = np.where(near, np.maximum(rows.error, apart), rows.error)
            waiting &= ~near
        if rows.spare is not None:
            self.rounded(op, rows.spare)
        return rows

    # ---- operations with weights

    def source(self, op, *inputs):
        rows = self.default(op)
        for x in inputs:
            if not x.plain:
                gone = np.flatnonzero((x.column != np.arange(x.count)) | (x.constant != 0))
                self.fault(op, gone[0] if len(gone) else 0, "what it reads has changed")
        if not rows.plain:
            self.fault(op, 0, "its channels cannot be removed")
        return rows

    def linear(self, op, x):
        reader = self.graph.readers.get(op.reader)
        kernel, smaller = op.stored(), self.other(op).stored()
        if op.reader is None:
            x = Rows.of_kept(np.ones(kernel.shape[1], dtype=bool), 1.0)
        if reader is None or reader.writes is not None:
            rows = self.default(op)
        else:  # what it writes is left alone: all of it has to stay
            rows = Rows.of_kept(np.ones(kernel.shape[2], dtype=bool), 1.0)
        shape = kernel.shape[0], x.width, rows.width
        if smaller.shape != shape or kernel.shape[1:] != (x.count, rows.count):
            self.fault(op, 0, f"the kernel has the shape {smaller.shape}, expected: {shape}")
            return rows.where(np.zeros(rows.count, dtype=bool))
        biases = [
            _bias(graph, each, op)
            for graph, each in ((self.graph, op), (self.pruned, self.other(op)))
        ]
        bias, less = (
            np.zeros(n) if b is None else b for b, n in zip(biases, (rows.count, rows.width))
        )
        plain = x.plain and rows.plain
        same = plain and np.array_equal(kernel, smaller) and np.array_equal(bias, less)
        for reads in (x, x.spare):
            before = len(self.faults), len(self.blamed)
            pair = Product.pair(self.tolerance, reads, (kernel, bias), (smaller, less), op.folds)
            found = rows if same else self._kernel(op, reads, rows.copy(), *pair)
            if x.spare is None or reads is x.spare or len(self.faults) == before[0]:
                return self.rounded(op, found.settled(pair[1].constants()))
            del self.faults[before[0] :], self.blamed[before[1] :], self.changes[-1:]

    def _kernel(self, op, x, rows, ours, theirs):
        """Rows of what a kernel computes, each shown from the weights."""
        kernels = Kernels(self.tolerance, ours, theirs)
        kept = np.flatnonzero(rows.column < rows.width)
        error = kernels.errors(rows, kept)
        good = error <= LIMIT
        for o in kept[~good[kept]][:1]:
            self.fault(op, o, f"weights are off by {error[o]:.3g} roundoffs")
            lost = ours.lost[kernels.needed(o)]
            lost = lost if len(lost) else np.flatnonzero(~self.kept(op.inputs[0]))
            self.blame(op.inputs[0].units[lost])
        amplified = self._amplified(op, x, ours.kernel, rows, kept)
        self.changed(op.layer, error, amplified)
        rows.error = np.where(good, error, 0.0)
        found = rows.where(good)
        gone = np.setdiff1d(np.arange(rows.count), kept)
        if not len(gone):
            return found
        units = op.out.units.tolist()
        nth = _occurrence(units)
        choices = {o: (nth[o], self.maps.sources.get(units[o], ())) for o in gone.tolist()}
        place = {pair: p for p, pair in enumerate(zip(units, nth))}
        return kernels.express(found, gone, choices, place)

    def _amplified(self, op, x, kernel, rows, kept):
        """How far merged inputs move a sum at most; a fault where that is too much."""
        if op.reader is None or not len(kept):
            return 0.0
        gone = ~self.kept(op.inputs[0])
        if not (gone & (x.error > 0)).any():
            return 0.0
        after, sizes = self.sizes.sums[op.out.number], self.sizes.channels[op.inputs[0].number]
        share, moved = amplification(kernel, after, sizes, x, rows, kept, gone)
        worst = int(share.argmax())
        if share[worst] > AMPLIFIED:
            self.fault(op, kept[worst], f"merged units move a sum by {share[worst]:.3g} roundoffs")
            self.blame(op.inputs[0].units[moved])
        return float(share[worst])

    def depthwise(self, op, x):
        return self.rounded(op, diagonal.depthwise(self, op, x))

    def affine(self, op, x):
        return self.rounded(op, diagonal.affine(self, op, x))

    # ---- operations without weights

    def map(self, op, *inputs):
        return pointwise.mapped(self, op, *inputs)

    def passed(self, op, x):
        return joins.passed(self, op, x)

    def normalize(self, op, x):
        if not x.plain:
            self.fault(op, x.altered.argmax(), "all channels count, and one has changed")
        zero = (x.fixed == 0) & (not op.centered)
        return self.default(op).settled(np.where(zero, 0.0, np.nan))

    def attend(self, op, query, key, value, *masks):
        return attention.attended(self, op, query, key, value, masks)

    def recurrent(self, op, x):
        return recurrence.recurred(self, op, x)

    def sum(self, op, *inputs):
        return self.rounded(op, joins.sum_of(self, op, *inputs))

    def product(self, op, *inputs):
        return joins.product(self, op, *inputs)

    def concat(self, op, *inputs):
        return joins.concat(self, op, *inputs)

    def spread(self, op, x):
        return joins.spread(self, op, x)


def _bias(graph, op, named):
    """The bias of a linear operation, of those too whose layer is otherwise left alone."""
    if op.bias is not None:
        return op.bias()
    reader = graph.readers.get(named.reader)
    if reader is None or reader.bias is None or reader.writes is not None:
        return None
    index, inside, beta = reader.bias
    bias = np.asarray(graph.weight(reader.layer, index), dtype=np.float64)
    return beta * (bias[inside] if inside else bias).reshape(-1)


def _occurrence(units):
    """Which of its unit's positions each position is: a list."""
    seen = {}
    count = []
    for unit in units:
        count.append(seen.get(unit, 0))
        seen[unit] = count[-1] + 1
    return count
