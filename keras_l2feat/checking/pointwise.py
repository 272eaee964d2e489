"""Functions of each channel by itself: which rows commute with them."""

from dataclasses import replace

import numpy as np

from keras_l2feat.activations import Scaling
from keras_l2feat.checking.joins import together
from keras_l2feat.checking.relaxation import slopes
from keras_l2feat.checking.rows import CONSTANT, MIXED, Rows
from keras_l2feat.checking.tolerance import LIMIT
from keras_l2feat.checking.walk import Walk
from keras_l2feat.pruning.channels.operations import Map

__all__ = ["mapped"]


def mapped(walk: Walk, op: Map, *inputs: Rows) -> Rows:
    """Rows of f(inputs[0], inputs[1], …)."""
    rows = inputs[0] if len(inputs) == 1 else _several(walk, inputs)
    if op.scaling is Scaling.LINEAR:
        holds = ~rows.still
    else:
        whole = walk.tolerance.snapped(rows.factor)
        apart = np.abs(rows.factor - whole) / walk.tolerance.unit
        rows = replace(rows, factor=whole, error=rows.error + apart)
        allowed = {
            Scaling.POSITIVE: rows.factor > 0,
            Scaling.ODD: np.abs(rows.factor) == 1,
        }.get(op.scaling, rows.factor == 1)
        holds = rows.single & allowed
    out = rows.where(holds & _same_function(walk, op, rows))
    if len(inputs) > 1:
        return out
    fixed = _of_constants(walk.other(op), rows.fixed)
    if rows.still.any():
        values = _of_constants(op, rows.constant)
        known = rows.still & np.isfinite(values)
        out.put(known, CONSTANT, 0.0, values[known], np.abs(values[known]))
        _unknown(walk, op, rows, out, rows.still & ~known)
    out.fixed = np.full(out.width, np.nan)
    out = _on_the_box(walk, op, rows, out, fixed)
    return out.settled(fixed)


def _unknown(walk, op, rows, out, which):
    """A constant whose value is not known is that of the pruned channel, where it is the same
    constant under the same function."""
    own = walk.default(op)
    j = np.where(own.column < own.width, own.column, 0)
    given = np.where(np.isnan(rows.fixed), 0.0, rows.fixed)[j]
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = np.where(given == 0, np.nan, rows.constant / given)
    allowed = factor > 0 if op.scaling is Scaling.POSITIVE else factor == 1
    same = replace(own, column=np.where(own.column < own.width, j, -3))
    which = which & walk.kept(op.out) & allowed & _same_function(walk, op, same)
    out.put(which, j[which], factor[which])


def _on_the_box(walk, op, rows, out, fixed):
    """Where a channel's sign is known, its activation is linear: so is what it makes of rows with
    several entries, or with a constant. `fixed` is filled in where nothing is left."""
    box = walk.boxes.get(op.inputs[0].number)
    both = None if box is None else slopes(op)
    if box is None or both is None:
        return out
    slope = np.where(box.low >= 0, both[1], np.where(box.high <= 0, both[0], np.nan))
    kept = walk.kept(op.out)
    theirs = slope[kept]  # a pruned channel has the sign of the one that it was
    fixed[theirs == 0] = 0.0
    inside = (rows.column >= 0) & (rows.column < rows.width)
    divided = theirs[np.where(inside, rows.column, 0)]
    gone = ~kept & ~rows.still & ~np.isnan(slope)
    out.put(gone & (slope == 0), CONSTANT)
    moved = gone & (slope != 0) & inside & ~np.isnan(divided) & (divided != 0)
    by = slope[moved]
    constant, terms = rows.constant[moved] * by, rows.terms[moved] * np.abs(by)
    factor = rows.factor[moved] * by / divided[moved]
    out.put(moved, rows.column[moved], factor, constant, terms, rows.error[moved])
    for p, (columns, factors) in rows.mixed.items():
        if gone[p] and slope[p] != 0 and (columns < rows.width).all():
            parts = theirs[columns]
            if not np.isnan(parts).any() and (parts != 0).all():
                constant, terms = rows.constant[p] * slope[p], rows.terms[p] * abs(slope[p])
                out.put(p, MIXED, 0.0, constant, terms, rows.error[p])
                out.mixed[p] = columns, factors * slope[p] / parts
    return out


def _several(walk, inputs):
    """Rows that are the same in all inputs, for a function that mixes them."""
    column, factor, holds, error, constant, fixed = together(walk, inputs)
    for c, k in zip(constant, fixed):
        holds &= np.abs(c - factor * k) <= LIMIT * walk.tolerance.unit * np.abs(c)
    return Rows(inputs[0].width, column, factor, np.zeros(len(column)), error).where(holds)


def _of_constants(op, constants):
    known = ~np.isnan(constants)
    if not known.any():
        return np.full(len(constants), np.nan)
    if op.function is not None:
        with np.errstate(all="ignore"):
            return np.where(known, np.asarray(op.function(constants), dtype=np.float64), np.nan)
    if op.labels is not None:  # a slope by channel: the positive side is the same for all
        return np.where(constants >= 0, constants, np.nan)
    return np.full(len(constants), np.nan)


def _same_function(walk, op, rows):
    """Whether a channel's function is that of the pruned channel it comes from."""
    if op.labels is None:
        return np.ones(rows.count, dtype=bool)
    ours, theirs = _slopes(walk.graph, op), _slopes(walk.pruned, walk.other(op))
    inside = (rows.column >= 0) & (rows.column < rows.width)
    j = np.where(inside, rows.column, 0)
    return inside & (ours == theirs[j]).all(axis=1)


def _slopes(graph, op):
    """Slopes of a PReLU below 0, by channel: (channels, places)."""
    axis, count = op.inputs[0].axis - 1, len(op.out.units)
    alpha = np.asarray(graph.weight(op.tag[1], 0), dtype=np.float64)
    shape = [count if k == axis else size for k, size in enumerate(alpha.shape)]
    return np.moveaxis(np.broadcast_to(alpha, shape), axis, 0).reshape(count, -1)
