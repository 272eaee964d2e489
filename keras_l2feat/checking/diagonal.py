"""Operations on each channel by itself: normalizations, depthwise filters.

What a pruned channel is multiplied by is the original's, to the bit (`skeleton`); only channels
that are gone are compared.
"""

from typing import Any

import numpy as np

from keras_l2feat.checking.kernels import proportion
from keras_l2feat.checking.numbers import floats, magnitude
from keras_l2feat.checking.rows import CONSTANT, MIXED, Rows
from keras_l2feat.checking.tolerance import FLOAT64, LIMIT
from keras_l2feat.checking.walk import Walk
from keras_l2feat.pruning.channels.operations import Affine, Depthwise

__all__ = ["affine", "depthwise"]


def depthwise(walk: Walk, op: Depthwise, x: Rows) -> Rows:
    """Rows of out[c·m + k] = Σ_tap kernel[tap, c, k] · in[c] + bias."""
    other = walk.other(op)
    kernel, smaller = op.kernel(), other.kernel()
    taps, _, multiplier = kernel.shape
    if smaller.shape != (taps, x.width, multiplier):
        walk.fault(op, 0, f"the kernel has the shape {smaller.shape}")
        return walk.nothing(op)
    bias = np.zeros(x.count * multiplier) if op.bias is None else op.bias()
    less = np.zeros(x.width * multiplier) if other.bias is None else other.bias()
    column = np.repeat(np.where(x.column < 0, CONSTANT, x.column * multiplier), multiplier)
    column = np.where(column < 0, column, column + np.tile(np.arange(multiplier), x.count))
    mixed = np.repeat(x.column == MIXED, multiplier)
    column[mixed] = x.width * multiplier + np.flatnonzero(mixed)
    names = ("factor", "constant", "error", "fixed", "terms")
    parts: dict[str, Any] = {name: np.repeat(getattr(x, name), multiplier) for name in names}
    wide = Rows(x.width * multiplier, column, **parts)
    flat, small = kernel.reshape(taps, -1), smaller.reshape(taps, -1)
    return _channels(walk, op, wide, (flat, bias, np.abs(bias)), (small, less), op.folds)


def affine(walk: Walk, op: Affine, x: Rows) -> Rows:
    """Rows of out[c] = scale[c] · in[c] + shift[c]."""
    scale, shift, terms = op.coefficients()
    small, less, _ = walk.other(op).coefficients()
    if len(small) != x.width:
        walk.fault(op, 0, f"{len(small)} coefficients, expected: {x.width}")
        return walk.nothing(op)
    rows = _channels(walk, op, x, (scale[None], shift, terms), (small[None], less), True)
    for p, (columns, factors) in x.mixed.items():
        if (columns < x.width).all() and (small[columns] != 0).all():
            new = scale[p] * factors / small[columns]
            rest = scale[p] * x.constant[p] + shift[p] - new @ less[columns]
            rounding = 2 * FLOAT64 / walk.tolerance_of(op).unit  # what is kept is so to the bit
            around = (
                terms[p] + abs(scale[p]) * x.terms[p] + rounding * abs(new) @ abs(less[columns])
            )
            rows.put(p, MIXED, 0.0, rest, around, x.error[p])
            rows.mixed[p] = columns, new
    return rows


def _channels(walk, op, x, ours, theirs, folds):
    """Rows of out[p] = weight[:, p] · in[p] + bias[p], tap by tap."""
    (weight, bias, terms), (small, less) = ours, theirs
    tolerance = walk.tolerance_of(op)
    width, off, numbers = x.width, tolerance.off, tolerance.numbers
    kept, default = walk.kept(op.out), walk.default(op)
    silent = ~weight.any(axis=0)
    inside = (x.column >= 0) & (x.column < width)
    j = np.where(inside, x.column, 0)
    # kept: the same function of the same channel, times one factor
    same = silent | (inside & (x.column == default.column) & (x.constant == 0))
    theirs = x.fixed[np.minimum(default.column, width - 1)]
    with np.errstate(invalid="ignore"):
        apart = np.abs(x.constant - default.factor * theirs)
    same |= x.still & (apart <= LIMIT * tolerance.unit * np.abs(x.constant))
    same &= silent | (default.factor == np.where(x.still, default.factor, x.factor))
    unlike = (default.factor != 1) & ((bias != 0) | ~folds)
    for o in np.flatnonzero(kept & (~same | unlike))[:1]:
        walk.fault(op, o, "what it reads has changed")
    rows = default.where(kept & same & ~unlike)
    # gone: a multiple of the same channel's output, or a constant
    filters = np.where(inside, small[:, j], 0.0)
    value = tolerance.snapped(proportion(weight[:, None], filters[:, None]) * x.factor)
    usable = ~kept & inside & np.isfinite(value) & (value != 0)
    value = np.where(usable, value, 1.0)
    w, t, f, v, c = (numbers(a) for a in (weight, filters, x.factor, value, x.constant))
    error = off(w * f - t * v, magnitude(w * f) + magnitude(t * v), 8 * FLOAT64)
    error = np.maximum(error.max(axis=0, initial=0.0), x.error)
    rest = numbers(bias) + (w * c).sum(axis=0)
    around = terms + np.abs(weight.sum(axis=0)) * x.terms
    border = (not folds) & (x.constant != 0) & ~silent
    good = usable & (error <= LIMIT) & ~border
    lower = numbers(np.where(inside, np.asarray(less)[j], 0.0)) * v
    offset, reach = floats(rest - lower), around + np.abs(floats(lower))
    rows.put(good, *(part[good] for part in (x.column, value, offset, reach, error)))
    still = ~kept & (x.still | silent) & ~border
    rows.put(still, CONSTANT, 0.0, floats(rest)[still], around[still])
    return rows.settled(_constants(x, small, less, folds))


def _constants(x, small, less, folds):
    """The outputs of the pruned model that are constants: their values, else NaN."""
    mute, known = ~small.any(axis=0), ~np.isnan(x.fixed)
    inward = small.sum(axis=0) * np.where(known, x.fixed, 0.0)
    fixed = np.where(mute, less, np.where(known, inward + less, 0))
    unknown = ~mute & ~known | (~mute & known & (x.fixed != 0) & (not folds))
    return np.where(unknown, np.nan, fixed)
