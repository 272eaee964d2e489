"""Counts of equivalent networks: closed forms against lists made one by one."""

import itertools
import math

import numpy as np
import pytest

from keras_l2feat.errors import InputError
from keras_l2feat.theory import symmetries


@pytest.mark.parametrize("r, m, minima", [(1, 3, 10), (2, 4, 62), (3, 5, 450), (3, 6, 3120)])
def test_minima_are_as_many_as_known(r, m, minima):
    assert symmetries.count_minima(r, m) == minima


@pytest.mark.parametrize("r, m, critical", [(2, 4, 14), (3, 5, 150), (4, 4, 24), (1, 7, 1)])
def test_critical_subspaces_are_as_many_as_known(r, m, critical):
    assert symmetries.count_critical(r, m) == critical


def test_zero_groupings_are_the_bell_numbers():
    assert [symmetries.zero_groupings(u) for u in range(9)] == [1, 1, 2, 5, 15, 52, 203, 877, 4140]


@pytest.mark.parametrize("r, m", [(1, 1), (1, 4), (2, 2), (2, 5), (3, 3), (3, 5), (3, 6), (4, 6)])
def test_the_list_holds_each_expansion_once_and_agrees_with_the_count(r, m):
    listed = [tuple(owners) for owners in symmetries.expansions(r, m)]
    assert len(listed) == len(set(listed)) == symmetries.count_minima(r, m)
    replications = [owners for owners in listed if min(owners) >= 0]
    assert len(replications) == symmetries.count_critical(r, m)
    assert replications == [
        tuple(owners) for owners in symmetries.expansions(r, m, zero_types=False)
    ]


@pytest.mark.parametrize("r, m", [(1, 4), (2, 4), (2, 5), (3, 5)])
def test_the_list_is_complete(r, m):
    """Against brute force: label the places in all ways, forget the names of the groups beyond the
    r neurons."""
    seen = set()
    for labels in itertools.product(range(m), repeat=m):
        if set(range(r)) <= set(labels):
            groups = frozenset(
                frozenset(np.flatnonzero(np.array(labels) == extra).tolist())
                for extra in set(labels) - set(range(r))
            )
            seen.add((tuple(label if label < r else -1 for label in labels), groups))
    assert len(seen) == symmetries.count_minima(r, m)


def test_several_layers_multiply():
    assert symmetries.count_minima((1, 2), (3, 4)) == 10 * 62
    assert symmetries.count_critical([2, 3], [4, 5]) == 14 * 150


def test_counts_are_exact_far_beyond_floats():
    minima = symmetries.count_minima(60, 300)
    assert minima > 10**500
    assert minima % math.factorial(60) == 0  # the r neurons may be permuted
    # Σ_j G(r + j, m) / j!: the same number by its generating function (e^x − 1)^r exp(e^x − 1)
    other = sum(symmetries.surjections(12 + j, 40) // math.factorial(j) for j in range(29))
    assert symmetries.count_minima(12, 40) == other


def test_minima_win_only_when_there_are_many_neurons_to_spare():
    assert symmetries.critical_to_minima(10, 11) > 1
    assert symmetries.critical_to_minima(10, 60) < 1e-3
    for r in range(2, 12):
        m = symmetries.crossover(r)
        assert symmetries.critical_to_minima(r, m) <= 1
        assert m == r or symmetries.critical_to_minima(r, m - 1) > 1
    assert symmetries.crossover(20) > symmetries.crossover(10) > 10


def test_ratio_at_several_layers_counts_all_narrower_widths():
    narrower = [(1, 1), (1, 2), (2, 1)]
    critical = sum(symmetries.count_critical(s, (4, 3)) for s in narrower)
    assert (
        symmetries.critical_to_minima((2, 2), (4, 3)) * symmetries.count_minima((2, 2), (4, 3))
        == critical
    )


@pytest.mark.parametrize("k, h", [(1, 0), (1, 1), (2, 1), (2, 3)])
def test_mild_overparametrization_follows_its_asymptote(k, h):
    errors = []
    for r in (50, 200, 800):
        exact = symmetries.count_critical(r - k, r + h) / symmetries.count_minima(r, r + h)
        errors.append(abs(exact / symmetries.mild_ratio(k, h, r) - 1))
    assert errors[2] < errors[1] < errors[0]
    assert errors[2] < 0.05


@pytest.mark.parametrize("r, m", [(3, 2), (0, 2), (-1, 2), (1.5, 2), ((1, 2), (3,)), (True, 2)])
def test_impossible_widths_are_refused(r, m):
    with pytest.raises(InputError, match="Received"):
        symmetries.count_minima(r, m)
