"""Wider equivalent networks: same function, still critical, flat where the theory says."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_l2feat.activations import ACTIVATIONS
from keras_l2feat.errors import InputError
from keras_l2feat.network import DenseNetwork
from keras_l2feat.objectives import Problem
from keras_l2feat.theory import criticality, manifold, symmetries
from keras_l2feat.training import Budget


def deviation(a, b, x):
    return np.abs(a(x) - b(x)).max() / max(1.0, np.abs(a(x)).max())


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    activation=st.sampled_from(sorted(ACTIVATIONS)),
    beta=st.sampled_from([0.0, 0.3, 1.0]),
    sharing=st.sampled_from(manifold.SHARINGS),
    hidden=st.lists(st.integers(1, 6), min_size=1, max_size=3),
    zero_types=st.integers(0, 4),
)
def test_expansion_keeps_the_function(seed, activation, beta, sharing, hidden, zero_types):
    if activation == "tanh" and sharing == "balanced":
        sharing = "free"
    generator = np.random.default_rng(seed)
    network = DenseNetwork.random((3, *hidden, 2), activation=activation, beta=beta, seed=seed)
    widths = [n + zero_types + int(generator.integers(5)) for n in hidden]
    wide = manifold.widen(network, widths, sharing=sharing, zero_types=zero_types, seed=seed)
    assert wide.hidden == tuple(widths)
    assert deviation(network, wide, generator.standard_normal((20, 3))) < 1e-12
    if sharing == "balanced":
        assert wide.squared_norm == pytest.approx(network.squared_norm, rel=1e-13)


def test_every_listed_expansion_is_an_equivalent_network_of_its_own_subspace():
    network = DenseNetwork.random((2, 2, 1), activation="tanh", seed=3)
    x = np.random.default_rng(0).standard_normal((9, 2))
    projectors = []
    for owners in symmetries.expansions(2, 4):
        wide = manifold.expand_layer(network, 0, owners, sharing="free", seed=1)
        assert deviation(network, wide, x) < 1e-12
        directions = manifold.flat_directions(wide, 0, owners, sharing="free")
        moved = criticality.unflatten(
            criticality.flatten(wide.weights) + 0.7 * directions.sum(axis=0), wide
        )
        assert deviation(network, moved, x) < 1e-12  # the subspace is affine
        basis = np.linalg.qr(directions.T)[0]
        point = criticality.flatten(wide.weights)
        projectors.append((basis @ basis.T, point - basis @ (basis.T @ point)))
    for i in range(len(projectors)):
        for j in range(i):
            same = all(np.allclose(a, b, atol=1e-9) for a, b in zip(projectors[i], projectors[j]))
            assert not same


def trained(activation, lam):
    """A critical point of positive loss and its problem: the first try that ends on no kink of
    σ."""
    for seed in range(20):
        generator = np.random.default_rng(seed)
        x = generator.standard_normal((25, 2))
        y = DenseNetwork.random((2, 5, 2), activation=activation, seed=seed + 1)(x)
        network = DenseNetwork.random((2, 3, 2), activation=activation, seed=seed + 2)
        problem = Problem.of(network, (x, y), lam)
        network, _ = criticality.descend(network, problem, Budget(2000, 0))
        network = criticality.critical_point(network, problem)
        if np.linalg.norm(criticality.gradient(network, problem)) < 1e-10:
            return network, problem
    raise AssertionError("no critical point found")


@pytest.mark.parametrize(
    "activation, lam, sharing", [("tanh", 0.0, "fractions"), ("relu", 1e-2, "balanced")]
)
def test_a_critical_point_stays_critical_and_is_flat_along_its_shares(activation, lam, sharing):
    network, problem = trained(activation, lam)
    owners = np.array([0, 1, 2, 1, 0, 1])
    wide = manifold.expand_layer(network, 0, owners, sharing=sharing, seed=4)
    loss, wide_loss = (criticality.loss_and_gradient(n, problem)[0] for n in (network, wide))
    assert wide_loss == pytest.approx(loss, rel=1e-12)
    assert np.linalg.norm(criticality.gradient(wide, problem)) < 1e-9
    directions = manifold.flat_directions(wide, 0, owners, sharing=sharing)
    assert np.linalg.matrix_rank(directions) == 3  # m − r
    matrix = criticality.hessian(wide, problem)
    scale = np.linalg.norm(matrix, 2)
    assert np.abs(matrix @ directions.T).max() < 1e-6 * scale
    before = (
        np.abs(np.linalg.eigvalsh(criticality.hessian(network, problem))) < 1e-6 * scale
    ).sum()
    after = (np.abs(np.linalg.eigvalsh(matrix)) < 1e-6 * scale).sum()
    assert after >= before + 3


def test_uneven_vector_shares_break_criticality_at_positive_loss():
    """So the difference between "fractions" and "free" is real."""
    network, problem = trained("tanh", 0.0)
    wide = manifold.expand_layer(network, 0, [0, 1, 2, 1], sharing="free", seed=4)
    assert deviation(network, wide, problem.x) < 1e-12
    assert np.linalg.norm(criticality.gradient(wide, problem)) > 1e-4


def test_at_zero_loss_the_whole_manifold_is_flat():
    network = DenseNetwork.random((2, 3, 2), activation="tanh", seed=5)
    x = np.random.default_rng(1).standard_normal((40, 2))
    owners = np.array([0, -1, 1, 2, 2, -1, -2])
    wide = manifold.expand_layer(network, 0, owners, sharing="free", seed=2)
    directions = manifold.flat_directions(wide, 0, owners, sharing="free")
    # one extra copy: 2; a group of two: 2 + fan-in 3; a group of one: fan-in 3
    assert np.linalg.matrix_rank(directions) == len(directions) == 2 + (2 + 3) + 3
    matrix = criticality.hessian(wide, Problem.of(network, (x, network(x)), 0.0))
    scale = np.linalg.norm(matrix, 2)
    assert np.abs(matrix @ directions.T).max() < 1e-6 * scale
    assert (np.abs(np.linalg.eigvalsh(matrix)) < 1e-7 * scale).sum() >= len(directions)


def test_shares_can_be_chosen():
    network = DenseNetwork.random((2, 2, 1), seed=0)
    wide = manifold.expand_layer(network, 0, [0, 1, 0], sharing="balanced", shares=[0.25, 1, 0.75])
    np.testing.assert_allclose(wide.weights[0][:, 0], network.weights[0][:, 0] / 2)
    np.testing.assert_allclose(wide.weights[1][0], network.weights[1][0] / 2)


def test_wrong_expansions_are_refused():
    network = DenseNetwork.random((2, 2, 1), seed=0)
    with pytest.raises(InputError, match="at least 2"):
        manifold.widen(network, [1])
    with pytest.raises(InputError, match="one width for each"):
        manifold.widen(network, [3, 3])
    with pytest.raises(InputError, match="each of 0 … 1 occurs"):
        manifold.expand_layer(network, 0, [0, 0, -1])
    with pytest.raises(InputError, match="sum to 1"):
        manifold.expand_layer(network, 0, [0, 1, 0], shares=[0.5, 1, 0.6])
    with pytest.raises(InputError, match="positively homogeneous"):
        manifold.widen(DenseNetwork.random((2, 2, 1), activation="tanh"), [3], sharing="balanced")
