"""What attention does to values: heads with one pattern, and dimensions of which only products
count.

A head's pattern is a function of the bilinear form Q Kᵀ of its queries and keys alone, up to what
is the same for all keys (a softmax does not see it): heads whose forms are equal mix alike, so that
their values can be compared. Within a head, Σ_d q_d k_d loses the dimension d if k_d is a
combination of other keys, whose queries take it over, or the reverse.
"""

from typing import NamedTuple

import numpy as np

from keras_l2feat.pruning.channels.operations import Attend
from keras_l2feat.pruning.values.dependence import dependence
from keras_l2feat.pruning.values.forms import Forms, Reading
from keras_l2feat.pruning.values.readings import Readings

__all__ = ["attended"]

NEAR = 1e-4  # forms further apart than this, in a random direction, are not compared


def attended(values: Readings, op: Attend, query: Forms, key: Forms, value: Forms) -> Forms:
    """The forms of what an `Attend` computes; readings of all that it reads are noted."""
    q, k = (
        _projected(values, op.inputs[n], forms, rows(), op.reads[n])
        for n, (forms, rows) in enumerate(((query, op.query), (key, op.key)))
    )
    groups = len(op.units)
    q, k = (_Heads(forms, count) for forms, count in ((q, op.head.max() + 1), (k, groups)))
    _scores(values, op, q, k)
    groups = _patterns(values, q, k)[op.head]
    return values.mixed(value.taken(op.channel), groups, op.tag, constants=op.constants)


def _projected(values, tensor, forms, rows, name):
    """What the heads make of a tensor: rows (inputs + 1, heads, dims), the bias in the last."""
    kernel, bias = rows[None, :-1].reshape(1, len(rows) - 1, -1), rows[-1].ravel()
    read = values.settled(tensor, kernel, values.reading(tensor, forms))
    values.readings[name].append(read)
    return values.applied(kernel, read, None, True, bias)


class _Heads:
    """Forms by head: `matrix` and `terms` (heads, atoms and the constant, dims)."""

    def __init__(self, forms, count):
        parts = (
            np.concatenate([forms.matrix, forms.constant[None]]),
            np.concatenate([forms.spread, forms.shift[None]]),
        )
        self.matrix, self.terms = (
            np.moveaxis(part.reshape(len(part), count, -1), 1, 0) for part in parts
        )


class _Span(NamedTuple):
    """Which of some columns are zero, and which are combinations: columns[:, others] =
    columns[:, pivots] @ mix."""

    zero: np.ndarray
    pivots: np.ndarray
    others: np.ndarray
    mix: np.ndarray

    @classmethod
    def of(cls, columns, terms, bound):
        zero = (np.abs(columns) <= bound * terms).all(axis=0)
        live = np.flatnonzero(~zero)
        found = dependence(columns[:, live], terms[:, live], np.ones(len(live), bool), bound)
        return cls(np.flatnonzero(zero), live[found.pivots], live[found.others], found.mix)

    @property
    def gain(self):
        return len(self.others)


def _scores(values, op, q, k):
    """Note for each head which dimensions others make up for, on the side where they are more."""
    wide, narrow = len(q.matrix), len(k.matrix)
    each = wide // narrow
    told = {"queries": [], "keys": []}
    for group in range(narrow):
        heads = slice(group * each, (group + 1) * each)
        count = k.matrix.shape[2]
        sides = {
            "keys": (k.matrix[group, :-1], k.terms[group, :-1]),
            "queries": tuple(part[heads].reshape(-1, count) for part in (q.matrix, q.terms)),
        }
        spans = {side: _Span.of(*pair, values.slack(len(pair[0]))) for side, pair in sides.items()}
        idle = np.union1d(spans["keys"].zero, spans["queries"].zero)
        better = max(spans, key=lambda side: spans[side].gain)
        for side, times in (("keys", each), ("queries", 1)):
            for _ in range(times):
                told[side].append(_reading(values, count, idle, spans[better], side == better))
    for side, names in (("keys", op.keys), ("queries", op.queries)):
        for name in names:
            values.readings[name].append(Reading.joined(told[side]))


def _reading(values, count, idle, span, folds):
    """What the weights of one side see of the other's dimensions: those that are combinations as
    such where they fold, else nothing, since they are gone."""
    atoms, scales = values.new(count), np.ones(count)
    scales[idle] = 0.0
    scales[span.others] = 0.0
    plain = Reading.plain(atoms, scales, *np.zeros((3, count)))
    if folds and len(span.others):
        kept = ~np.isin(span.others, idle)
        plain.dependents, plain.basis = span.others[kept], atoms[span.pivots]
        plain.mix = span.mix[:, kept]
        plain.atoms[span.others[kept]] = -1
    return plain


def _patterns(values, q, k):
    """For each query head the first one that attends alike, (heads,) int."""
    random = np.random.default_rng(0)
    each = len(q.matrix) // len(k.matrix)
    heads = []
    for h in range(len(q.matrix)):
        g = h // each
        heads.append((q.matrix[h], k.matrix[g, :-1], q.terms[h], k.terms[g, :-1]))
    left, right = (random.standard_normal(len(part)) for part in heads[0][:2])
    marks = [(left @ a) @ (right @ b) for a, b, *_ in heads]
    reach = [(np.abs(left) @ c) @ (np.abs(right) @ d) for *_, c, d in heads]
    bound = 2 * values.slack(len(left) + len(right))
    leaders = np.arange(len(heads))
    for h, (a, b, c, d) in enumerate(heads):
        for first in np.unique(leaders[:h]):
            if abs(marks[h] - marks[first]) > NEAR * (reach[h] + reach[first]):
                continue
            other = heads[first]
            gap = np.abs(a @ b.T - other[0] @ other[1].T)
            if (gap <= bound * (c @ d.T + other[2] @ other[3].T)).all():
                leaders[h] = first
                break
    return leaders
