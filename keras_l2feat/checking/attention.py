"""Attention in two models: which heads have one pattern, and what becomes of the values that they
mix.

A head's pattern is a function of x ↦ (Q x)ᵀ K y, up to what does not depend on y. So heads are
compared by their forms S = Q Kᵀ, entry by entry, in units of |Q| |K|ᵀ: it does not matter which of
the dimensions were folded into which.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from keras_l2feat.checking.numbers import Dyadic, floats, ratio, stacked
from keras_l2feat.checking.products import Product
from keras_l2feat.checking.rows import CONSTANT, MIXED, Rows
from keras_l2feat.checking.tolerance import AMPLIFIED, FLOAT64, LIMIT
from keras_l2feat.checking.walk import Walk
from keras_l2feat.pruning.channels.operations import Attend

__all__ = ["attended"]

NEAR = 1e-3  # forms that are further apart than this are not compared entry by entry


class _Form(NamedTuple):
    """One head's form in one model: queries and keys (columns, dims), the last column of the
    queries that of the constant; the sizes of their terms; what multiplies their product."""

    query: object
    key: object
    reach: object
    size: object
    scale: object
    slack: float

    def product(self, reach=False):
        """S or |Q| |K|ᵀ, (columns of queries, columns of keys)."""
        left, right = (self.reach, self.size) if reach else (self.query, self.key)
        if isinstance(left, Dyadic):
            shape = left.shape[0], 1, left.shape[1]
            return (left.reshape(*shape) * right.reshape(1, *right.shape)).sum(axis=2) * self.scale
        return left @ right.T * self.scale

    def marks(self, random):
        """The form in a random direction, and its size there."""
        parts = [floats(part) for part in (self.query, self.key, self.reach, self.size)]
        left, right = (random.standard_normal(len(part)) for part in parts[:2])
        scale = float(floats(self.scale))
        return (
            scale * (left @ parts[0]) @ (right @ parts[1]),
            scale * (np.abs(left) @ parts[2]) @ (np.abs(right) @ parts[3]),
        )


def attended(
    walk: Walk, op: Attend, query: Rows, key: Rows, value: Rows, masks: Sequence[Rows]
) -> Rows:
    """Rows of what an `Attend` computes."""
    other = walk.other(op)
    for x in masks:
        if not x.plain:
            walk.fault(op, 0, "what it is masked by has changed")
    kept = walk.kept(op.out)
    alive = [h for h in range(op.head.max() + 1) if kept[op.head == h].any()]
    forms = _forms(walk, op, other, (query, key))
    if forms is None or len(forms[1]) != len(alive):
        walk.fault(op, 0, "has another number of heads, or of what they read")
        return walk.nothing(op)
    ours, theirs = forms
    same, error = _matched(walk.tolerance_of(op), ours, theirs, alive)
    for number, h in enumerate(alive):
        if same[h] != number:
            walk.fault(op, h, f"the products of a head are off by {error[h]:.3g} roundoffs")
            _blame(walk, op)
    share = _amplified(walk, op, (query, key), forms, alive, error)
    walk.changed(op.layer, error, share)
    return _mixed(walk, op, other, value, same)


def _forms(walk, op, other, inputs):
    """The forms of all heads, of the original and of the pruned model; `None` where what they read
    does not fit."""
    sides = []
    for x, ours, theirs in zip(inputs, (op.query(), op.key()), (other.query(), other.key())):
        if ours.shape[0] != x.count + 1 or theirs.shape[0] != x.width + 1:
            return None
        kernels = [(w[None, :-1].reshape(1, len(w) - 1, -1), w[-1].ravel()) for w in (ours, theirs)]
        sides.append(Product.pair(walk.tolerance_of(op), x, *kernels, True))
    shapes = [(each.query().shape[1:], each.key().shape[1:]) for each in (op, other)]
    if any(q[1] != k[1] or q[0] % k[0] for q, k in shapes):
        return None
    return [
        [
            _form(walk.tolerance_of(op), sides[0][n], sides[1][n], h, shapes[n], each.scale)
            for h in range(shapes[n][0][0])
        ]
        for n, each in enumerate((op, other))
    ]


def _form(tolerance, query, key, h, shapes, scale):
    (heads, dims), (groups, _) = shapes
    group = h // (heads // groups)
    q = query.of(np.arange(h * dims, (h + 1) * dims))
    k = key.of(np.arange(group * dims, (group + 1) * dims))
    row = 1, dims
    parts = [(q.value[0], q.constant.reshape(*row)), (q.size[0], q.terms.reshape(*row))]
    slack = 0.0 if tolerance.exact else q.slack + k.slack + (dims + 2) * FLOAT64
    values, sizes = (stacked(list(part), 0) for part in parts)
    return _Form(values, k.value[0], sizes, k.size[0], tolerance.numbers(scale), slack)


def _matched(tolerance, ours, theirs, alive):
    """The pruned head of the same pattern for each head, -1 for none; and how far they are apart,
    in roundoffs. A head that stays is its own."""
    seed = np.random.default_rng(0).integers(1 << 31)
    marks = [[form.marks(np.random.default_rng(seed)) for form in each] for each in (ours, theirs)]
    same, error = np.full(len(ours), -1), np.full(len(ours), np.inf)
    for h, form in enumerate(ours):
        own = [alive.index(h)] if h in alive else range(len(theirs))
        for number in own:
            (mark, reach), (other, far) = marks[0][h], marks[1][number]
            if h not in alive and abs(mark - other) > NEAR * (reach + far):
                continue
            error[h] = _apart(tolerance, form, theirs[number])
            if error[h] <= LIMIT:
                same[h] = number
                break
    return same, np.where(same >= 0, error, np.where(np.isin(range(len(ours)), alive), error, 0.0))


def _apart(tolerance, form, other):
    """How far two forms are apart, in roundoffs; by what one is itself where the other's terms
    cancel."""
    gap, terms = form.product() - other.product(), form.product(reach=True)
    slack = form.slack + other.slack
    error = tolerance.off(gap, terms + other.product(reach=True), slack).max(initial=0.0)
    if error > LIMIT:
        return error
    ends = ((floats(f.reach), floats(f.size)) for f in (form, other))
    query, key = (np.maximum(*(e.max(axis=1) for e in each)) for each in zip(*ends))
    share = tolerance.share(gap, terms, np.outer(query, key))
    return error if share <= AMPLIFIED else share


def _blame(walk, op):
    """What was removed of the heads' dimensions, and of what they read."""
    walk.blame(np.concatenate([op.units.ravel(), *(tensor.units for tensor in op.inputs[:2])]))


def _amplified(walk, op, inputs, forms, alive, error):
    """How far merged dimensions, and merged inputs, may move the products of a head that stays, in
    roundoffs of what they add up to afterwards."""
    worst = 0.0
    loose = [_loose(walk, tensor, x) for tensor, x in zip(op.inputs, inputs)]
    shapes = op.query().shape[1:], op.key().shape[1]
    for number, h in enumerate(alive):
        ours, theirs = forms[0][h], forms[1][number]
        sizes = [floats(part).sum(axis=0) for part in (ours.reach, ours.size)]
        after = floats(theirs.reach).sum(axis=0) @ floats(theirs.size).sum(axis=0)
        after, scale = after * float(floats(theirs.scale)), float(floats(ours.scale))
        places = h, h // (shapes[0][0] // shapes[1])
        effect = error[h] * (sizes[0] @ sizes[1])
        for side, kernel in enumerate((op.query(), op.key())):
            off = loose[side] @ np.abs(kernel[:-1, places[side]])
            effect += off @ sizes[1 - side]
        worst = max(worst, float(ratio(scale * effect, after)))
    if worst > AMPLIFIED:
        walk.fault(op, 0, f"merged units move a head's products by {worst:.3g} roundoffs")
        _blame(walk, op)
    return worst


def _loose(walk, tensor, x):
    """By how many roundoffs each input that is gone is off, (inputs,)."""
    off = np.zeros(x.count)
    p, _, factor = x.entries()
    np.add.at(off, p, np.abs(factor) * x.error[p])
    return np.where(walk.kept(tensor), 0.0, off)


def _single(rows, p):
    """The columns and factors of a row with one entry or none."""
    if rows.column[p] < 0:
        return [], []
    return [int(rows.column[p])], [float(rows.factor[p])]


def _mixed(walk, op, other, value, same):
    """Rows of values that are mixed by their heads' patterns: those of the values, head by head."""
    width = len(other.channel)
    theirs = {pair: c for c, pair in enumerate(zip(other.head.tolist(), other.channel.tolist()))}
    ours = {pair: c for c, pair in enumerate(zip(op.head.tolist(), op.channel.tolist()))}
    count = len(op.channel)
    column, mixed = width + np.arange(count), {}
    holds, given = np.ones(count, dtype=bool), np.nan_to_num(value.fixed) != 0
    parts = [part[op.channel] for part in (value.factor, value.constant, value.error)]
    terms = value.terms[op.channel]
    for c, (h, v) in enumerate(zip(op.head.tolist(), op.channel.tolist())):

        def seen(column, h=h):
            if column >= value.width:
                place = ours.get((h, column - value.width))
                return None if place is None else width + place
            return theirs.get((int(same[h]), column)) if same[h] >= 0 else None

        columns, factors = value.mixed.get(v) or _single(value, v)
        if value.constant[v] and not op.constants:  # seen as a constant of the pruned model is
            steady = [k for k in np.flatnonzero(given) if seen(k) is not None][:1]
            columns = [*columns, *(steady or [None])]
            factors = [*factors, *(value.constant[v] / value.fixed[steady])]
            parts[1][c] = 0.0
        places = [None if k is None else seen(k) for k in columns]
        holds[c] = None not in places
        if holds[c] and len(places) > 1:
            column[c], mixed[c] = MIXED, (np.array(places), np.array(factors))
        elif holds[c]:
            column[c], parts[0][c] = (places[0], factors[0]) if places else (CONSTANT, 0.0)
    fixed = value.fixed[other.channel]
    fixed = fixed if op.constants else np.where(fixed == 0, 0.0, np.nan)
    return Rows(width, column, *parts, mixed, fixed, terms).where(holds)
