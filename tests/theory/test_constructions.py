"""Constructions keep what the propositions promise, recomputed from their weights."""

import networkx as nx
import numpy as np
import pytest

from keras_l2feat.errors import InputError
from keras_l2feat.network import DenseNetwork
from keras_l2feat.theory import completely_positive, constructions, criticality, norm

KNOWN = {
    "bipartite 4": (lambda: constructions.bipartite(4), 16, 4),
    "bipartite 6": (lambda: constructions.bipartite(6), 36, 9),
    "bipartite 8": (lambda: constructions.bipartite(8), 64, 16),
    "one-hot": (lambda: constructions.one_hot(3, 7), 2 * (np.sqrt(3) + 2 * np.sqrt(2)), 3),
    "linear 2": (lambda: constructions.linear(6, 3, depth=2), 2 * 6, 3),
    "linear 4": (lambda: constructions.linear(6, 3, depth=4), 4 * (1 + np.sqrt(2) + np.sqrt(3)), 3),
}


@pytest.mark.parametrize("name", KNOWN)
def test_the_weights_fit_at_the_claimed_cost_and_width(name):
    make, cost, plateau = KNOWN[name]
    construction = make()
    facts = construction.facts()
    assert construction.cost == pytest.approx(cost, rel=1e-6)
    assert construction.plateau == plateau
    assert construction.exact
    assert facts["residual"] < 1e-12
    assert facts["squared_norm"] == pytest.approx(cost, rel=1e-6)
    assert facts["imbalance"] < 1e-9
    assert set(construction.network.hidden) == {plateau}
    if "rank" in facts:
        assert facts["rank"].lower == facts["rank"].upper == plateau


@pytest.mark.parametrize("name", ["bipartite 4", "bipartite 6", "one-hot", "linear 4"])
def test_no_network_found_is_cheaper(name):
    construction = KNOWN[name][0]()
    found = norm.representation_cost(
        construction.x,
        construction.y,
        construction.network.depth,
        construction.plateau + 2,
        activation=construction.network.activation,
        trials=3,
    )
    assert found.cost == pytest.approx(construction.cost, rel=1e-4)


def test_hidden_covariances_equal_the_square_root():
    construction = constructions.bipartite(6)
    z = construction.network.forward(construction.x)[0][0]
    np.testing.assert_allclose(z @ z.T, construction.y, atol=1e-12)


def test_linear_covariances_go_geometrically():
    construction = constructions.linear(6, 3, depth=4)
    z = construction.network.forward(construction.x)[0]
    for layer, representation in enumerate(z, start=1):
        eigenvalues = np.linalg.eigvalsh(representation @ representation.T)[::-1][:3]
        np.testing.assert_allclose(eigenvalues, np.array([3, 2, 1]) ** (2 * layer / 4), rtol=1e-6)


def test_a_square_root_with_a_hidden_factor():
    """Y = A Q with A = B Bᵀ of the Petersen graph and Q orthogonal: the construction finds A by
    itself."""
    matrix = completely_positive.graph_matrix(nx.cycle_graph(6))
    q = np.linalg.qr(np.random.default_rng(0).standard_normal((6, 6)))[0]
    construction = constructions.square_root(matrix @ q)
    assert construction.plateau == 6
    assert construction.exact
    assert construction.facts()["residual"] < 1e-6
    assert construction.facts()["squared_norm"] == pytest.approx(2 * np.trace(matrix), rel=1e-6)


def test_targets_without_a_completely_positive_root_are_refused():
    with pytest.raises(InputError, match="completely positive"):
        constructions.square_root(np.array([[2.0, -1.0], [-1.0, 2.0]]))


@pytest.mark.parametrize("n, seed", [(3, 0), (5, 1), (8, 2)])
def test_one_dimension_needs_few_neurons(n, seed):
    construction = constructions.one_dim(n, seed)
    facts = construction.facts()
    assert facts["residual"] < 1e-5
    assert facts["squared_norm"] == pytest.approx(construction.cost, rel=1e-4)
    assert construction.plateau <= n <= 4 * n


@pytest.mark.parametrize("lam", [0.05, 0.2, 0.45])
def test_the_fold_is_a_minimum_of_the_weights_and_none_of_the_covariances(lam):
    fold = constructions.fold(lam)

    def loss(network):
        return criticality.loss_and_gradient(network, fold.problem)[0]

    def covariances(network):
        z, a = network.forward(fold.x)
        return z[0] @ z[0].T, a[1] @ a[1].T, z[1]

    for first, second in zip(covariances(fold.both), covariances(fold.one)):
        np.testing.assert_allclose(first, second, atol=1e-12)
    assert np.linalg.norm(criticality.gradient(fold.both, fold.problem)) < 1e-12
    generator = np.random.default_rng(0)
    for _ in range(300):  # a local minimum, along every direction tried
        step = 1e-3 * generator.standard_normal(4)
        moved = criticality.unflatten(criticality.flatten(fold.both.weights) + step, fold.both)
        assert loss(moved) >= loss(fold.both) - 1e-15
    for epsilon in (1e-1, 1e-2, 1e-3):
        fall = loss(fold.one) - loss(fold.turned(epsilon))
        assert fall == pytest.approx(epsilon**2 * (1 - 2 * lam) - epsilon**4 / 2, rel=1e-6)
        assert fall > 0
    assert isinstance(fold.both, DenseNetwork)


def test_the_fold_needs_a_small_lam():
    with pytest.raises(InputError, match="between 0 and 1/2"):
        constructions.fold(0.5)
