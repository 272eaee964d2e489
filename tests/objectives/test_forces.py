"""Forces on known stationary points, against finite differences, and their identities."""

import numpy as np
import pytest
import tensorflow as tf

from keras_l2feat import data, objectives
from keras_l2feat.errors import InputError
from keras_l2feat.network import DenseNetwork
from keras_l2feat.objectives import Problem
from keras_l2feat.training import Budget, lbfgs, representation
from keras_l2feat.training.representation_objective import RepresentationObjective


def problem():
    generator = np.random.default_rng(0)
    return generator.standard_normal((12, 4)), generator.integers(0, 3, 12)


def test_free_forces_are_the_gradients_of_the_tikhonov_form():
    x, y = problem()
    z = DenseNetwork.random((4, 5, 6, 3), seed=1).forward(x)[0]
    forces = objectives.forces(z, (x, y), 0.1, 1e-2)
    directions = [
        np.random.default_rng(i).standard_normal(array.shape) for i, array in enumerate(z)
    ]

    def loss(t):
        moved = [tf.constant(array + t * d) for array, d in zip(z, directions)]
        return float(
            objectives.representation(moved, (x, y), lam=0.1, ridge=1e-2, relative=True).total
        )

    gradients = [0.1 * total for total in forces.total]
    gradients.append(0.1 * forces.attraction[-1] + forces.output_gradient)
    slope = sum(np.vdot(g, d) for g, d in zip(gradients, directions))
    assert slope == pytest.approx((loss(1e-6) - loss(-1e-6)) / 2e-6, rel=1e-6)


@pytest.mark.parametrize("depth", [2, 3])
def test_forces_cancel_at_a_minimum_known_in_closed_form(depth):
    """Deep linear, X = I, C = ½‖Z − T‖²: singular values s of the output solve s − t + 2λ s^(2/L −
    1) = 0."""
    lam = 0.05
    u, _, vt = np.linalg.svd(
        np.random.default_rng(depth).standard_normal((5, 3)), full_matrices=False
    )
    s = np.array([2.0, 1.5, 1.0])
    t = s + 2 * lam * s ** (2 / depth - 1)
    root = np.diag(s ** (1 / depth))
    network = DenseNetwork(
        (u @ root, *[root] * (depth - 2), root @ vt), activation="linear", beta=0.0
    )
    target = u @ np.diag(t) @ vt

    def half_squares(z, y):
        return 0.5 * tf.reduce_sum(tf.square(z - y))

    forces = objectives.forces(network, (np.eye(5), target), lam, 1e-12, cost=half_squares)
    assert max(forces.stationarity) < 1e-9
    for ratios in forces.balance:
        np.testing.assert_allclose(ratios, 1, atol=1e-9)
    off = objectives.forces(
        network.with_weights([1.2 * w for w in network.weights]),
        (np.eye(5), target),
        lam,
        cost=half_squares,
    )
    assert min(off.stationarity[-1:]) > 0.1  # away from the minimum they do not


def test_radial_parts_are_the_norms_of_the_weights():
    x, y = problem()
    network = DenseNetwork.random((4, 3, 3), seed=1)  # fewer neurons than points: A⁺Z = W
    forces = objectives.forces(network, (x, y), 0.1, 1e-13)
    first, second = network.weights
    radial = np.sum(forces.attraction[0] * forces.representations[0], axis=0) / 2
    np.testing.assert_allclose(radial, np.sum(first**2, axis=0), rtol=1e-8)
    radial = -np.sum(forces.repulsion[0] * forces.representations[0], axis=0) / 2
    np.testing.assert_allclose(radial, np.sum(second[:3] ** 2, axis=1), rtol=1e-8)
    # neurons on one ray feel forces in the ratio of their sizes [Jacot et al. 2022, §3.1]
    doubled = network.with_weights(
        [
            np.column_stack([first, 2 * first[:, 0]]),
            np.vstack([second[:3], 2 * second[0], second[3:]]),
        ]
    )
    both = objectives.forces(doubled, (x, y), 0.1, 1e-10)
    for force in (both.attraction[0], both.repulsion[0]):
        np.testing.assert_allclose(force[:, 3], 2 * force[:, 0], atol=1e-6 * np.abs(force).max())


@pytest.mark.slow
def test_forces_nearly_cancel_in_a_trained_network_and_in_free_representations():
    digits, lam = data.load("mnist-789-42"), 1e-2
    start = DenseNetwork.random((784, 10, 10, 3), seed=0)
    before = objectives.forces(start, digits, lam)
    trained = representation.fit(
        start, digits, lam=lam, iterations=2000, tolerance=1e-9, quiet=True
    ).network
    after = objectives.forces(trained, digits, lam)
    assert max(after.stationarity) < 0.2 < min(before.stationarity)
    assert after.stationarity[-1] < 0.02
    for ratios in after.balance:
        assert np.nanmax(np.abs(np.log(ratios))) < 0.1
    ridge = 0.3
    objective = RepresentationObjective(Problem(digits, lam), form="tikhonov", ridge=ridge)
    free = lbfgs.minimize(objective, objective.encode(start), Budget(800, 0), quiet=True)
    assert objectives.forces(free.arrays, digits, lam, ridge).stationarity[-1] < 0.02


def test_bad_input_is_named():
    x, y = problem()
    network = DenseNetwork.random((4, 3, 3))
    with pytest.raises(InputError, match="'lam' must be positive"):
        objectives.forces(network, (x, y), 0.0)
    with pytest.raises(InputError, match="'ridge' must be positive for a network"):
        objectives.forces(network, (x, y), 0.1, 0.0)
