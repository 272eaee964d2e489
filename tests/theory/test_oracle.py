"""The global optimum of two-layer networks: programs against each other, and against what is
known."""

import sys

import numpy as np
import pytest

from keras_l2feat.costs import cost_with_gradient
from keras_l2feat.errors import InputError
from keras_l2feat.network import DenseNetwork
from keras_l2feat.theory import programs
from keras_l2feat.theory.oracle import global_optimum
from keras_l2feat.theory.patterns import Cones, patterns

pytest.importorskip("clarabel")

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


def problem(n, d, k, beta, cost):
    generator = np.random.default_rng(n + d)
    y = generator.standard_normal((n, k)) if cost == "squared" else np.arange(n) % k
    return generator.standard_normal((n, d)), y


def augmented(x, beta):
    return np.hstack([x, np.full((len(x), 1), beta)]) if beta else x


@pytest.mark.parametrize(
    "case", [*CASES, *(pytest.param(case, marks=pytest.mark.slow) for case in SLOW)], ids=str
)
def test_column_generation_agrees_with_all_patterns_at_once(case):
    """Vector outputs: the semi-definite program of the norm restricted to cones; scalar ones: also
    all columns."""
    (*_, k, beta, cost), lam = case, 1e-2
    pytest.importorskip("cvxpy")
    x, y = problem(*case)
    optimum = global_optimum(x, y, lam, cost=cost, beta=beta, tolerance=1e-5)
    assert optimum.enumerated
    assert optimum.gap <= 1e-5 + 1e-9
    a = augmented(x, beta)
    whole = programs.solve_matrices(a, y, Cones.of(a), lam, cost=cost, beta=beta)
    assert optimum.value == pytest.approx(whole, rel=2e-5)
    assert optimum.lower_bound <= whole * (1 + 1e-6)
    if k == 1:
        active = patterns(a)
        signs = np.repeat(np.where(active, 1, -1), 2, axis=0)
        outgoing = np.tile([[1.0], [-1.0]], (len(active), 1))
        columns = programs.solve_columns(a, y, signs, outgoing, lam, cost=cost, beta=beta)
        assert columns.value == pytest.approx(whole, rel=1e-6)
    z = optimum.network(x)
    loss = cost_with_gradient(cost)(z, y)[0] + lam * optimum.network.squared_norm
    assert loss == pytest.approx(optimum.value, rel=1e-12)


def test_no_network_is_below_the_bound():
    x, y = problem(9, 2, 2, 0.0, "squared")
    optimum = global_optimum(x, y, 1e-2)
    generator = np.random.default_rng(0)
    for _ in range(50):
        w = [
            value + 0.05 * generator.standard_normal(value.shape) * generator.integers(0, 2)
            for value in optimum.network.weights
        ]
        network = optimum.network.with_weights(w)
        assert (
            cost_with_gradient("squared")(network(x), y)[0] + 1e-2 * network.squared_norm
            >= optimum.lower_bound
        )


def test_one_point_by_hand():
    """x = y = 1, σ = relu: min (u − 1)² + 2λu is at u = 1 − λ."""
    optimum = global_optimum(np.ones((1, 1)), np.ones(1), 0.1)
    assert optimum.value == pytest.approx(0.01 + 2 * 0.1 * 0.9, rel=1e-6)
    assert optimum.network.hidden == (1,)


def test_large_penalty_leaves_no_neuron():
    x, y = problem(6, 2, 1, 0.0, "squared")
    optimum = global_optimum(x, y, 100.0)
    assert optimum.network.hidden == (0,)
    assert optimum.value == pytest.approx(np.mean(y**2), rel=1e-8)


@pytest.mark.slow
def test_search_prices_where_enumeration_explodes():
    x, y = problem(20, 8, 1, 0.0, "squared")
    optimum = global_optimum(x, y, 1e-2, tolerance=1e-4)
    assert not optimum.enumerated
    assert optimum.gap <= 1e-4
    x, y = problem(10, 2, 1, 0.0, "squared")
    searched, exact = (
        global_optimum(x, y, 1e-2, method=method) for method in ("search", "enumerate")
    )
    assert searched.value == pytest.approx(exact.value, rel=1e-4)


def test_other_activations():
    x, y = problem(9, 2, 1, 0.0, "squared")
    values = {
        name: global_optimum(x, y, 1e-2, activation=name)
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
        global_optimum(np.ones((2, 1)), np.ones(2), 0.1)


def test_refusals():
    with pytest.raises(InputError, match="'lam' must be positive"):
        global_optimum(np.ones((2, 1)), np.ones(2), 0.0)
    with pytest.raises(InputError, match="'cost' must be"):
        global_optimum(np.ones((2, 1)), np.ones(2), 0.1, cost="hinge")
    with pytest.raises(InputError, match="homogeneous"):
        global_optimum(np.ones((2, 1)), np.ones(2), 0.1, activation="tanh")


def test_network_of_the_optimum_is_a_dense_network():
    x, y = problem(8, 2, 1, 1.0, "squared")
    network = global_optimum(x, y, 1e-2, beta=1.0).network
    assert isinstance(network, DenseNetwork)
    assert network.widths[0] == 2
    incoming = np.linalg.norm(network.weights[0], axis=0)
    assert incoming == pytest.approx(np.linalg.norm(network.weights[1][:-1], axis=1))
