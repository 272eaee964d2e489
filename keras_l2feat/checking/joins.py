"""Operations without weights that join tensors, or move channels: what rows have to be for the
pruned model to do the same."""

from collections.abc import Sequence

import numpy as np

from keras_l2feat.checking.rows import CONSTANT, Rows
from keras_l2feat.checking.tolerance import LIMIT
from keras_l2feat.checking.walk import Walk
from keras_l2feat.pruning.channels.operations import Concat, Pass, Product, Spread, Sum

__all__ = ["concat", "passed", "product", "spread", "sum_of", "together"]


def together(walk: Walk, inputs: Sequence[Rows]) -> tuple:
    """The one pruned channel that each channel comes from in all inputs.

    Returns: column and factor (channels,); whether there is one; how far factors are apart, in
        roundoffs; and for every input the constants that it adds, of the original and, where the
        pruned channel is one, of the pruned model.
    """
    unit = walk.tolerance.unit
    count, width = inputs[0].count, inputs[0].width
    column, factor = np.full(count, -1), np.ones(count)
    spread_out = [x for x in inputs if x.alike]
    for x in [*(x for x in inputs if not x.alike), *spread_out]:
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
        holds &= (same & (gap <= LIMIT * unit)) | known
        error = np.maximum(error, np.maximum(x.error, np.where(live, gap / unit, 0.0)))
        constants.append(x.constant)
        fixed.append(np.where(known, x.fixed[at], 0.0))
    own = width + np.arange(count)
    column, factor = np.where(holds, column, own), np.where(holds, factor, 1.0)
    return column, factor, holds, np.where(holds, error, 0.0), constants, fixed


def sum_of(walk: Walk, op: Sum, *inputs: Rows) -> Rows:
    """Rows of Σ_i weights[i] · inputs[i]."""
    column, factor, holds, error, constants, fixed = together(walk, inputs)
    total, taken, terms = np.zeros((3, len(column)))
    for w, x, c, k in zip(op.weights, inputs, constants, fixed):
        total = total + w * c
        taken = taken + w * k
        terms = terms + abs(w) * (x.terms + np.abs(factor * k))
    rows = Rows(inputs[0].width, column, factor, total - factor * taken, error, terms=terms)
    rows = rows.where(holds)
    still = np.all([x.still for x in inputs], axis=0)
    rows.put(still, CONSTANT, 0.0, total[still], terms[still])
    return rows.settled(sum(w * x.fixed for w, x in zip(op.weights, inputs)))


def product(walk: Walk, op: Product, *inputs: Rows) -> Rows:
    """Rows of Π_i inputs[i]."""
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
    with np.errstate(invalid="ignore"):
        values = np.prod([np.where(x.still, x.constant, 1.0) for x in inputs], axis=0)[still]
        fixed = np.prod([x.fixed for x in inputs], axis=0)
    rows.put(still, CONSTANT, 0.0, values, np.abs(values), rows.error[still])
    zero = np.any([x.fixed == 0 for x in inputs], axis=0)
    return rows.settled(np.where(zero, 0.0, fixed))


def passed(walk: Walk, op: Pass, x: Rows) -> Rows:
    """Rows of P(x) for a P that is linear and the same for all channels."""
    if op.constants:
        return x
    there = np.flatnonzero(~np.isnan(x.fixed) & (x.fixed != 0))
    lost = x.constant != 0
    rows = x.where(~lost)
    rows.fixed = np.where(x.fixed == 0, 0.0, np.nan)
    if len(there):  # what becomes of a constant is that of another, times a factor
        own = walk.default(op)
        at = np.where(own.column < x.width, own.column, there[0])
        at = np.where(np.isin(at, there), at, there[0])
        some = lost & x.still
        rows.put(some, at[some], (x.constant / x.fixed[at])[some])
    return rows


def concat(walk: Walk, op: Concat, *inputs: Rows) -> Rows:
    """Rows of channels side by side."""
    width = sum(x.width for x in inputs)
    columns, mixed, before, start = [], {}, 0, 0
    for x in inputs:

        def moved(c, x=x, before=before, start=start):
            own = c - x.width + start + width
            return np.where(c < 0, c, np.where(c < x.width, c + before, own))

        columns.append(moved(x.column))
        mixed |= {p + start: (moved(c), f) for p, (c, f) in x.mixed.items()}
        before, start = before + x.width, start + x.count
    names = ("factor", "constant", "error", "fixed", "terms")
    rest = {name: np.concatenate([getattr(x, name) for x in inputs]) for name in names}
    return Rows(width, np.concatenate(columns), mixed=mixed, **rest)


def spread(walk: Walk, op: Spread, x: Rows) -> Rows:
    """Rows of positions: channels at places."""
    other = walk.other(op)
    width, count = len(other.channel), len(op.channel)
    alike = op.tag == ("broadcast",)
    theirs, ours = (
        {pair: q for q, pair in enumerate(zip(each.channel.tolist(), each.place.tolist()))}
        for each in (other, op)
    )

    def seen(column, place):
        if column < 0:
            return column
        if column < x.width:
            return theirs.get((column, place), -3)
        return width + ours.get((column - x.width, place), -3 - width)

    pairs = list(zip(op.channel.tolist(), op.place.tolist()))
    column = np.array([seen(int(x.column[c]), place) for c, place in pairs], dtype=int)
    if alike and width == count:
        inside = (x.column[op.channel] >= 0) & (x.column[op.channel] < x.width)
        column = np.where(inside, np.arange(count), column)
    elif alike and ((x.column >= 0) & (x.column < x.width)).all():
        kept = walk.kept(op.out)
        column = np.where(kept, np.cumsum(kept) - 1, 0)
    mixed = {}
    for p, (c, place) in enumerate(pairs if x.mixed else ()):
        if c in x.mixed:
            columns, factors = x.mixed[c]
            mixed[p] = np.array([seen(int(k), place) for k in columns]), factors
    names = ("factor", "constant", "error", "terms")
    parts = {name: getattr(x, name)[op.channel] for name in names}
    fixed = x.fixed[other.channel]
    rows = Rows(width, column, mixed=mixed, fixed=fixed, alike=alike, **parts)
    absent = [p for p, (c, _) in mixed.items() if (c == -3).any()]
    bad = (column == -3) | np.isin(np.arange(count), absent)
    return rows.where(~bad) if bad.any() else rows
