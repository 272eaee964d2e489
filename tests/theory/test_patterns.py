"""Activation patterns and the cones in which they hold."""

import numpy as np
import pytest

from keras_l2feat.errors import InputError
from keras_l2feat.theory.patterns import Cones, pattern_count, patterns, sampled_patterns


def test_counts():
    assert [pattern_count(n, 2) for n in (1, 2, 3, 20)] == [2, 4, 6, 40]
    assert pattern_count(30, 3) == 872
    # orthogonal data allow everything
    assert [pattern_count(n, 50) for n in (1, 5, 10)] == [2, 32, 1024]
    with pytest.raises(InputError, match="'n' must be at least 0"):
        pattern_count(-1, 2)


@pytest.mark.parametrize("n, d", [(7, 1), (9, 2), (8, 3), (4, 6)])
def test_patterns_are_all_and_only_those_of_neurons(n, d):
    x = np.random.default_rng(n).standard_normal((n, d))
    found = patterns(x)
    assert found.shape == (pattern_count(n, d), n)
    rows = {row.tobytes() for row in found}
    assert {row.tobytes() for row in sampled_patterns(x, 2000, seed=1)} <= rows


def test_cones_are_tiled_by_their_simplices():
    """Every neuron lies in one simplicial cone of its own cell, and in no other."""
    for n, d in [(5, 2), (7, 3), (6, 4)]:
        x = np.random.default_rng(d).standard_normal((n, d))
        cones = Cones.of(x)
        assert len(cones.signs) == pattern_count(n, d)
        for w in np.random.default_rng(0).standard_normal((40, d)):
            holders = [
                cell
                for cell, group in enumerate(cones.generators)
                for rays in group
                if (np.linalg.solve(rays, w) >= 0).all()
            ]
            assert len(holders) == 1
            assert (np.sign(x @ w) == cones.signs[holders[0]]).all()


def test_cones_of_points_that_span_less():
    x = np.random.default_rng(0).standard_normal((5, 2)) @ np.random.default_rng(1).standard_normal(
        (2, 4)
    )
    cones = Cones.of(x)
    assert len(cones.signs) == 10
    assert all(rays.shape == (4, 2) for group in cones.generators for rays in group)
