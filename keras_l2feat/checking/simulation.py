"""One walk over two models: does each operation respect the maps, and how far are its weights off?

A `Semantics` whose values are `Rows`. Every method derives the rows of what an operation computes
from those of what it reads, by the conditions of docs/certificate.md; only at a kernel is anything
looked up, which units a removed one may be expressed by, and there the weights decide. A channel
that no row can be found for is its own, and whoever needs it fails.
"""

from dataclasses import dataclass, field, replace

import numpy as np
import scipy.sparse

from keras_l2feat.activations import Scaling
from keras_l2feat.checking.box import slopes
from keras_l2feat.checking.numbers import (
    Dyadic,
    exactly,
    floats,
    magnitude,
    ratio,
    roundoff,
    smallest,
    stacked,
)
from keras_l2feat.checking.rows import CONSTANT, MIXED, Rows
from keras_l2feat.pruning.channels.interpret import Semantics

__all__ = ["LIMIT", "Change", "Simulation"]

# Roundoffs by which a weight may differ. Storing, balancing and summing explain up to 16; a weight
# that was moved by 64 of its row's norm shows as 32 of the sum of both models' weights.
LIMIT = 24.0
# Roundoffs by which what was merged may move a sum, as a part of what that sum adds up afterwards.
AMPLIFIED = 256.0
SNAP = 4.0  # roundoffs from ±1 within which a factor is ±1
BLOCK = 1 << 21  # entries worked on at a time
FLOAT64 = 2.0**-53
LOST = 1 << 23  # entries of outputs that are compared with each other, at most


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
class Claim:
    """What is to be shown: `original` and `pruned` graphs, which units were kept, by what they were
    scaled, and what else a removed one can be expressed by."""

    kept: np.ndarray  # (units,) bool
    scale: np.ndarray  # (units,) float64
    sources: dict = field(default_factory=dict)  # unit → list of tuples of units


class Simulation(Semantics):
    """The rows of every tensor of a graph.

    Args:
        graph, other: channel graphs of the original and of the pruned model, of one skeleton.
        claim: a `Claim`.
        exact: count in integers instead of float64.

    Attributes:
        boxes: tensor number → `Interval` of the original's channels, where inputs stay in a box;
            empty for all inputs.
        changes: list of `Change`.
        faults: (layer, unit, reason) of what was not respected.
        blamed: units whose removal is at fault.
    """

    def __init__(self, graph, other, claim, *, exact=False):
        self.graph, self.pruned, self.claim, self.exact = graph, other, claim, exact
        self.boxes = {}
        dtypes = {graph.dtype(layer) for layer, *_ in graph.slots} or {"float32"}
        self.dtype = max(dtypes, key=roundoff)
        self.unit = roundoff(self.dtype)
        self.changes, self.faults, self.blamed = [], [], set()
        self.numbers = exactly if exact else np.asarray
        self.sizes = {}  # tensor number → (width,) how large the pruned channels get, relatively

    # ---- what all methods use

    def kept(self, tensor):
        return self.claim.kept[tensor.units]

    def default(self, op):
        """Rows of an output that is expected to be as the maps say."""
        units = op.out.units
        return Rows.of_kept(self.claim.kept[units], 1.0 / self.claim.scale[units])

    def fault(self, op, position, reason):
        self.faults.append((op.layer, int(position), reason))

    def off(self, remainder, terms, slack=0.0, scale=1.0):
        """|remainder| over u · terms, what storing tiny numbers explains taken off: roundoffs.

        slack: rounding of the check itself, relative to the terms.
        """
        tiny = smallest(self.dtype) * np.maximum(np.abs(scale), 1.0)
        parts = ratio(magnitude(remainder), terms) / self.unit
        still = floats(magnitude(remainder)) <= 2 * tiny
        return np.where(still, 0.0, np.maximum(parts - slack / self.unit, 0.0))

    def other(self, op):
        return self.pruned.ops[op.out.number]

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
        kernel, smaller = op.kernel(), self.other(op).kernel()
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
        biases = [self._bias(graph, each, op) for graph, each in self._both(op)]
        bias, less = (
            np.zeros(n) if b is None else b for b, n in zip(biases, (rows.count, rows.width))
        )
        self._grow(op, smaller)
        same = x.plain and rows.plain and np.array_equal(kernel, smaller) and _equal(bias, less)
        for reads in (x, x.spare):
            before = len(self.faults)
            ours, theirs = _Product.pair(self, reads, (kernel, bias), (smaller, less), op.folds)
            found = rows if same else self._kernel(op, reads, self.copy(rows), ours, theirs)
            if x.spare is None or reads is x.spare or len(self.faults) == before:
                return found.settled(theirs.constants())
            del self.faults[before:], self.changes[-1:]
            self.blamed.clear()

    def _both(self, op):
        return (self.graph, op), (self.pruned, self.other(op))

    def _bias(self, graph, op, named):
        """The bias of a linear operation, of those too whose layer is otherwise left alone."""
        if op.bias is not None:
            return op.bias()
        reader = graph.readers.get(named.reader)
        if reader is None or reader.bias is None or reader.writes is not None:
            return None
        index, inside, beta = reader.bias
        bias = np.asarray(graph.weight(reader.layer, index), dtype=np.float64)
        return beta * (bias[inside] if inside else bias).reshape(-1)

    def _kernel(self, op, x, rows, ours, theirs):
        """Rows of what a kernel computes, each shown from the weights."""
        kept = np.flatnonzero(rows.column < rows.width)
        error = np.full(rows.count, np.inf)
        for block in ours.blocks(kept):
            error[block] = self._compare(
                ours.of(block), theirs.of(rows.column[block]), rows.factor[block]
            )[0]
        good = error <= LIMIT
        for o in kept[~good[kept]][:1]:
            self.fault(op, o, f"weights are off by {error[o]:.3g} roundoffs")
            self._blame(op, x, ours, o)
        amplified = self._amplified(op, x, ours.kernel, theirs.kernel, rows, kept)
        self.changes.append(Change(op.layer, np.where(np.isfinite(error), error, 0.0), amplified))
        rows.error = np.where(good, error, 0.0)
        found = rows.where(good)
        gone = np.setdiff1d(np.arange(rows.count), kept)
        return self._expressed(op, found, gone, ours, theirs) if len(gone) else found

    def _compare(self, ours, theirs, factor, *, constants=False):
        """How far original outputs are from factor times pruned ones, and what constant is between
        them: roundoffs (n,), constants (n,), which may be taken for 0 (n,)."""
        value, size, offset, terms, slack = ours
        other, reach, shift, around, more = theirs
        slack = slack + more
        d = self.numbers(np.asarray(factor, dtype=np.float64))
        error = self.off(value - other * d, size + reach * magnitude(d), slack, factor)
        error = error.max(axis=(0, 1), initial=0.0)
        rest = offset - shift * d
        apart = self.off(rest, terms + around * magnitude(d), slack, factor)
        if not constants:
            return np.maximum(error, apart), np.zeros(len(error)), apart <= LIMIT
        near = apart <= LIMIT
        return np.where(near, np.maximum(error, apart), error), floats(rest), near

    def _expressed(self, op, rows, gone, ours, theirs):
        """Rows of removed outputs: constants, multiples of kept ones, combinations; else their
        own."""
        place = _occurrence(op.out.units)
        position = {pair: p for p, pair in enumerate(zip(op.out.units.tolist(), place))}
        waiting = []
        for block in ours.blocks(gone):
            value, size, offset, _, slack = ours.of(block)
            error = self.off(value, size, slack).max(axis=(0, 1), initial=0.0)
            still = error <= LIMIT
            at = block[still]
            rows.column[at], rows.factor[at], rows.error[at] = CONSTANT, 0.0, error[still]
            rows.constant[at] = floats(offset)[still]
            waiting += block[~still].tolist()
        choices = {o: self.claim.sources.get(int(op.out.units[o]), ()) for o in waiting}
        spare = self.copy(rows)
        self._chosen(rows, choices, place, position, ours, theirs)
        several = {o: found[::-1] for o, found in choices.items() if len(found) > 1}
        if several:
            self._chosen(spare, several, place, position, ours, theirs)
            which = np.isin(np.arange(rows.count), list(several))
            rows.spare = spare.where(which, rows)
        self._among_lost(rows, np.array([o for o in waiting if rows.column[o] >= rows.width]), ours)
        return rows

    def _among_lost(self, rows, lost, ours):
        """Which of the outputs that nothing is left of are multiples of each other: what reads them
        may add them up to nothing."""
        if len(lost) < 2 or len(lost) * ours.kernel.shape[0] * ours.count > LOST:
            return
        value, size, offset, terms, slack = ours.of(lost)
        flat = np.concatenate([floats(value).reshape(-1, len(lost)), floats(offset)[None]])
        along = np.random.default_rng(0).standard_normal(len(flat))
        with np.errstate(divide="ignore", invalid="ignore"):
            mark = np.abs(along @ flat) / np.abs(flat).sum(axis=0)
        first = None
        for k in np.argsort(mark, kind="stable").tolist():
            if first is not None and abs(mark[k] - mark[first]) <= 64 * self.unit * len(along):
                factor = _proportion(flat[None, :, [k]], flat[None, :, [first]])
                d = self.numbers(factor)
                error = max(
                    self.off(
                        p[..., [k]] - p[..., [first]] * d,
                        q[..., [k]] + q[..., [first]] * magnitude(d),
                        slack,
                    ).max(initial=0.0)
                    for p, q in ((value, size), (offset, terms))
                )
                if error <= LIMIT:
                    o = lost[k]
                    rows.column[o], rows.factor[o] = rows.width + lost[first], factor[0]
                    rows.error[o] = error
                    continue
            first = k

    def _chosen(self, rows, choices, place, position, ours, theirs):
        """The first of each output's choices that its weights agree with."""
        waiting = list(choices)
        for nth in range(max((len(found) for found in choices.values()), default=0)):
            pairs, several = [], []
            for o in waiting:
                choice = choices[o][nth] if nth < len(choices[o]) else {}
                at = [position.get((u, place[o])) for u in choice]
                if not at or None in at or (rows.column[at] >= rows.width).any():
                    continue
                at = np.array(at)
                factor = np.array(list(choice.values())) * rows.factor[at]
                live = rows.column[at] >= 0
                named = o, rows.column[at][live], factor[live]
                (pairs if live.sum() == 1 else several).append(named)
            self._multiples(rows, pairs, ours, theirs)
            for o, columns, factor in several:
                self._combination(rows, o, columns, factor, ours, theirs)
            waiting = [o for o in waiting if rows.column[o] >= rows.width]

    def _multiples(self, rows, pairs, ours, theirs):
        """As told, or by the proportion of the weights."""
        for block in ours.blocks(np.arange(len(pairs))):
            o, j, told = (np.array([pairs[n][k] for n in block]).reshape(-1) for k in range(3))
            mine, others = ours.of(o), theirs.of(j)
            for factor in (told, _proportion(floats(mine[0]), floats(others[0]))):
                usable = np.isfinite(factor) & (factor != 0) & (rows.column[o] >= rows.width)
                factor = np.where(usable, factor, 1.0)
                error, constant, near = self._compare(mine, others, factor, constants=True)
                fine = usable & (error <= LIMIT)
                at = o[fine]
                rows.column[at], rows.factor[at] = j[fine], factor[fine]
                rows.constant[at], rows.error[at] = constant[fine], error[fine]
                rows.near[at] = near[fine]
                if fine.all():
                    break

    def _combination(self, rows, o, columns, told, ours, theirs):
        """As told, or by least squares with each entry measured by the size of its terms."""
        mine, others = ours.of(np.array([o])), theirs.of(columns)
        for factor in (told, None):
            if factor is None:
                basis, target = (floats(w[0]).reshape(-1, w[0].shape[2]) for w in (others, mine))
                size = np.abs(basis).max(axis=1) + np.abs(target[:, 0])
                norm = 1.0 / np.where(size > 0, size, 1.0)
                factor = np.linalg.lstsq(basis * norm[:, None], target[:, 0] * norm, rcond=None)[0]
            d = self.numbers(factor)
            parts = [w * d for w in others[:4]]
            total = [p.sum(axis=-1) if k % 2 == 0 else None for k, p in enumerate(parts)]
            reach = [(w * magnitude(d)).sum(axis=-1) for w in (others[1], others[3])]
            slack = mine[4] + others[4] + (len(factor) + 2) * FLOAT64
            error = self.off(mine[0][:, :, 0] - total[0], mine[1][:, :, 0] + reach[0], slack)
            error = float(error.max(initial=0.0))
            if error <= LIMIT:
                rest = mine[2][0] - total[2]
                near = bool(self.off(rest, mine[3][0] + reach[1], slack) <= LIMIT)
                rows.column[o], rows.factor[o], rows.error[o] = MIXED, 0.0, error
                rows.constant[o], rows.near[o] = float(floats(rest)), near
                rows.mixed[int(o)] = columns, np.asarray(factor, dtype=np.float64)
                return

    @staticmethod
    def copy(rows):
        return rows.where(np.ones(rows.count, dtype=bool))

    def snapped(self, factor):
        """±1 where a factor is that up to roundings."""
        near = np.abs(np.abs(factor) - 1) <= SNAP * self.unit
        return np.where(near, np.sign(factor), factor)

    def _blame(self, op, x, ours, o):
        """Which removed inputs an output that is off still needs."""
        value, size, *_, slack = ours.of(np.array([o]))
        needed = (self.off(value, size, slack) > LIMIT).any(axis=(0, 2))[x.width :]
        units = op.inputs[0].units
        lost = ours.lost[needed[: len(ours.lost)]]
        lost = lost if len(lost) else np.flatnonzero(~self.kept(op.inputs[0]))
        self.blamed.update(int(u) for u in units[lost] if not self.claim.kept[u])

    def _amplified(self, op, x, kernel, smaller, rows, kept):
        """How far merged inputs may move a sum, in roundoffs of what it adds up afterwards."""
        p, column, factor = x.entries()
        if op.reader is None:
            return 0.0
        chosen = (x.error[p] > 0) & ~self.kept(op.inputs[0])[p]
        if not chosen.any() or not len(kept):
            return 0.0
        p, column, factor = p[chosen], column[chosen], factor[chosen]
        size = self.sizes.get(op.inputs[0].number, np.ones(x.width))
        size = np.concatenate([size, np.ones(x.count)])
        weight = np.abs(factor) * x.error[p] * size[column]
        effect = np.einsum("tpo,p->o", np.abs(kernel[:, p][:, :, kept]), weight)
        after = np.einsum("tio,i->o", np.abs(smaller), size[: x.width])[rows.column[kept]]
        after = after * np.abs(rows.factor[kept])
        share = ratio(effect, after)
        worst = int(share.argmax())
        if share[worst] > AMPLIFIED:
            self.fault(op, kept[worst], f"merged units move a sum by {share[worst]:.3g} roundoffs")
            self.blamed.update(op.inputs[0].units[p].tolist())
        return float(share[worst])

    def _grow(self, op, smaller):
        """How large the outputs are, relatively to each other."""
        known = self.sizes.get(op.inputs[0].number) if op.inputs else None
        known = np.ones(smaller.shape[1]) if known is None or op.reader is None else known
        size = np.einsum("tio,i->o", np.abs(smaller), known[: smaller.shape[1]])
        self.sizes[op.out.number] = size / max(float(size.max(initial=0.0)), 1e-300)

    def _same_size(self, op, channel=None):
        known = self.sizes.get(op.inputs[0].number)
        if known is not None:
            self.sizes[op.out.number] = known if channel is None else known[channel]

    def depthwise(self, op, x):
        x = x.clean
        other = self.other(op)
        kernel, smaller = op.kernel(), other.kernel()
        taps, _, multiplier = kernel.shape
        if smaller.shape != (taps, x.width, multiplier):
            self.fault(op, 0, f"the kernel has the shape {smaller.shape}")
            rows = self.default(op)
            return rows.where(np.zeros(rows.count, dtype=bool))
        bias = np.zeros(x.count * multiplier) if op.bias is None else op.bias()
        less = np.zeros(x.width * multiplier) if other.bias is None else other.bias()
        column = np.repeat(np.where(x.column < 0, CONSTANT, x.column * multiplier), multiplier)
        column = np.where(column < 0, column, column + np.tile(np.arange(multiplier), x.count))
        mixed = np.repeat(x.column == MIXED, multiplier)
        column[mixed] = x.width * multiplier + np.flatnonzero(mixed)
        wide = Rows(
            x.width * multiplier,
            column,
            *(np.repeat(a, multiplier) for a in (x.factor, x.constant, x.error)),
            {},
            np.repeat(x.fixed, multiplier),
        )
        flat, small = kernel.reshape(taps, -1), smaller.reshape(taps, -1)
        return self._diagonal(op, wide, flat, bias, small, less, op.folds)

    def affine(self, op, x):
        x = x.clean
        scale, shift, terms = op.coefficients()
        small, less, _ = self.other(op).coefficients()
        if len(small) != x.width:
            self.fault(op, 0, f"{len(small)} coefficients, expected: {x.width}")
            return x.where(np.zeros(x.count, dtype=bool))
        rows = self._diagonal(op, x, scale[None], shift, small[None], less, True, terms)
        for p, (columns, factors) in x.mixed.items():
            if (columns >= x.width).any() or (small[columns] == 0).any():
                continue
            new = scale[p] * factors / small[columns]
            rest = scale[p] * x.constant[p] + shift[p] - new @ less[columns]
            around = terms[p] + abs(scale[p] * x.constant[p]) + abs(new) @ abs(less[columns])
            near = abs(rest) <= LIMIT * self.unit * around
            rows.column[p], rows.factor[p], rows.constant[p] = MIXED, 0.0, 0.0 if near else rest
            rows.mixed[p], rows.error[p] = (columns, new), x.error[p]
        return rows

    def _diagonal(self, op, x, weight, bias, small, less, folds, terms=None):
        """out[p] = weight[:, p] · in[p] + bias[p], tap by tap. What a pruned channel is multiplied
        by is that of the original, to the bit (`skeleton`); only channels that are gone are
        compared."""
        width = x.width
        kept, default = self.kept(op.out), self.default(op)
        rows = default.where(kept)
        total, sums = weight.sum(axis=0), small.sum(axis=0)
        silent, mute = ~weight.any(axis=0), ~small.any(axis=0)
        known = ~np.isnan(x.fixed)
        fixed = np.where(
            mute, less, np.where(known, sums * np.where(known, x.fixed, 0.0) + less, 0)
        )
        unknown = ~mute & ~known | (~mute & known & (x.fixed != 0) & (not folds))
        fixed = np.where(unknown, np.nan, fixed)
        inside = (x.column >= 0) & (x.column < width)
        j = np.where(inside, x.column, 0)
        # kept: the same function of the same channel, times one factor
        same = silent | (inside & (x.column == default.column) & (x.constant == 0))
        same |= x.still & known[np.minimum(default.column, width - 1)]
        same &= silent | (default.factor == np.where(x.still, default.factor, x.factor))
        unlike = (default.factor != 1) & ((bias != 0) | ~folds)
        for o in np.flatnonzero(kept & (~same | unlike))[:1]:
            self.fault(op, o, "what it reads has changed")
        rows = rows.where(kept & same & ~unlike)
        # gone: a multiple of the same channel's output, or a constant
        theirs = np.where(inside, small[:, j], 0.0)
        value = self.snapped(_proportion(weight[:, None], theirs[:, None]) * x.factor)
        usable = ~kept & inside & np.isfinite(value) & (value != 0)
        value = np.where(usable, value, 1.0)
        w, t, f, v, c = (self.numbers(a) for a in (weight, theirs, x.factor, value, x.constant))
        slack = 8 * FLOAT64
        error = self.off(w * f - t * v, magnitude(w * f) + magnitude(t * v), slack)
        error = np.maximum(error.max(axis=0, initial=0.0), x.error)
        rest = self.numbers(bias) + (w * c).sum(axis=0)
        around = (np.abs(bias) if terms is None else terms) + np.abs(total * x.constant)
        lower = self.numbers(np.where(inside, np.asarray(less)[j], 0.0)) * v
        apart = self.off(rest - lower, around + np.abs(floats(lower)), slack)
        border = (not folds) & (x.constant != 0) & ~silent
        good = usable & (error <= LIMIT) & ~border
        still = ~kept & (x.still | silent) & ~border
        rows.column = np.where(still, CONSTANT, np.where(good, x.column, rows.column))
        rows.factor = np.where(still, 0.0, np.where(good, value, rows.factor))
        offset = np.where(apart <= LIMIT, 0.0, floats(rest - lower))
        rows.constant = np.where(still, floats(rest), np.where(good, offset, rows.constant))
        rows.error = np.where(good & ~still, np.maximum(error, np.minimum(apart, LIMIT)), 0.0)
        grown = self.sizes.get(op.inputs[0].number)
        if grown is not None:
            size = np.repeat(grown, width // len(grown)) * np.abs(small).sum(axis=0)
            self.sizes[op.out.number] = size / max(float(size.max(initial=0.0)), 1e-300)
        return rows.settled(fixed)

    # ---- operations without weights

    def map(self, op, *inputs):
        inputs = [x.clean for x in inputs]
        rows = inputs[0] if len(inputs) == 1 else self._several(inputs)
        if op.scaling is Scaling.LINEAR:
            holds = ~rows.still
        else:
            whole = self.snapped(rows.factor)
            apart = np.abs(rows.factor - whole) / self.unit
            rows = replace(rows, factor=whole, error=rows.error + apart)
            allowed = {
                Scaling.POSITIVE: rows.factor > 0,
                Scaling.ODD: np.abs(rows.factor) == 1,
            }.get(op.scaling, rows.factor == 1)
            holds = rows.single & allowed
        out = rows.where(holds & self._same_function(op, rows))
        self._same_size(op)
        if len(inputs) > 1:
            return out
        fixed = self._of_constants(self.other(op), rows.fixed)
        if rows.still.any():
            values = self._of_constants(op, rows.constant)
            known = rows.still & np.isfinite(values)
            out.column = np.where(known, CONSTANT, out.column)
            out.factor = np.where(known, 0.0, out.factor)
            out.constant = np.where(known, values, out.constant)
            self._unknown(op, rows, out, rows.still & ~known)
        out.fixed = np.full(out.width, np.nan)
        out = self._on_the_box(op, rows, out, fixed)
        return out.settled(fixed)

    def _unknown(self, op, rows, out, which):
        """A constant whose value is not known is that of the pruned channel, where it is the same
        constant under the same function."""
        own = self.default(op)
        j = np.where(own.column < own.width, own.column, 0)
        given = np.where(np.isnan(rows.fixed), 0.0, rows.fixed)[j]
        with np.errstate(divide="ignore", invalid="ignore"):
            factor = np.where(given == 0, np.nan, rows.constant / given)
        if op.scaling is Scaling.POSITIVE:
            allowed = factor > 0
        else:
            allowed = factor == 1
        same = replace(own, column=np.where(own.column < own.width, j, -3))
        which = which & self.kept(op.out) & allowed & self._same_function(op, same)
        out.column = np.where(which, j, out.column)
        out.factor = np.where(which, factor, out.factor)
        out.constant = np.where(which, 0.0, out.constant)

    def _on_the_box(self, op, rows, out, fixed):
        """Where a channel's sign is known, its activation is linear: so is what it makes of rows
        with several entries, or with a constant. `fixed` is filled in where nothing is left."""
        box, both = self.boxes.get(op.inputs[0].number), slopes(op)
        if box is None or both is None:
            return out
        slope = np.where(box.low >= 0, both[1], np.where(box.high <= 0, both[0], np.nan))
        kept = self.kept(op.out)
        theirs = slope[kept]  # a pruned channel has the sign of the one that it was
        fixed[theirs == 0] = 0.0
        inside = (rows.column >= 0) & (rows.column < rows.width)
        divided = theirs[np.where(inside, rows.column, 0)]
        gone = ~kept & ~rows.still & ~np.isnan(slope)
        out.column = np.where(gone & (slope == 0), CONSTANT, out.column)
        out.factor = np.where(gone & (slope == 0), 0.0, out.factor)
        out.constant = np.where(gone & (slope == 0), 0.0, out.constant)
        moved = gone & (slope != 0) & inside & ~np.isnan(divided) & (divided != 0)
        out.column = np.where(moved, rows.column, out.column)
        ratio_ = np.where(moved, slope / np.where(moved, divided, 1.0), 1.0)
        out.factor = np.where(moved, rows.factor * ratio_, out.factor)
        out.constant = np.where(moved, rows.constant * slope, out.constant)
        out.error = np.where(moved, rows.error, out.error)
        for p, (columns, factors) in rows.mixed.items():
            if gone[p] and (columns < rows.width).all():
                parts = theirs[columns]
                if slope[p] != 0 and not np.isnan(parts).any() and (parts != 0).all():
                    out.column[p], out.factor[p] = MIXED, 0.0
                    out.constant[p] = rows.constant[p] * slope[p]
                    out.mixed[p] = columns, factors * slope[p] / parts
                    out.error[p] = rows.error[p]
        return out

    def _several(self, inputs):
        """Rows that are the same in all inputs, for a function that mixes them."""
        column, factor, holds, error, constant, fixed = self._together(inputs)
        gap = [np.abs(c - factor * k) for c, k in zip(constant, fixed)]
        size = [np.abs(c) for c in constant]
        near = [g <= LIMIT * self.unit * s for g, s in zip(gap, size)]
        holds &= np.all(near, axis=0)
        return Rows(inputs[0].width, column, factor, np.zeros(len(column)), error).where(holds)

    def _of_constants(self, op, constants):
        if op.function is not None:
            with np.errstate(all="ignore"):
                return np.asarray(op.function(constants), dtype=np.float64)
        if op.labels is not None:  # a slope by channel: the positive side is the same for all
            return np.where(constants >= 0, constants, np.nan)
        return np.full(len(constants), np.nan)

    def _same_function(self, op, rows):
        """Whether a channel's function is that of the pruned channel it comes from."""
        if op.labels is None:
            return np.ones(rows.count, dtype=bool)
        ours = _slopes(self.graph, op)
        theirs = _slopes(self.pruned, self.other(op))
        inside = (rows.column >= 0) & (rows.column < rows.width)
        j = np.where(inside, rows.column, 0)
        return inside & (ours == theirs[j]).all(axis=1)

    def _together(self, inputs):
        """The one pruned channel that each channel comes from in all inputs.

        Returns: column and factor (channels,); whether there is one; how far factors are apart, in
            roundoffs; and for every input the constants that it adds, of the original and, where
            the pruned channel is one, of the pruned model.
        """
        count, width = inputs[0].count, inputs[0].width
        column, factor = np.full(count, -1), np.ones(count)
        spread = [x for x in inputs if x.alike]
        for x in [*(x for x in inputs if not x.alike), *spread]:
            first = (column < 0) & (x.column >= 0) & (x.column < width)
            column = np.where(first, x.column, column)
            factor = np.where(first, x.factor, factor)
        holds, error = column >= 0, np.zeros(count)
        constants, fixed = [], []
        at = np.maximum(column, 0)
        for x in inputs:
            live = (x.column >= 0) & (x.column < width)
            same = live & ((x.column == column) | x.alike)
            gap = np.abs(x.factor - factor) / np.abs(factor)
            known = x.still & ~np.isnan(x.fixed[at])
            holds &= (same & (gap <= LIMIT * self.unit)) | known
            error = np.maximum(error, np.maximum(x.error, np.where(live, gap / self.unit, 0.0)))
            constants.append(x.constant)
            fixed.append(np.where(known, x.fixed[at], 0.0))
        own = width + np.arange(count)
        column, factor = np.where(holds, column, own), np.where(holds, factor, 1.0)
        return column, factor, holds, np.where(holds, error, 0.0), constants, fixed

    def passed(self, op, x):
        self._same_size(op)
        if op.constants:
            return x
        x = x.clean
        there = np.flatnonzero(~np.isnan(x.fixed) & (x.fixed != 0))
        fixed = np.where(x.fixed == 0, 0.0, np.nan)
        lost = x.constant != 0
        rows = x.where(~lost)
        rows.fixed = fixed
        if len(there):  # what becomes of a constant is that of another, times a factor
            one = there[0]
            own = self.default(op)
            at = np.where(own.column < x.width, own.column, one)
            at = np.where(np.isin(at, there), at, one)
            some = lost & x.still
            rows.column = np.where(some, at, rows.column)
            rows.factor = np.where(some, x.constant / x.fixed[at], rows.factor)
        return rows

    def sum(self, op, *inputs):
        column, factor, holds, error, constants, fixed = self._together(inputs)
        total = sum(w * c for w, c in zip(op.weights, constants))
        taken = sum(w * k for w, k in zip(op.weights, fixed))
        size = sum(
            abs(w) * (np.abs(c) + np.abs(factor * k))
            for w, c, k in zip(op.weights, constants, fixed)
        )
        constant = total - factor * taken
        near = np.abs(constant) <= LIMIT * self.unit * size
        near |= np.all([x.near | (x.constant == 0) for x in inputs], axis=0)
        rows = Rows(inputs[0].width, column, factor, constant, error, near=near).where(holds)
        still = np.all([x.still for x in inputs], axis=0)
        rows.column = np.where(still, CONSTANT, rows.column)
        rows.factor = np.where(still, 0.0, rows.factor)
        rows.constant = np.where(still, total, rows.constant)
        self._same_size(op)
        return rows.settled(sum(w * x.fixed for w, x in zip(op.weights, inputs)))

    def product(self, op, *inputs):
        inputs = [x.clean for x in inputs]
        count, width = inputs[0].count, inputs[0].width
        column, factor = np.full(count, -1), np.ones(count)
        holds, error = np.ones(count, dtype=bool), np.zeros(count)
        for x in (*(x for x in inputs if not x.alike), *(x for x in inputs if x.alike)):
            live = x.single & (x.column < width)
            column = np.where((column < 0) & live, x.column, column)
        at = np.maximum(column, 0)
        for x in inputs:
            live = x.single & (x.column < width) & ((x.column == column) | x.alike)
            known = x.still & ~np.isnan(x.fixed[at]) & (x.fixed[at] != 0)
            value = np.where(known, x.constant / np.where(known, x.fixed[at], 1.0), x.factor)
            holds &= live | known
            factor, error = factor * value, error + x.error
        own = width + np.arange(count)
        holds &= (column >= 0) & (factor != 0)
        rows = Rows(
            width,
            np.where(holds, column, own),
            np.where(holds, factor, 1.0),
            np.zeros(count),
            np.where(holds, error, 0.0),
        )
        still = np.all([x.still for x in inputs], axis=0)
        still |= np.any([x.still & (x.constant == 0) for x in inputs], axis=0)
        rows.column = np.where(still, CONSTANT, rows.column)
        rows.factor = np.where(still, 0.0, rows.factor)
        with np.errstate(invalid="ignore"):
            values = np.prod([np.where(x.still, x.constant, 1.0) for x in inputs], axis=0)
            fixed = np.prod([x.fixed for x in inputs], axis=0)
        rows.constant = np.where(still, values, 0.0)
        zero = np.any([x.fixed == 0 for x in inputs], axis=0)
        self._same_size(op)
        return rows.settled(np.where(zero, 0.0, fixed))

    def concat(self, op, *inputs):
        width = sum(x.width for x in inputs)
        columns, mixed, before, start = [], {}, 0, 0
        for x in inputs:

            def moved(c, x=x, before=before, start=start):
                own = c - x.width + start + width
                return np.where(c < 0, c, np.where(c < x.width, c + before, own))

            columns.append(moved(x.column))
            mixed |= {p + start: (moved(c), f) for p, (c, f) in x.mixed.items()}
            before, start = before + x.width, start + x.count
        sizes = [self.sizes.get(t.number, np.ones(x.width)) for t, x in zip(op.inputs, inputs)]
        self.sizes[op.out.number] = np.concatenate(sizes)
        rest = (
            np.concatenate([getattr(x, name) for x in inputs])
            for name in ("factor", "constant", "error")
        )
        fixed = np.concatenate([x.fixed for x in inputs])
        near = np.concatenate([x.near for x in inputs])
        return Rows(width, np.concatenate(columns), *rest, mixed, fixed, near=near)

    def spread(self, op, x):
        other = self.other(op)
        width, count = len(other.channel), len(op.channel)
        alike = op.tag == ("broadcast",)
        theirs = {
            pair: q for q, pair in enumerate(zip(other.channel.tolist(), other.place.tolist()))
        }
        ours = {pair: q for q, pair in enumerate(zip(op.channel.tolist(), op.place.tolist()))}

        def seen(column, place):
            if column < 0:
                return column
            if column < x.width:
                return theirs.get((column, place), -3)
            return width + ours[column - x.width, place]

        pairs = list(zip(op.channel.tolist(), op.place.tolist()))
        column = np.array([seen(int(x.column[c]), place) for c, place in pairs], dtype=int)
        if alike and width == count:
            inside = (x.column[op.channel] >= 0) & (x.column[op.channel] < x.width)
            column = np.where(inside, np.arange(count), column)
        elif alike and (column >= 0).all():
            kept = self.kept(op.out)
            column = np.where(kept, np.cumsum(kept) - 1, 0)
        mixed = {}
        if x.mixed:
            for p, (c, place) in enumerate(pairs):
                if c in x.mixed:
                    columns, factors = x.mixed[c]
                    mixed[p] = np.array([seen(int(k), place) for k in columns]), factors
        rows = Rows(
            width,
            column,
            x.factor[op.channel],
            x.constant[op.channel],
            x.error[op.channel],
            mixed,
            x.fixed[other.channel],
            near=x.near[op.channel],
            alike=alike,
        )
        known = self.sizes.get(op.inputs[0].number)
        if known is not None:
            self.sizes[op.out.number] = known[other.channel]
        bad = (column == -3) | np.isin(
            np.arange(count), [p for p, (c, _) in mixed.items() if (c == -3).any()]
        )
        return rows.where(~bad) if bad.any() else rows


class _Product:
    """W M for a kernel W (taps, inputs, outputs) and rows M: what a model computes, in terms of
    what the pruned model has, and, for the original, of what it has lost."""

    def __init__(self, simulation, x, kernel, bias, folds, lost, border):
        self.simulation, self.kernel, self.bias = simulation, kernel, bias
        self.constant, self.folds, self.width = x.constant, folds, x.width
        self.lost, self.border = lost, border
        self.count = x.width + len(lost)
        self.trivial = x.plain and not x.still.any() and not len(lost)
        row, column, factor = x.entries()
        beyond = x.width + np.searchsorted(lost + x.width, column)
        column = np.where(column < x.width, column, beyond)
        order = np.argsort(column, kind="stable")
        self.entries = row, column, factor = row[order], column[order], factor[order]
        most = int(np.bincount(column, minlength=1).max()) if len(column) else 0
        self.slack = 0.0 if simulation.exact else (most + 2) * FLOAT64
        self.matrix = scipy.sparse.csr_matrix((factor, (column, row)), (self.count, x.count))

    @classmethod
    def pair(cls, simulation, x, ours, theirs, folds):
        """The same for both models, in the same columns."""
        column = np.concatenate([x.entries()[1], [0]])
        lost = np.unique(column[column >= x.width]) - x.width
        other = x.theirs
        border = not folds and bool(x.constant.any() or other.constant.any())
        return (
            cls(simulation, x, *ours, folds, lost, border),
            cls(simulation, other, *theirs, folds, lost, border),
        )

    def blocks(self, which):
        """Parts of some outputs that are worked on at a time."""
        step = max(1, BLOCK // max(1, self.kernel.shape[0] * (self.count + self.border)))
        return (which[a : a + step] for a in range(0, len(which), step))

    def constants(self):
        """The outputs that read nothing but constants: their values, else NaN."""
        read = np.zeros(self.kernel.shape[1], dtype=bool)
        read[self.entries[0]] = True
        moves = self.kernel[:, read].any(axis=(0, 1))
        steady = self.bias + np.einsum("tio,i->o", self.kernel, self.constant)
        if self.border:
            moves |= np.einsum("tio,i->to", np.abs(self.kernel), np.abs(self.constant)).any(axis=0)
        return np.where(moves, np.nan, steady)

    def of(self, which):
        """For outputs `which`: values and sizes of terms (taps, columns, n), constants and sizes of
        theirs (n,), and what rounding here may have added to all, relative to the sizes."""
        part = self.simulation.numbers(self.kernel[:, :, which])
        bias = self.simulation.numbers(self.bias[which])
        if self.trivial:
            value, size = part, magnitude(part)
        elif self.simulation.exact:
            value, size = self._integers(part), self._integers(part, absolute=True)
        else:
            value = np.stack([self.matrix @ tap for tap in part])
            size = np.stack([abs(self.matrix) @ np.abs(tap) for tap in part])
        offset, terms, slack = bias, magnitude(bias), self.slack
        inward = around = self.simulation.numbers(np.zeros((len(self.kernel), 1, len(which))))
        if self.constant.any():
            at = np.flatnonzero(self.constant)
            constant = self.simulation.numbers(self.constant[at].reshape(1, -1, 1))
            inward = part[:, at] * constant
            around = magnitude(part[:, at]) * magnitude(constant)
            if not self.simulation.exact:
                slack = max(slack, inward.shape[0] * inward.shape[1] * FLOAT64)
            if self.folds:
                offset = offset + inward.sum(axis=(0, 1))
                terms = terms + around.sum(axis=(0, 1))
        if self.border:
            value = stacked([value, _row(inward.sum(axis=1))], 1)
            size = stacked([size, _row(around.sum(axis=1))], 1)
        return value, size, offset, terms, slack

    def _integers(self, part, absolute=False):
        row, column, factor = self.entries
        factor = exactly(factor.reshape(1, -1, 1))
        part = part[:, row]
        weighted = magnitude(part) * magnitude(factor) if absolute else part * factor
        taps, _, outputs = weighted.shape
        total = np.zeros((taps, self.count, outputs), dtype=object)
        if len(column):
            first = np.flatnonzero(np.r_[True, np.diff(column) > 0])
            total[:, column[first]] = np.add.reduceat(weighted.values, first, axis=1)
        return Dyadic(total, weighted.exponent)


def _row(array):
    shape = array.shape
    return array.reshape(shape[0], 1, shape[1])


def _proportion(value, other):
    """What other has to be multiplied by to become value, (taps, columns, n) both: (n,), by the
    sums of their sizes."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        size = np.abs(value).sum(axis=(0, 1)) / np.abs(other).sum(axis=(0, 1))
        largest = np.abs(other).max(axis=(0, 1), initial=0.0)
        sign = np.sign((value * (other / largest)).sum(axis=(0, 1)))
    return sign * size


def _occurrence(units):
    """Which of its unit's positions each position is: a list."""
    seen = {}
    count = []
    for unit in units.tolist():
        count.append(seen.get(unit, 0))
        seen[unit] = count[-1] + 1
    return count


def _equal(first, second):
    if first is None or second is None:
        return first is None and second is None
    return np.array_equal(first, second)


def _slopes(graph, op):
    """Slopes of a PReLU below 0, by channel: (channels, places)."""
    axis = op.inputs[0].axis - 1
    alpha = np.asarray(graph.weight(op.tag[1], 0), dtype=np.float64)
    return np.moveaxis(np.broadcast_to(alpha, _full(alpha, axis, op)), axis, 0).reshape(
        len(op.out.units), -1
    )


def _full(alpha, axis, op):
    shape = list(alpha.shape)
    shape[axis] = len(op.out.units)
    return shape
