"""Bounds on the neurons that a layer needs, on layers whose need is planted."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_l2feat.errors import InputError
from keras_l2feat.network import DenseNetwork
from keras_l2feat.theory import manifold, ranks


@settings(max_examples=30)
@given(
    n=st.integers(2, 8),
    rays=st.integers(1, 6),
    copies=st.integers(0, 10),
    dead=st.integers(0, 3),
    seed=st.integers(0, 999),
)
def test_planted_copies_are_seen_through(n, rays, copies, dead, seed):
    generator = np.random.default_rng(seed)
    base = generator.standard_normal((n, rays))
    extra = base[:, generator.integers(rays, size=copies)] * generator.uniform(0.1, 3, copies)
    z = generator.permutation(np.hstack([base, extra, np.zeros((n, dead))]), axis=1)
    bounds = ranks.rank_bounds(z)
    assert bounds.units == rays + copies + dead
    assert bounds.alive == rays + copies
    assert bounds.rays == rays
    assert bounds.caratheodory <= rays
    assert bounds.rank_k == min(n, rays)
    assert bounds.lower <= bounds.upper <= rays
    assert bounds.theoretical == n * (n + 1)


def test_many_neurons_on_few_points_reduce_to_the_dimension_of_their_span():
    z = np.random.default_rng(0).standard_normal((3, 200))
    bounds = ranks.rank_bounds(z)
    assert bounds.rays == 200
    assert bounds.caratheodory <= 3 * 4
    assert bounds.as_dict()["upper"] == bounds.caratheodory


def test_expansion_changes_no_bound():
    network = DenseNetwork.random((4, 5, 3, 2), seed=1)
    x = np.random.default_rng(0).standard_normal((12, 4))
    wide = manifold.widen(network, (11, 9), seed=2)
    for narrow, expanded in zip(ranks.rank_report(network, x), ranks.rank_report(wide, x)):
        assert (narrow.lower, narrow.rays, narrow.caratheodory) == (
            expanded.lower,
            expanded.rays,
            expanded.caratheodory,
        )


def test_disjoint_neurons_are_all_needed():
    bounds = ranks.rank_bounds(np.kron(np.eye(4), np.ones((2, 1))))
    assert bounds.lower == bounds.upper == bounds.fooling == 4


def test_other_activations_are_refused():
    with pytest.raises(InputError, match="positively homogeneous"):
        ranks.rank_bounds(np.eye(2), activation="tanh")
