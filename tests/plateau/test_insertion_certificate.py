"""The insertion certificate: what it says at minima, away from them, and about every other
width."""

import numpy as np
import pytest

from keras_l2feat.data import Dataset
from keras_l2feat.errors import InputError
from keras_l2feat.network import DenseNetwork
from keras_l2feat.objectives import Problem
from keras_l2feat.objectives.dual import conjugate, dual_bound
from keras_l2feat.plateau import insertion
from keras_l2feat.training import covariance

LAM = 1e-2


def problem(n=8, d=2, k=2, cost="squared", seed=0):
    generator = np.random.default_rng(seed)
    y = generator.standard_normal((n, k)) if cost == "squared" else np.arange(n) % k
    return generator.standard_normal((n, d)), y


def certify(network, data, lam=LAM, cost=None, **options):
    return insertion.certify(network, Problem.of(network, data, lam, cost), **options)


def loss(network, data):
    x, y = data
    return np.sum((network(x) - y) ** 2) / len(x) + LAM * network.squared_norm


def test_global_minimum_is_certified():
    data = problem()
    fitted = covariance.fit(
        DenseNetwork.random((2, 0, 2), beta=0.0), data, lam=LAM, tolerance=1e-6, quiet=True
    )
    certificate = certify(fitted.network, data)
    assert certificate.enumerated
    assert certificate.loss == pytest.approx(loss(fitted.network, data), rel=1e-12)
    assert certificate.gap < 1e-4
    assert certificate.layers[0].live == pytest.approx((1.0, 1.0), abs=1e-3)
    assert 0 <= certificate.relative_gap <= 1e-5


@pytest.mark.parametrize("beta", [0.0, 0.5])
def test_bound_holds_for_every_network(beta):
    """Whatever network is certified, its bound is below the best loss known."""
    data = problem(9, 2, 1, seed=3)
    best = covariance.fit(
        DenseNetwork.random((2, 0, 1), beta=beta), data, lam=LAM, tolerance=1e-5, quiet=True
    ).loss
    for seed, width, scale in [(0, 1, 0.3), (1, 5, 1.0), (2, 30, 0.1), (3, 3, 5.0)]:
        network = DenseNetwork.random((2, width, 1), beta=beta, seed=seed, scale=scale)
        certificate = certify(network, data)
        assert certificate.lower_bound <= best * (1 + 1e-9)


def test_inserting_the_named_neuron_lowers_the_loss_as_predicted():
    """To second order a neuron of norm t changes the loss by −t² (s − 2λ)."""
    for widths, layer in [((3, 2, 2), 1), ((3, 3, 3, 2), 1), ((3, 3, 3, 2), 2)]:
        data = problem(10, 3, 2, seed=5)
        network = DenseNetwork.random(widths, seed=2)
        found = certify(network, data, layers=[layer]).layers[0]
        assert found.layer == layer
        assert found.gap > 0
        t = 1e-4
        wider = network.with_neurons(layer, t * found.directions, t * found.outgoing)
        change = loss(wider, data) - loss(network, data)
        assert change == pytest.approx(-2 * LAM * t**2 * found.gap, rel=1e-2)


def test_live_neurons_score_one_at_a_stationary_point_of_their_outgoing_weights():
    data = problem(12, 2, 1, seed=1)
    network = DenseNetwork.random((2, 6, 1), seed=0)
    spread = certify(network, data).layers[0].live
    assert spread[0] < 0.9 or spread[1] > 1.1
    assert spread[1] <= 1 + certify(network, data).layers[0].gap + 1e-12


def test_dead_and_missing_neurons():
    data = problem()
    certificate = certify(DenseNetwork.random((2, 0, 2), beta=0.0), data)
    assert certificate.layers[0].live == (1.0, 1.0)
    assert certificate.layers[0].gap > 0
    linear = certify(DenseNetwork.random((2, 2)), data)
    assert linear.layers == ()
    assert linear.gap == 0.0
    assert linear.lower_bound is None


def test_large_penalty_needs_no_neuron():
    certificate = certify(DenseNetwork.random((2, 0, 2), beta=0.0), problem(), 100.0)
    assert certificate.gap < 0
    assert certificate.relative_gap == pytest.approx(0.0, abs=1e-12)


def test_crossentropy_bound_and_data_sets():
    x, y = problem(9, 2, 3, cost="crossentropy")
    network = DenseNetwork.random((2, 0, 3), beta=1.0)
    fitted = covariance.fit(network, (x, y), lam=LAM, tolerance=1e-6, quiet=True)
    data = Dataset("toy", x, y, classes=3)
    certificate = certify(fitted.network, data)
    assert certificate.relative_gap <= 2e-5
    assert certificate.as_dict()["lower_bound"] == certificate.lower_bound
    assert certify(network, data).lower_bound <= fitted.loss * (1 + 1e-9)


def test_cost_as_a_function_has_gaps_but_no_bound():
    import tensorflow as tf

    data = problem()
    network = DenseNetwork.random((2, 4, 2), seed=1)
    named = certify(network, data, cost="squared")
    given = certify(
        network, data, LAM, cost=lambda z, y: tf.reduce_mean(tf.reduce_sum((z - y) ** 2, axis=1))
    )
    assert given.gap == pytest.approx(named.gap, rel=1e-9)
    assert given.lower_bound is None


def test_searched_and_enumerated_agree():
    data = problem(8, 2, 2, seed=4)
    network = DenseNetwork.random((2, 3, 2), seed=1)
    exact, searched = (certify(network, data, method=method) for method in ("enumerate", "search"))
    assert not searched.enumerated
    assert searched.gap <= exact.gap + 1e-9
    assert searched.gap == pytest.approx(exact.gap, rel=1e-3)


def test_refusals():
    network = DenseNetwork.random((2, 3, 2))
    with pytest.raises(InputError, match="'lam' must be positive"):
        certify(network, problem(), 0.0)
    with pytest.raises(InputError, match="homogeneous"):
        certify(DenseNetwork.random((2, 3, 2), activation="tanh"), problem())


@pytest.mark.parametrize("cost", ["squared", "crossentropy"])
def test_conjugate_is_fenchel(cost):
    """C*(∇C(Z)) = ⟨∇C(Z), Z⟩ − C(Z), and C*(G) ≥ ⟨G, Z⟩ − C(Z) everywhere."""
    from keras_l2feat.costs import cost_with_gradient

    _, y = problem(6, 2, 3, cost=cost)
    function = cost_with_gradient(cost)
    generator = np.random.default_rng(0)
    z = generator.standard_normal((6, 3))
    value, gradient = function(z, y)
    assert conjugate(cost, gradient, y) == pytest.approx(np.vdot(gradient, z) - value, rel=1e-10)
    for _ in range(20):
        other = 3 * generator.standard_normal((6, 3))
        assert (
            conjugate(cost, gradient, y) >= np.vdot(gradient, other) - function(other, y)[0] - 1e-12
        )
    assert dual_bound(cost, gradient, y, 1.0, 1e-3) >= -1e-12
    with pytest.raises(InputError, match="'cost' must be one of"):
        conjugate("hinge", gradient, y)
