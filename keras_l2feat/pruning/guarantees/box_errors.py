"""What removals change on a box, without data: of a unit at its readers, and of the outputs."""

from collections.abc import Sequence

import numpy as np

from keras_l2feat.pruning.bounds import a_priori
from keras_l2feat.pruning.channels.graph import Graph
from keras_l2feat.pruning.channels.operations import Affine, Linear, Map, Pass
from keras_l2feat.pruning.channels.sites import Site
from keras_l2feat.pruning.plan import Plan
from keras_l2feat.pruning.values.intervals import slopes

__all__ = ["Bound", "Local"]


class Bound:
    """A bound on |Δoutput| for inputs in a box: errors where units are replaced, carried on by the
    layers' norms."""

    def __init__(self, graph: Graph, box: tuple, local: Sequence["Local"]) -> None:
        self.graph, self.local = graph, {id(each.site): each for each in local}
        ends = [np.concatenate([b.low, b.high]) for b in box[0]]
        self.sizes = [np.abs(end).max(initial=0.0) for end in ends]
        self.start = {
            name: (each.site, index) for each in local for index, name in enumerate(each.site.names)
        }

    def __call__(self, plan: Plan) -> float:
        replaced = {}
        for removal in plan.removed:
            site, p = self.start[removal.layer, removal.unit]
            into = [(self.start[layer, unit][1], factor) for layer, unit, factor in removal.into]
            error = self.local[id(site)].error(p, into, removal.constant)
            for reader, positions in site.readers:
                for nth, position in enumerate(positions[p].tolist()):
                    sources = [(int(positions[q, nth]), factor) for q, factor in into]
                    replaced.setdefault(reader.name, []).append((position, sources, error))

        def seen(op, error):
            moves = replaced.get(getattr(op, "reader", None))
            if not moves:
                return error
            new = error.copy()
            for position, sources, fresh in moves:
                new[position] = fresh + sum(abs(f) * error[q] for q, f in sources)
            return new

        return a_priori(self.graph, self.sizes, seen)


class Local:
    """How far a unit may be from t times another, for inputs in the box."""

    def __init__(self, graph: Graph, site: Site, found: dict) -> None:
        self.site = site
        tensor = site.readers[0][0].inputs[0]
        self.box = _of_units(found, site)
        self.linear = None
        ops = graph.ops
        while isinstance(ops[tensor.number], Pass):
            tensor = ops[tensor.number].inputs[0]
        op = ops[tensor.number]
        if (
            isinstance(op, Map)
            and len(op.out.units) == len(site.units)
            and len(site.readers[0][0].inputs) == 1
        ):
            both = slopes(op, len(site.units))
            lines = _lines(ops, op.inputs[0], found) if both is not None else None
            if lines is not None and (op.out.units == site.units).all():
                self.steep = float(np.max(np.abs(both)))
                self.linear = lines
        self.folds = all(reader.bias is not None for reader, _ in site.readers)

    def error(self, p: int, into: Sequence[tuple[int, float]], constant: float) -> float:
        """sup |x_p - Σ t x_q - constant| over the box; `into`: at most one (q, t)."""
        low, high = self.box
        least, most = low[p] - constant, high[p] - constant
        for q, t in into:
            ends = sorted((t * low[q], t * high[q]))
            least, most = least - ends[1], most - ends[0]
        bound = max(abs(least), abs(most))
        if self.linear is not None and len(into) == 1 and into[0][1] > 0:
            (q, t), (rows, shift, center, radius) = into[0], self.linear
            gap = rows[p] - t * rows[q]
            near = self.steep * (
                abs(gap @ center + shift[p] - t * shift[q]) + np.abs(gap) @ radius
            ) + abs(constant)
            bound = min(bound, near)
        return float(bound)

    def pairs(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Errors (n, n) and factors (n, n) of the best pairs, errors alone (n,) and constants
        (n,)."""
        n = len(self.site.units)
        low, high = self.box
        constant = (low + high) / 2 if self.folds else np.zeros(n)
        alone = np.maximum(np.abs(low - constant), np.abs(high - constant))
        error, factor = np.full((n, n), np.inf), np.zeros((n, n))
        if self.linear is not None:
            rows, shift, center, radius = self.linear
            scaled = np.column_stack([rows * np.maximum(radius, 1e-300), rows @ center + shift])
            gram = scaled @ scaled.T
            size = np.diag(gram)
            factor = np.divide(gram, size, out=np.zeros_like(gram), where=size > 0)
            gap = size[:, None] - factor * gram
            nearest = np.argsort(
                np.where((factor > 0) & ~np.eye(n, dtype=bool), gap, np.inf), axis=1
            )[:, :8]
            for p in range(n):
                for q in nearest[p]:
                    if factor[p, q] > 0 and q != p:
                        error[p, q] = self.error(p, [(q, factor[p, q])], 0.0)
        return error, factor, alone, constant


def _of_units(found, site):
    """Bounds of each unit over all that reads it."""
    lows, highs = [], []
    for reader, positions in site.readers:
        for tensor in reader.inputs:
            box = found[tensor.number]
            lows.append(box.low[positions].min(axis=1))
            highs.append(box.high[positions].max(axis=1))
    return np.min(lows, axis=0), np.max(highs, axis=0)


def _lines(ops, tensor, found):
    """A tensor's channels as linear functions of a box: rows (n, m), shift (n,), center (m,),
    radius (m,)."""
    scale, shift = 1.0, 0.0
    while isinstance(ops[tensor.number], Affine):
        op = ops[tensor.number]
        own, moved, _ = op.coefficients()
        scale, shift = scale * own, shift + scale * moved
        tensor = op.inputs[0]
    op = ops[tensor.number]
    if not isinstance(op, Linear) or op.reader is None:
        return None
    kernel, box = op.kernel(), found[op.inputs[0].number]
    low, high = (
        (box.low, box.high) if op.folds else (np.minimum(box.low, 0), np.maximum(box.high, 0))
    )
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        return None
    taps, inputs, outputs_ = kernel.shape
    bias = np.zeros(outputs_) if op.bias is None else op.bias()
    rows = kernel.reshape(taps * inputs, outputs_).T * np.reshape(scale, (-1, 1))
    center, radius = (np.tile(side, taps) for side in ((low + high) / 2, (high - low) / 2))
    return rows, scale * bias + shift, center, radius
