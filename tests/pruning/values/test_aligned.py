"""Aligned groups: everything planted is found, nothing else, whatever the shape, order, dtype and
scaling."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_l2feat.activations import Scaling
from keras_l2feat.errors import InputError
from keras_l2feat.pruning.values.aligned import aligned_groups, tolerance


def roots(groups, n_units):
    """Each unit's representative (itself, where it is in no group) and factor."""
    root, factor = np.arange(n_units), np.ones(n_units)
    for group in groups:
        root[group.members], factor[group.members] = group.representative, group.factors
    return root, factor


FACTORS = {
    Scaling.POSITIVE: lambda random, k: np.exp(random.uniform(-3, 3, k)),
    Scaling.LINEAR: lambda random, k: (
        np.exp(random.uniform(-3, 3, k)) * random.choice([-1.0, 1.0], k)
    ),
    Scaling.ODD: lambda random, k: random.choice([-1.0, 1.0], k),
    Scaling.IDENTITY: lambda random, k: np.ones(k),
}


def planted(random, n_units, length, scaling, dtype):
    """Random units, a part of them multiples of others; the representatives (lowest index of a
    group)."""
    unit_of = random.integers(0, max(1, n_units // 2), n_units)
    directions = random.standard_normal((n_units, length))
    vectors = (FACTORS[scaling](random, n_units)[:, None] * directions[unit_of]).astype(dtype)
    first = {unit: i for i, unit in reversed(list(enumerate(unit_of)))}
    return vectors, np.array([first[unit] for unit in unit_of])


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n_units=st.integers(2, 60),
    length=st.integers(3, 40),
    scaling=st.sampled_from(list(FACTORS)),
    dtype=st.sampled_from(["float32", "float64"]),
    order=st.sampled_from("CF"),
)
def test_all_planted_groups_and_no_others(seed, n_units, length, scaling, dtype, order):
    random = np.random.default_rng(seed)
    vectors, expected = planted(random, n_units, length, scaling, dtype)
    root, factor = roots(aligned_groups(np.asarray(vectors, order=order), scaling), n_units)
    np.testing.assert_array_equal(root, expected)
    gap = np.linalg.norm(vectors - factor[:, None] * vectors[root].astype(float), axis=1)
    assert (
        gap <= 1.5 * tolerance(dtype, length) * np.linalg.norm(vectors.astype(float), axis=1)
    ).all()


@pytest.mark.parametrize("scaling", [*FACTORS, Scaling.COUPLED])
def test_a_scaling_allows_its_own_factors_and_no_more(scaling):
    w = np.array([[1.0, -2.0, 3.0]])
    vectors = np.concatenate([w, w, 2 * w, -w, -0.5 * w])
    expected = {
        Scaling.POSITIVE: [0, 0, 0, 3, 3],
        Scaling.LINEAR: [0, 0, 0, 0, 0],
        Scaling.ODD: [0, 0, 2, 0, 4],
        Scaling.IDENTITY: [0, 0, 2, 3, 4],
        Scaling.COUPLED: [0, 1, 2, 3, 4],
    }
    np.testing.assert_array_equal(roots(aligned_groups(vectors, scaling), 5)[0], expected[scaling])


def test_parts_side_by_side_are_one_matrix():
    random = np.random.default_rng(3)
    vectors, expected = planted(random, 300, 17, Scaling.POSITIVE, "float32")
    kernel, bias = np.asfortranarray(vectors[:, :-1]), vectors[:, -1:]
    whole, parts = (
        roots(aligned_groups(v, Scaling.POSITIVE), 300) for v in (vectors, (kernel, bias))
    )
    np.testing.assert_array_equal(whole[0], expected)
    np.testing.assert_array_equal(parts[0], expected)
    other_bias = bias + np.arange(300, dtype="float32")[:, None]
    assert aligned_groups((kernel, other_bias), Scaling.IDENTITY) == []


def test_half_precision_uses_its_own_rounding():
    random = np.random.default_rng(4)
    vectors, expected = planted(random, 200, 64, Scaling.POSITIVE, "float16")
    np.testing.assert_array_equal(
        roots(aligned_groups(vectors, Scaling.POSITIVE), 200)[0], expected
    )
    as_double = vectors.astype(float)
    assert len(aligned_groups(as_double, Scaling.POSITIVE)) < len(
        aligned_groups(as_double, Scaling.POSITIVE, "float16")
    )


def test_a_deviation_beyond_rounding_is_no_alignment():
    """Every entry is judged by itself: one that is off is seen, however small it is."""
    random = np.random.default_rng(5)
    w = random.standard_normal((1, 50)) * 10.0 ** random.uniform(-12, 0, 50)
    w = w.astype("float32")
    for size, found in [(0.4, 1), (3.0, 0)]:
        off = 1 + size * tolerance("float32", 50) * random.choice([-1, 1], 50)
        moved = (w * off).astype("float32")
        assert len(aligned_groups(np.concatenate([w, moved]), Scaling.POSITIVE)) == found
    moved = w.copy()
    moved[0, np.abs(w).argmin()] *= 1.0001
    assert aligned_groups(np.concatenate([w, moved]), Scaling.POSITIVE) == []


@pytest.mark.parametrize("scaling", list(FACTORS))
def test_sums_are_judged_by_what_they_were_added_up_from(scaling):
    """An entry may be off by what rounding explains of its terms, but what is left after cancelling
    must not differ by more than a few roundings of the unit."""
    w = np.array([[1.0, -2.0, 3.0, 1e-6]])
    noise = 2 * tolerance("float32", 4, 2)
    for entry, terms, found in [
        (noise / 4, 1.0, 1),  # a small entry that was added up from 1
        (noise / 4, 1e-6, 0),
        (1.0, 1e7, 0),  # backward stable, and another function
    ]:
        other = w + [[0, 0, 0, entry]]
        size = np.abs(np.concatenate([w, other]))
        size[:, 3] = np.maximum(size[:, 3], terms)
        vectors = np.concatenate([w, other])
        groups = aligned_groups(vectors, scaling, "float32", terms=[size])
        assert len(groups) == found


def test_zero_and_not_finite_units_are_left_out():
    vectors = np.array(
        [[0.0, 0.0], [0.0, 0.0], [np.nan, 1.0], [np.inf, 1.0], [1.0, 1.0], [2.0, 2.0]]
    )
    (group,) = aligned_groups(vectors, Scaling.POSITIVE)
    assert group.representative == 4
    assert group.members.tolist() == [5]


@pytest.mark.parametrize("scale", [1e-100, 1e-6, 1e6, 1e100])
def test_scale_does_not_matter(scale):
    vectors, expected = planted(np.random.default_rng(7), 100, 10, Scaling.POSITIVE, "float64")
    np.testing.assert_array_equal(
        roots(aligned_groups(scale * vectors, Scaling.POSITIVE), 100)[0], expected
    )


def test_degenerate_shapes():
    assert aligned_groups(np.zeros((0, 3)), Scaling.POSITIVE) == []
    assert aligned_groups(np.zeros((4, 0)), Scaling.POSITIVE) == []
    assert aligned_groups(np.ones((1, 3)), Scaling.POSITIVE) == []
    (positive, negative) = aligned_groups(
        np.array([[1.0], [-1.0], [3.0], [-4.0]]), Scaling.POSITIVE
    )
    assert (positive.members.tolist(), negative.members.tolist()) == ([2], [3])
    with pytest.raises(InputError, match="'vectors' must be a matrix"):
        aligned_groups(np.zeros(3), Scaling.POSITIVE)


@pytest.mark.parametrize("scaling", list(FACTORS))
def test_groups_in_a_crowd_on_almost_one_ray(scaling):
    """Units so near each other that projections, which average, do not tell them apart; half of
    them are there twice."""
    random = np.random.default_rng(8)
    near = random.standard_normal(300) * (1 + 2e-6 * random.standard_normal((400, 300)))
    factors = FACTORS[scaling](random, 200)[:, None]
    vectors = np.concatenate([near, factors * near[:200]]).astype("float32")
    order = random.permutation(len(vectors))
    groups = aligned_groups(vectors[order], scaling)
    found = {tuple(sorted(order[[g.representative, *g.members]].tolist())) for g in groups}
    assert found == {(k, 400 + k) for k in range(200)}
