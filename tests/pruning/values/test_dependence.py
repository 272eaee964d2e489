"""Columns that others make up for: planted ones are found, in whatever units, and no others."""

import numpy as np
import pytest

from keras_l2feat.pruning.values.dependence import dependence

BOUND = 5e-7


def check(columns, found):
    np.testing.assert_allclose(
        columns[:, found.pivots] @ found.mix, columns[:, found.others], rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("rows", "basis", "more"), [(30, 12, 5), (8, 8, 40), (50, 1, 0), (6, 3, 9)]
)
def test_planted_combinations_and_no_others(seed, rows, basis, more):
    random = np.random.default_rng(seed)
    columns = random.standard_normal((rows, basis))
    columns = np.concatenate([columns, columns @ random.standard_normal((basis, more))], axis=1)
    columns = (columns[:, random.permutation(basis + more)]).astype("float32").astype(float)
    free = np.ones(basis + more, dtype=bool)
    found = dependence(columns, np.abs(columns), free, BOUND)
    assert len(found.others) == more
    assert not set(found.others) & set(found.pivots)
    check(columns, found)
    units = 2.0 ** random.integers(-40, 40, (rows, 1))
    again = dependence(units * columns, np.abs(units * columns), free, BOUND)
    np.testing.assert_array_equal(again.others, found.others)


def test_what_has_to_stay_is_never_replaced():
    random = np.random.default_rng(0)
    columns = random.standard_normal((4, 9)).astype("float32").astype(float)
    free = np.arange(9) >= 3
    found = dependence(columns, np.abs(columns), free, BOUND)
    assert len(found.others) == 5
    assert free[found.others].all()
    assert {0, 1, 2} <= set(found.pivots.tolist())


def test_a_small_entry_counts_like_a_large_one():
    columns = np.array([[1.0, 0.3, 1.3], [0.2, -1.0, -0.8], [1e-9, 2e-9, 3.1e-9]])
    free = np.ones(3, dtype=bool)
    assert len(dependence(columns, np.abs(columns), free, BOUND).others) == 0
    columns[2, 2] = 3e-9
    assert len(dependence(columns, np.abs(columns), free, BOUND).others) == 1


def test_an_entry_may_be_off_by_the_rounding_of_its_terms():
    columns = np.array([[1.0, 0.3, 1.3], [0.2, -1.0, -0.8], [0.1, 0.1, 0.2 + 1e-6]])
    free, terms = np.ones(3, dtype=bool), np.abs(columns)
    assert len(dependence(columns, terms, free, BOUND).others) == 0
    terms[2] = 10.0
    assert len(dependence(columns, terms, free, BOUND).others) == 1
