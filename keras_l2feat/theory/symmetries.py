"""How many subspaces of equivalent networks there are, counted exactly and listed one by one.

A hidden layer of m neurons computes what r neurons compute when every one of the r is replicated at
least once (its copies share the outgoing weights) and the remaining neurons form zero-type groups
(copies of any one direction whose outgoing weights cancel). Each way to hand out the m places is
one affine subspace of equivalent networks. [Simsek et al. 2021]
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from fractions import Fraction

import numpy as np

from keras_l2feat.errors import bad_argument, require

Count = int | Sequence[int]  # of neurons, of one hidden layer or of each

__all__ = [
    "count_critical",
    "count_minima",
    "critical_to_minima",
    "crossover",
    "expansions",
    "mild_ratio",
    "surjections",
    "zero_groupings",
]


def surjections(r: int, m: int) -> int:
    """G(r, m): the ways to hand m places to r neurons so that each has at least one, Σ (−1)^{r−i}
    C(r, i) i^m."""
    _check(r, m)
    return (
        sum((-1) ** (r - i) * math.comb(r, i) * i**m for i in range(1, r + 1)) if r else int(m == 0)
    )


def zero_groupings(u: int) -> int:
    """g(u): the ways to cut u places into zero-type groups, whose order does not matter (the Bell
    numbers)."""
    _check(0, u)
    row = [1]
    for _ in range(u):  # Bell's triangle: each row starts with the last entry of the one above
        row = list(itertools.accumulate(row, initial=row[-1]))
    return row[0]


def count_minima(r: Count, m: Count) -> int:
    """T(r, m): affine subspaces of width-m networks that equal one irreducible network of width r.

    Args:
        r: neurons of the smallest network, at least 1; or one such number per hidden layer.
        m: neurons of the wider one, at least r; or one number per hidden layer.

    Returns: an exact integer, `G(r, m) + Σ_u C(m, u) G(r, m − u) g(u)`; for several layers the
        product over them.

    Raises:
        InputError: m < r somewhere, or another number of layers.
    """
    return math.prod(_minima(a, b) for a, b in _layers(r, m))


def count_critical(r: Count, m: Count) -> int:
    """G(r, m): affine subspaces of width-m critical points that replication makes of one critical
    point of width r.

    Arguments as in `count_minima`. Zero-type groups do not count: only at zero loss do they stay
    critical in general.
    """
    return math.prod(surjections(a, b) for a, b in _layers(r, m))


def critical_to_minima(r: Count, m: Count) -> Fraction:
    """How many critical subspaces there are for each subspace of minima at width m, if each
    narrower width has one irreducible critical point.

    With r the least width that reaches zero loss, `Σ_s ∏_l G(s_l, m_l) / ∏_l T(r_l, m_l)` over all
    s ≤ r, s ≠ r. Above 1, a network of width m has more critical subspaces than minima. [Simsek et
    al. 2021]

    Returns: an exact fraction; `float()` of it may overflow, the logarithms of its two parts do
        not.
    """
    layers = _layers(r, m)
    all_narrower = math.prod(sum(surjections(s, b) for s in range(1, a + 1)) for a, b in layers)
    return Fraction(all_narrower - count_critical(r, m), count_minima(r, m))


def crossover(r: int) -> int:
    """The least width m ≥ r from which on minima outnumber critical subspaces (one hidden layer; r
    = 1 has none)."""
    m = r
    while critical_to_minima(r, m) > 1:
        m += 1
    return m


def mild_ratio(k: int, h: int, r: int) -> float:
    """What `G(r − k, r + h) / T(r, r + h)` tends to as r grows, k and h fixed:
    `r^k h! / (2^k (h + k)!)`.

    So with few neurons to spare, critical subspaces outnumber minima by a power of the width. (From
    S(n, n − j) ~ n^{2j} / (2^j j!) for the Stirling numbers in G(r, m) = r! S(m, r).)
    """
    return r**k * math.factorial(h) / (2**k * math.factorial(h + k))


def expansions(r: int, m: int, *, zero_types: bool = True) -> Iterator[np.ndarray]:
    """Every way to hand the m places of a layer to r neurons and zero-type groups, each once.

    Yields: `owners`, int `(m,)`: `i ≥ 0` is a copy of neuron i, −1, −2, … the first, second, …
    zero-type group, in order of their first place. There are `count_minima(r, m)` of them, and
    `count_critical(r, m)` without zero types.
    """
    _layers(r, m)

    def extend(prefix, groups):
        missing = r - len({owner for owner in prefix if owner >= 0})
        if len(prefix) == m:
            yield np.array(prefix)
            return
        lowest = -(groups + 1) if zero_types else 0
        for owner in range(r - 1, lowest - 1, -1):
            fresh = owner >= 0 and owner not in prefix
            if missing - fresh <= m - len(prefix) - 1:
                yield from extend((*prefix, owner), max(groups, -owner))

    yield from extend((), 0)


def _minima(r, m):
    return sum(
        math.comb(m, u) * surjections(r, m - u) * zero_groupings(u) for u in range(m - r + 1)
    )


def _layers(r, m):
    """`[(r_1, m_1), …]` from numbers or sequences, checked."""
    narrow, wide = (tuple(v) if isinstance(v, (tuple, list)) else (v,) for v in (r, m))
    if len(narrow) != len(wide) or not narrow:
        raise bad_argument("m", f"one width per hidden layer, {len(narrow)} in all", m)
    for a, b in zip(narrow, wide):
        _check(a, b)
        require(1 <= a <= b, "m", f"at least r, and r at least 1, here r={r!r}", m)
    return list(zip(narrow, wide))


def _check(r, m):
    for name, value in (("r", r), ("m", m)):
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 0:
            raise bad_argument(name, "a whole number, at least 0", value)
