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

import numpy as np

from keras_l2feat.checking import attention, diagonal, joins, pointwise, recurrence
from keras_l2feat.checking.kernels import Kernels
from keras_l2feat.checking.products import Product
from keras_l2feat.checking.rows import Rows
from keras_l2feat.checking.sizes import amplification
from keras_l2feat.checking.tolerance import AMPLIFIED, LIMIT
from keras_l2feat.checking.walk import Walk
from keras_l2feat.pruning.channels import operations as ops
from keras_l2feat.pruning.channels.interpret import Semantics

__all__ = ["Simulation"]


class Simulation(Walk, Semantics[Rows]):
    """The rows of every tensor of a graph: a `Walk` that knows what each operation does."""

    # ---- operations with weights

    def source(self, op: ops.Source, *inputs: Rows) -> Rows:
        rows = self.default(op)
        for x in inputs:
            if not x.plain:
                gone = np.flatnonzero((x.column != np.arange(x.count)) | (x.constant != 0))
                self.fault(op, gone[0] if len(gone) else 0, "what it reads has changed")
        if not rows.plain:
            self.fault(op, 0, "its channels cannot be removed")
        return rows.settled(self.still(op))

    def linear(self, op: ops.Linear, x: Rows) -> Rows:
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
        choices = [x] if x.spare is None else [x, x.spare]
        for reads in choices:
            before = len(self.faults), len(self.blamed)
            pair = Product.pair(
                self.tolerance_of(op), reads, (kernel, bias), (smaller, less), op.folds
            )
            found = rows if same else self._kernel(op, reads, rows.copy(), *pair)
            if reads is choices[-1] or len(self.faults) == before[0]:
                break
            del self.faults[before[0] :], self.blamed[before[1] :], self.changes[-1:]
        return self.rounded(op, found.settled(pair[1].constants()))

    def _kernel(self, op, x, rows, ours, theirs):
        """Rows of what a kernel computes, each shown from the weights."""
        kernels = Kernels(self.tolerance_of(op), ours, theirs)
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

    def depthwise(self, op: ops.Depthwise, x: Rows) -> Rows:
        return self.rounded(op, diagonal.depthwise(self, op, x))

    def affine(self, op: ops.Affine, x: Rows) -> Rows:
        return self.rounded(op, diagonal.affine(self, op, x))

    # ---- operations without weights

    def map(self, op: ops.Map, *inputs: Rows) -> Rows:
        return pointwise.mapped(self, op, *inputs)

    def passed(self, op: ops.Pass, x: Rows) -> Rows:
        return joins.passed(self, op, x)

    def normalize(self, op: ops.Normalize, x: Rows) -> Rows:
        if not x.plain:
            self.fault(op, x.altered.argmax(), "all channels count, and one has changed")
        zero = (x.fixed == 0) & (not op.centered)
        rows = Rows.of_kept(self.kept(op.out), 1.0)  # whatever else a kept one is said to be
        return rows.settled(np.where(zero, 0.0, np.nan))

    def attend(self, op: ops.Attend, query: Rows, key: Rows, value: Rows, *masks: Rows) -> Rows:
        return attention.attended(self, op, query, key, value, masks)

    def recurrent(self, op: ops.Recurrent, x: Rows) -> Rows:
        return recurrence.recurred(self, op, x)

    def sum(self, op: ops.Sum, *inputs: Rows) -> Rows:
        return self.rounded(op, joins.sum_of(self, op, *inputs))

    def product(self, op: ops.Product, *inputs: Rows) -> Rows:
        return joins.product(self, op, *inputs)

    def concat(self, op: ops.Concat, *inputs: Rows) -> Rows:
        return joins.concat(self, op, *inputs)

    def spread(self, op: ops.Spread, x: Rows) -> Rows:
        return joins.spread(self, op, x).settled(self.still(op))


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
    if len(set(units)) == len(units):
        return [0] * len(units)
    seen = {}
    count = []
    for unit in units:
        count.append(seen.get(unit, 0))
        seen[unit] = count[-1] + 1
    return count
