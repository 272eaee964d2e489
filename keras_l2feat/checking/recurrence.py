"""Recurrent layers in two models, by induction over time: rows of the states that hold one step
later if they hold now."""

import numpy as np

from keras_l2feat.activations import Scaling
from keras_l2feat.checking import joins
from keras_l2feat.checking.products import Product
from keras_l2feat.checking.rows import CONSTANT, Rows
from keras_l2feat.checking.sizes import amplification
from keras_l2feat.checking.tolerance import AMPLIFIED, LIMIT
from keras_l2feat.checking.walk import Walk
from keras_l2feat.pruning.channels.operations import Recurrent

__all__ = ["recurred"]


def recurred(walk: Walk, op: Recurrent, x: Rows) -> Rows:
    """Rows of what a `Recurrent` computes."""
    kernel, smaller = op.kernel(), walk.other(op).kernel()
    state = walk.default(op)
    shapes = [(x.count + state.count + 1, state.count), (x.width + state.width + 1, state.width)]
    if [k.shape[1:] for k in (kernel, smaller)] != shapes:
        walk.fault(op, 0, f"the kernel has the shape {smaller.shape}")
        return walk.nothing(op)
    if (state.factor != 1).any():
        walk.fault(op, 0, "its units cannot be rescaled")
    for reads in (x, x.spare):
        found, error = _settled(walk, op, reads, _claimed(walk, op, state), kernel, smaller)
        if x.spare is None or reads is x.spare or (error[walk.kept(op.out)] <= LIMIT).all():
            break
    kept = np.flatnonzero(walk.kept(op.out))
    bad = kept[error[kept] > LIMIT]
    for o in bad[:1]:
        walk.fault(op, o, f"weights are off by {error[o]:.3g} roundoffs")
        walk.blame(np.concatenate([op.inputs[0].units, op.out.units]))
    share = _amplified(walk, op, (reads, found), (kernel, smaller), kept)
    walk.changed(op.reader, error, share)
    return found


def _claimed(walk, op, state):
    """What is to be shown: a unit that is gone is a multiple of one that stays, as told, or 0."""
    units = op.out.units.tolist()
    place = {unit: p for p, unit in enumerate(units)}
    for o in np.flatnonzero(~walk.kept(op.out)).tolist():
        told = [t for t in walk.maps.sources.get(units[o], ()) if len(t) == 1]
        told = [(place[u], f) for t in told for u, f in t.items() if u in place]
        if told:
            factor = float(walk.tolerance.snapped(told[0][1]))
            column = int(state.column[told[0][0]])
            if column < state.width and _commutes(op.scaling, factor):
                state.put(o, column, factor)
        elif op.rests:
            state.put(o, CONSTANT)
    return state


def _commutes(scaling, factor):
    if scaling is Scaling.LINEAR:
        return factor != 0
    if scaling is Scaling.POSITIVE:
        return factor > 0
    return abs(factor) == 1 if scaling is Scaling.ODD else factor == 1


def _settled(walk, op, x, state, kernel, smaller):
    """The rows of the claim that hold: without those that one step refutes, and without those that
    needed them, and so on.

    Returns: rows, and how far each unit's weights are off, in roundoffs.
    """
    one = Rows(1, np.array([CONSTANT]), np.zeros(1), np.ones(1), np.zeros(1), fixed=np.ones(1))
    nothing = [np.zeros(k.shape[2]) for k in (kernel, smaller)]
    while True:
        whole = joins.concat(walk, op, x, state, one)
        pair = Product.pair(
            walk.tolerance_of(op), whole, (kernel, nothing[0]), (smaller, nothing[1]), False
        )
        error = _errors(walk.tolerance_of(op), op, state, *pair)
        fails = (error > LIMIT) & (state.column < state.width)
        if not (fails & ~walk.kept(op.out)).any():
            state.error = np.where(fails, 0.0, error)
            return state.where(~fails), np.where(state.column < state.width, error, 0.0)
        state = state.where(~fails | walk.kept(op.out))


def _errors(tolerance, op, state, ours, theirs):
    """How far each unit's gates are from those of the unit that it comes from, (units,)."""
    error = np.zeros(state.count)
    zero = state.column == CONSTANT
    for block in ours.blocks(np.flatnonzero(state.column < state.width)):
        mine, other = ours.of(block), theirs.of(np.maximum(state.column[block], 0))
        factor = np.where(op.signed[:, None], state.factor[block], 1.0)
        factor = np.where(zero[block], 0.0, factor)[:, None]
        d = tolerance.numbers(factor)
        off = tolerance.off(
            mine.value - other.value * d,
            mine.size + other.size * abs(d),
            mine.slack + other.slack,
        )
        counts = op.signed[:, None] | ~zero[block]  # the gates of what stays 0 do not
        error[block] = np.where(counts, off.max(axis=1, initial=0.0), 0.0).max(axis=0)
    return error


def _amplified(walk, op, rows, kernels, kept):
    """How far merged inputs and merged states may move a gate, in roundoffs."""
    x, state = rows
    units = op.inputs[0].units, op.out.units
    sizes = walk.sizes.channels[op.inputs[0].number], np.ones(state.width)
    ends = (0, x.count, x.count + state.count), (0, x.width, x.width + state.width)
    worst = 0.0
    for part, (read, size) in enumerate(zip((x, state), sizes)):
        gone = ~walk.maps.kept[units[part]]
        if len(kept) and (gone & (read.error > 0)).any():
            kernel, smaller = (k[:, e[part] : e[part + 1]] for k, e in zip(kernels, ends))
            after = size @ np.abs(smaller).sum(axis=0)
            share, moved = amplification(kernel, after, size, read, walk.default(op), kept, gone)
            worst = max(worst, float(share.max()))
            if worst > AMPLIFIED:
                walk.fault(
                    op, kept[share.argmax()], f"merged units move a gate by {worst:.3g} roundoffs"
                )
                walk.blame(units[part][moved])
    return worst
