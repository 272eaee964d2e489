"""Direct optimization of representations: its forms mean the same network, and reach what weights
reach."""

import numpy as np
import pytest

from keras_l2feat import data, objectives, training
from keras_l2feat.errors import InputError
from keras_l2feat.models import mlp
from keras_l2feat.network import DenseNetwork
from keras_l2feat.objectives import Problem
from keras_l2feat.training import representation
from keras_l2feat.training.representation_objective import FORMS, RepresentationObjective

LAM = 1e-2


@pytest.fixture(scope="module")
def digits():
    return data.load("mnist-789-42")


def seen_by_the_data(network, x):
    """The network without the parts of its weights that the data do not see."""
    z, a = network.forward(x)
    return network.with_weights([np.linalg.pinv(a_) @ z_ for a_, z_ in zip(a, z)])


@pytest.mark.parametrize("beta, activation", [(1.0, "relu"), (0.0, "leaky_relu")])
@pytest.mark.parametrize("form", ["coordinates", "projected"])
def test_variables_and_weights_are_two_names_of_one_network(digits, form, beta, activation):
    network = DenseNetwork.random((784, 6, 60, 3), beta=beta, activation=activation, seed=1)
    network = seen_by_the_data(network, digits.x_train)
    objective = RepresentationObjective(
        Problem(digits, LAM, activation=activation, beta=beta), form=form, ridge=0.3
    )
    arrays = objective.encode(network)
    for ours, theirs in zip(objective.decode(arrays).weights, network.weights):
        np.testing.assert_allclose(ours, theirs, atol=1e-7)
    expected = objectives.weight_space(network, digits, lam=LAM)
    assert objective(arrays)[0] == pytest.approx(float(expected.total), rel=1e-9)


def test_the_tikhonov_form_is_the_objective_of_its_name(digits):
    network = DenseNetwork.random((784, 6, 5, 3), seed=1)
    objective = RepresentationObjective(Problem(digits, LAM), form="tikhonov", ridge=1e-2)
    expected = objectives.representation(network, digits, lam=LAM, ridge=1e-2, relative=True)
    assert objective(objective.encode(network))[0] == pytest.approx(
        float(expected.total), rel=1e-10
    )
    close = RepresentationObjective(Problem(digits, LAM), form="tikhonov", ridge=1e-10)
    np.testing.assert_allclose(
        close.decode(close.encode(network))(digits.x_train), network(digits.x_train), atol=1e-5
    )


@pytest.mark.parametrize("form", FORMS)
def test_gradients_against_finite_differences(digits, form):
    objective = RepresentationObjective(Problem(digits, LAM), form=form, ridge=0.3)
    arrays = objective.encode(DenseNetwork.random((784, 6, 5, 3), seed=1))
    # biases start at 0, so some points lie on a kink: leave it
    generator = np.random.default_rng(0)
    arrays = [array + 0.1 * generator.standard_normal(array.shape) for array in arrays]
    directions = [generator.standard_normal(array.shape) for array in arrays]
    slope = sum(np.vdot(g, d) for g, d in zip(objective(arrays)[1], directions))
    up, down = (
        objective([v + t * d for v, d in zip(arrays, directions)])[0] for t in (1e-6, -1e-6)
    )
    assert slope == pytest.approx((up - down) / 2e-6, rel=1e-6)


@pytest.mark.slow
def test_from_a_random_start_it_reaches_what_weights_reach(digits):
    """One start each here; benchmarks/z_space.py has the widths of the paper and ten starts."""
    start = DenseNetwork.random((784, 20, 20, 3), seed=0)
    weights = training.fit(start, digits, lam=LAM, iterations=1500, quiet=True)
    for form, slack in (("coordinates", 2e-3), ("tikhonov", 5e-3)):
        other = DenseNetwork.random((784, 20, 20, 3), seed=5)
        fitted = representation.fit(other, digits, lam=LAM, form=form, iterations=1500, quiet=True)
        assert fitted.loss <= weights.loss * (1 + slack)
        assert fitted.loss == pytest.approx(
            float(objectives.weight_space(fitted.network, digits, lam=LAM).total)
        )
        assert fitted.history["seconds"] == sorted(fitted.history["seconds"])
        assert len(fitted.history["loss"]) == len(fitted.history["seconds"])
    assert training.imbalance(fitted.network.weights) < 1e-6


@pytest.mark.slow
def test_the_papers_projected_descent_and_keras_optimizers_lower_the_loss(digits):
    start = representation.data_start(digits, (8, 8), seed=0)
    before = float(objectives.weight_space(start, digits, lam=LAM).total)
    for method in ("projected-descent", "adam"):
        fitted = representation.fit(
            start, digits, lam=LAM, method=method, iterations=60, quiet=True
        )
        assert fitted.loss < 0.8 * before
        assert fitted.iterations == 60
    values = representation.fit(
        start, digits, lam=LAM, method="projected-descent", iterations=20, quiet=True
    ).history["loss"]
    assert values == sorted(values, reverse=True)


def test_the_same_call_gives_the_same_result_and_models_train_in_place(digits):
    start = DenseNetwork.random((784, 5, 3), seed=0)
    runs = [representation.fit(start, digits, lam=LAM, iterations=15, quiet=True) for _ in range(2)]
    assert runs[0].loss == runs[1].loss
    np.testing.assert_array_equal(runs[0].network.weights[0], runs[1].network.weights[0])
    model = mlp(784, (5,), 3, lam=LAM, dtype="float64")
    fitted = representation.fit(model, "mnist-789-42", iterations=15, quiet=True)
    assert fitted.network is model
    assert float(objectives.weight_space(model, digits, lam=LAM).total) == pytest.approx(
        fitted.loss, rel=1e-10
    )


def test_a_data_start_fits_the_data(digits):
    network = representation.data_start(digits, (7, 9), seed=3)
    assert network.hidden == (7, 9)
    for z in network.forward(digits.x_train)[0]:
        assert np.mean(z**2) == pytest.approx(1)


def test_bad_input_is_named(digits):
    network = DenseNetwork.random((784, 5, 3))
    for options, message in (
        ({}, "'lam' must be given"),
        ({"lam": LAM, "form": "dense"}, "'form' must be one of"),
        ({"lam": LAM, "method": "sgd"}, "'method' must be one of"),
        ({"lam": LAM, "ridges": (0.0,)}, "'ridge' must be positive"),
        ({"lam": -1.0}, "'lam' must be at least 0"),
    ):
        with pytest.raises(InputError, match=message):
            representation.fit(network, digits, quiet=True, **options)
    with pytest.raises(InputError, match="784 inputs and 3 outputs"):
        representation.fit(DenseNetwork.random((784, 5, 2)), digits, lam=LAM)
