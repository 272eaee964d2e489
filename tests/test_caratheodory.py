"""Same outputs on the data, norm not larger, as few neurons as the atoms' span has dimensions."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_l2feat.caratheodory import basic_solution, covariance_atoms, reduce_layer, reduce_network
from keras_l2feat.errors import InputError
from keras_l2feat.network import DenseNetwork


def dense_network(widths, seed, **options):
    network = DenseNetwork.random(widths, seed=seed, **options)
    random = np.random.default_rng(seed + 1)
    return network.with_weights(
        [w + 0.1 * random.standard_normal(w.shape) for w in network.weights]
    )


def check(network, small, x):
    y = network(x)
    assert np.abs(small(x) - y).max() <= 1e-9 * np.abs(y).max()
    assert small.squared_norm <= network.squared_norm * (1 + 1e-12)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    rank=st.integers(1, 12),
    n=st.integers(1, 60),
    rows=st.integers(1, 40),
    scale=st.floats(1e-6, 1e6),
)
def test_a_basic_solution_is_feasible_basic_and_cheaper(seed, rank, n, rows, scale):
    random = np.random.default_rng(seed)
    atoms = scale * random.standard_normal((rows, rank)) @ random.standard_normal((rank, n))
    costs = random.uniform(0, 1, n)
    mu, found = basic_solution(atoms, costs)
    assert (mu >= 0).all()
    assert np.count_nonzero(mu) <= found == min(rank, n, rows)
    assert costs @ mu <= costs.sum() * (1 + 1e-12)
    np.testing.assert_allclose(
        atoms @ mu, atoms.sum(axis=1), rtol=0, atol=1e-10 * np.abs(atoms).max() * n
    )


def test_zero_atoms_cost_nothing():
    mu, rank = basic_solution(np.array([[1.0, 0.0, 2.0]]), np.array([1.0, 5.0, 1.0]))
    assert (mu[1], rank) == (0.0, 1)
    assert mu @ [1.0, 0.0, 2.0] == pytest.approx(3.0)
    assert mu[0] == 0.0  # the cheaper direction per output is the second atom


# Spans counted by hand: outputs N p; features N(N+1)/2; pairs that plus d(d+1)/2, z being in d =
# rank(A) dimensions.
@pytest.mark.parametrize(
    ("kind", "points", "widths", "span"),
    [
        ("outputs", 7, (4, 120, 3), 21),
        ("features", 5, (4, 200, 2), 15),
        ("covariances", 5, (2, 200, 2), 15 + 6),
        ("covariances", 4, (6, 300, 2), 10 + 10),
    ],
)
@pytest.mark.parametrize("activation", ["relu", "leaky_relu"])
def test_wide_networks_come_down_to_the_span(kind, points, widths, span, activation):
    network = dense_network(widths, 11, activation=activation)
    x = np.random.default_rng(12).standard_normal((points, widths[0]))
    small, (reduction,) = reduce_network(network, x, kinds=(kind,))
    assert reduction.kind == kind
    assert reduction.span <= span
    assert small.hidden[0] <= reduction.span
    if activation != "relu":  # no dead neurons, so a generic network fills the span
        assert reduction.span == span
    check(network, small, x)


def test_covariance_pairs_are_kept():
    """K and K^σ before and after, with the weights √μ that the reduction implies."""
    network = dense_network((3, 150, 2), 21, activation="leaky_relu")
    x = np.random.default_rng(22).standard_normal((5, 3))
    z = network.augment(x) @ network.weights[0]
    s = network.activate(z)
    mu, rank = basic_solution(
        covariance_atoms(z, s), np.einsum("ij,ij->j", *[network.weights[0]] * 2)
    )
    assert np.count_nonzero(mu) <= rank <= 5 * 6
    for matrix in (z, s):
        np.testing.assert_allclose(
            (matrix * mu) @ matrix.T,
            matrix @ matrix.T,
            atol=1e-12 * np.abs(matrix).max() ** 2 * 150,
        )


def test_the_smaller_kind_is_chosen():
    x = np.random.default_rng(3).standard_normal((6, 4))
    network = dense_network((4, 300, 300, 5), 4)
    both, reductions = reduce_network(network, x)
    assert [r.kind for r in reductions] == ["features", "features"]
    check(network, both, x)
    for kind in ("outputs", "features", "covariances"):
        one, _ = reduce_network(network, x, kinds=(kind,))
        check(network, one, x)
        assert both.hidden <= one.hidden


def test_nothing_is_removed_where_nothing_depends():
    network = dense_network((5, 8, 3), 5, activation="abs")
    x = np.random.default_rng(6).standard_normal((200, 5))
    small, reductions = reduce_network(network, x)
    assert reductions == [None]
    check(network, small, x)


def test_neurons_that_are_dead_on_the_data_go():
    network = dense_network((3, 6, 2), 7)
    weights = [w.copy() for w in network.weights]
    weights[0][:, 2] = [0, 0, 0, -1.0]
    x = np.random.default_rng(8).standard_normal((100, 3))
    small, (reduction,) = reduce_network(network.with_weights(weights), x)
    assert 2 not in reduction.keep
    check(network.with_weights(weights), small, x)


@pytest.mark.parametrize("scales", list(itertools.product([1e-5, 1e5], repeat=2)))
def test_scales_and_duplicated_data_do_no_harm(scales):
    network = dense_network((3, 120, 2), 9)
    network = network.with_weights([w * s for w, s in zip(network.weights, scales)])
    x = np.repeat(np.random.default_rng(10).standard_normal((6, 3)), 3, axis=0)
    small, _ = reduce_network(network, x)
    check(network, small, x)
    assert small.hidden[0] <= 12


def test_other_activations_are_refused_by_name():
    with pytest.raises(InputError, match=r"positively homogeneous.*tanh"):
        reduce_network(dense_network((3, 5, 1), 0, activation="tanh"), np.zeros((2, 3)))


@pytest.mark.slow
def test_stable_at_a_thousand():
    random = np.random.default_rng(13)
    for points, widths, span in [(1000, (10, 1000, 1), 1000), (40, (5, 600, 1000, 1), 820)]:
        network = dense_network(widths, 14)
        x = random.standard_normal((points, widths[0]))
        small, _ = reduce_network(network, x)
        check(network, small, x)
        assert max(small.hidden) <= span


def test_a_layer_that_says_nothing_goes_and_an_empty_one_is_left():
    z = np.zeros((4, 3))
    assert reduce_layer(z, np.ones(3), np.ones((3, 2))).keep.tolist() == []
    assert reduce_layer(z[:, :0], np.ones(0), np.ones((0, 2))) is None
