"""The global optimum of two-layer networks: programs against each other, and against what is
known."""

import sys
from dataclasses import replace

import numpy as np
import pytest

from keras_l2feat.costs import cost_with_gradient
from keras_l2feat.errors import InputError
from keras_l2feat.network import DenseNetwork
from keras_l2feat.objectives import Problem
from keras_l2feat.theory import programs
from keras_l2feat.theory.oracle import global_optimum
from keras_l2feat.theory.patterns import Cones, patterns

pytest.importorskip("clarabel")
POINTS = Problem((np.ones((2, 1)), np.ones(2)), 0.1, beta=0.0)

# points, inputs, outputs, β, cost
CASES = [
    (10, 2, 1, 0.0, "squared"),
    (8, 3, 1, 0.0, "squared"),
    (9, 1, 2, 1.0, "squared"),
    (7, 2, 2, 0.0, "squared"),
]
SLOW = [
    (10, 2, 1, 0.5, "squared"),
    (7, 3, 2, 0.0, "squared"),
    (7, 2, 2, 1.0, "squared"),
    (7, 2, 3, 1.0, "crossentropy"),
]


def problem(n, d, k, beta=0.0, cost="squared", lam=1e-2):
    generator = np.random.default_rng(n + d)
    y = generator.standard_normal((n, k)) if cost == "squared" else np.arange(n) % k
    return Problem((generator.standard_normal((n, d)), y), lam, cost, beta=beta)


@pytest.mark.parametrize(
    "case", [*CASES, *(pytest.param(case, marks=pytest.mark.slow) for case in SLOW)], ids=str
)
def test_column_generation_agrees_with_all_patterns_at_once(case):
    """Vector outputs: the semi-definite program of the norm restricted to cones; scalar ones: also
    all columns."""
    pytest.importorskip("cvxpy")
    given = problem(*case)
    optimum = global_optimum(given, tolerance=1e-5)
    assert optimum.enumerated
    assert optimum.gap <= 1e-5 + 1e-9
    whole = programs.solve_matrices(given, Cones.of(given.augmented))
    assert optimum.value == pytest.approx(whole, rel=2e-5)
    assert optimum.lower_bound <= whole * (1 + 1e-6)
    if given.data.outputs == 1:
        active = patterns(given.augmented)
        signs = np.repeat(np.where(active, 1, -1), 2, axis=0)
        outgoing = np.tile([[1.0], [-1.0]], (len(active), 1))
        columns = programs.solve_columns(given, signs, outgoing)
        assert columns.value == pytest.approx(whole, rel=1e-6)
    z = optimum.network(given.x)
    data_term = cost_with_gradient(given.cost)(z, given.y)[0]
    loss = data_term + given.lam * optimum.network.squared_norm
    assert loss == pytest.approx(optimum.value, rel=1e-12)


def test_no_network_is_below_the_bound():
    given = problem(9, 2, 2)
    optimum = global_optimum(given)
    generator = np.random.default_rng(0)
    for _ in range(50):
        w = [
            value + 0.05 * generator.standard_normal(value.shape) * generator.integers(0, 2)
            for value in optimum.network.weights
        ]
        network = optimum.network.with_weights(w)
        data_term = cost_with_gradient("squared")(network(given.x), given.y)[0]
        assert data_term + 1e-2 * network.squared_norm >= optimum.lower_bound


def test_one_point_by_hand():
    """x = y = 1, σ = relu: min (u − 1)² + 2λu is at u = 1 − λ."""
    optimum = global_optimum(Problem((np.ones((1, 1)), np.ones(1)), 0.1, beta=0.0))
    assert optimum.value == pytest.approx(0.01 + 2 * 0.1 * 0.9, rel=1e-6)
    assert optimum.network.hidden == (1,)


def test_large_penalty_leaves_no_neuron():
    given = problem(6, 2, 1, lam=100.0)
    optimum = global_optimum(given)
    assert optimum.network.hidden == (0,)
    assert optimum.value == pytest.approx(np.mean(given.y**2), rel=1e-8)


@pytest.mark.slow
def test_search_prices_where_enumeration_explodes():
    optimum = global_optimum(problem(20, 8, 1), tolerance=1e-4)
    assert not optimum.enumerated
    assert optimum.gap <= 1e-4
    small = problem(10, 2, 1)
    searched, exact = (global_optimum(small, method=method) for method in ("search", "enumerate"))
    assert searched.value == pytest.approx(exact.value, rel=1e-4)


def test_other_activations():
    given = problem(9, 2, 1)
    x, y = given.x, given.y
    values = {
        name: global_optimum(replace(given, activation=name))
        for name in ("relu", "abs", "linear", "leaky_relu")
    }
    assert all(optimum.gap < 1e-5 for optimum in values.values())
    # a linear network: Schatten norm of the least squares problem, here a vector: min ‖Xu − y‖²/N +
    # 2λ‖u‖
    u = values["linear"].network.weights[0] @ values["linear"].network.weights[1]
    residual = x @ u - y
    gradient = 2 / len(x) * x.T @ residual
    assert gradient[:, 0] == pytest.approx(-2e-2 * u[:, 0] / np.linalg.norm(u), rel=1e-3, abs=1e-5)


def test_the_extra_is_named_when_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "clarabel", None)
    with pytest.raises(InputError, match=r"pip install 'keras-l2feat\[conic\]'"):
        global_optimum(POINTS)


def test_refusals():
    with pytest.raises(InputError, match="'lam' must be positive"):
        global_optimum(POINTS.at(0.0))
    with pytest.raises(InputError, match="'cost' must be"):
        global_optimum(replace(POINTS, cost="hinge"))
    with pytest.raises(InputError, match="homogeneous"):
        global_optimum(replace(POINTS, activation="tanh"))


def test_network_of_the_optimum_is_a_dense_network():
    network = global_optimum(problem(8, 2, 1, beta=1.0)).network
    assert isinstance(network, DenseNetwork)
    assert network.widths[0] == 2
    incoming = np.linalg.norm(network.weights[0], axis=0)
    assert incoming == pytest.approx(np.linalg.norm(network.weights[1][:-1], axis=1))
