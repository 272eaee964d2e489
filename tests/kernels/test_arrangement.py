"""Cells and faces of hyperplane arrangements, in any position of the points."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_l2feat.errors import InputError
from keras_l2feat.kernels.arrangement import cell_count, cells, faces, row_space


@pytest.mark.parametrize(
    "n, d", [(1, 1), (5, 1), (8, 2), (20, 2), (12, 3), (30, 3), (9, 4), (6, 6), (5, 9)]
)
def test_general_position_has_as_many_cells_as_the_formula(n, d):
    found = cells(np.random.default_rng(n).standard_normal((n, d)))
    assert found.shape == (cell_count(n, d), n)
    assert len(np.unique(found, axis=0)) == len(found)


@settings(max_examples=30)
@given(st.integers(0, 2**31), st.integers(1, 4), st.integers(1, 7))
def test_cells_are_those_that_neurons_meet_in_any_position(seed, d, n):
    """Points on a small grid: parallel, repeated, zero and dependent ones abound."""
    generator = np.random.default_rng(seed)
    points = generator.integers(-1, 2, (n, d)).astype(float)
    met = {
        row.tobytes()
        for row in np.sign(generator.standard_normal((4000, d)) @ points.T).astype(np.int8)
    }
    found = {row.tobytes() for row in cells(points)}
    assert met <= found
    # what was not met is thin, yet real: the cells of an arrangement alternate, so opposite ones
    # come in pairs
    assert all((-np.frombuffer(row, np.int8)).tobytes() in found for row in found)
    if d <= 2:
        assert met == found


def test_faces_partition_the_sphere():
    """Euler's relation of the cell complex on the sphere S^(d−1): Σ (−1)^k faces_k = 1 +
    (−1)^(d−1)."""
    for n, d in [(5, 2), (6, 3), (6, 4)]:
        numbers = [
            len(block.signs) for block in faces(np.random.default_rng(d).standard_normal((n, d)))
        ]
        assert len(numbers) == d
        assert sum((-1) ** (d - 1 - k) * count for k, count in enumerate(numbers)) == 1 + (-1) ** (
            d - 1
        )


def test_faces_lie_on_their_flats():
    a = np.random.default_rng(0).standard_normal((6, 3))
    for dimension, block in zip((3, 2, 1), faces(a)):
        assert block.bases.shape[1:] == (3, dimension)
        heights = np.matmul(a, block.bases)[block.flats]
        assert np.abs(heights[block.signs == 0]).max(initial=0.0) < 1e-9
        assert ((block.signs == 0).sum(axis=1) == 3 - dimension).all()


def test_row_space_ignores_what_points_do_not_see():
    x = np.random.default_rng(1).standard_normal((4, 2)) @ np.random.default_rng(2).standard_normal(
        (2, 7)
    )
    space = row_space(x)
    assert space.shape == (7, 2)
    assert np.allclose(x @ space @ space.T, x)
    assert row_space(np.zeros((3, 2))).shape == (2, 0)


def test_too_many_cells_are_refused():
    with pytest.raises(InputError, match="out of reach: 40 points of rank 20"):
        cells(np.random.default_rng(0).standard_normal((40, 20)))
