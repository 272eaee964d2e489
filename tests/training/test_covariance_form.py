"""Conditional gradients on the covariance form: the global minimum for two layers, layer by layer
beyond."""

import itertools

import numpy as np
import pytest

from keras_l2feat import objectives
from keras_l2feat.data import load
from keras_l2feat.errors import InputError
from keras_l2feat.network import DenseNetwork
from keras_l2feat.objectives import Problem
from keras_l2feat.training import covariance
from keras_l2feat.training.group_lasso import group_lasso
from keras_l2feat.training.merge import tidy


def problem(n, d, k, cost="squared", seed=0):
    generator = np.random.default_rng(seed + n + d)
    y = generator.standard_normal((n, k)) if cost == "squared" else np.arange(n) % k
    return generator.standard_normal((n, d)), y


def empty(d, k, beta=0.0):
    return DenseNetwork.random((d, 0, k), beta=beta)


CASES = [
    (10, 1, 1, 1.0, "squared"),
    (10, 2, 1, 0.0, "squared"),
    (8, 3, 2, 0.0, "squared"),
    (9, 2, 3, 1.0, "crossentropy"),
    (10, 3, 2, 1.0, "squared"),
]


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("slide", [0, 100])
def test_two_layers_end_at_the_global_optimum(case, slide):
    pytest.importorskip("clarabel")
    from keras_l2feat.theory.oracle import global_optimum

    n, d, k, beta, cost = case
    data, lam = problem(n, d, k, cost), 1e-2
    optimum = global_optimum(Problem(data, lam, cost, beta=beta), tolerance=1e-5)
    fitted = covariance.fit(empty(d, k, beta), data, lam=lam, cost=cost, slide=slide, quiet=True)
    assert fitted.reason == "converged"
    assert fitted.history["gap"][-1] <= 1e-4
    assert optimum.lower_bound * (1 - 1e-9) <= fitted.loss <= optimum.value * (1 + 1e-4)
    assert max(fitted.history["lower_bound"]) <= optimum.value * (1 + 1e-9)
    if cost == "squared":
        assert fitted.loss == pytest.approx(
            np.sum((fitted.network(data[0]) - data[1]) ** 2) / n
            + lam * fitted.network.squared_norm,
            rel=1e-10,
        )


def test_plain_steps_descend_towards_it():
    data = problem(8, 2, 1)
    fitted = covariance.fit(empty(2, 1), data, lam=1e-2, method="plain", iterations=60, quiet=True)
    losses = fitted.history["loss"]
    assert all(after <= before * (1 + 1e-12) for before, after in itertools.pairwise(losses))
    best = covariance.fit(empty(2, 1), data, lam=1e-2, quiet=True)
    assert best.loss <= fitted.loss <= 1.2 * best.loss
    assert max(fitted.history["lower_bound"]) <= best.loss


def test_end_has_the_loss_of_its_covariances():
    """Kept as a network, yet optimal in K: L_w of the network is L_k of its covariances."""
    from keras_l2feat.data import Dataset

    x, y = problem(8, 3, 2)
    fitted = covariance.fit(empty(3, 2, 1.0), (x, y), lam=1e-2, tolerance=1e-6, quiet=True)
    data = Dataset("toy", x, y)
    in_k = float(objectives.covariance(fitted.network, data, lam=1e-2).total)
    assert in_k <= fitted.loss * (1 + 1e-9)
    assert in_k == pytest.approx(fitted.loss, rel=1e-3)


def test_known_optimum_of_proposition_14():
    """X = I, bipartite Y_N: R = N² with N²/4 neurons, so for small λ the loss tends to λ N²."""
    n = 4
    half = np.eye(n // 2) * n / 2
    y = np.block([[half, np.ones((n // 2, n // 2))], [np.ones((n // 2, n // 2)), half]])
    lam = 1e-4
    fitted = covariance.fit(empty(n, n), (np.eye(n), y), lam=lam, tolerance=1e-5, quiet=True)
    assert fitted.loss == pytest.approx(lam * n**2, rel=5e-3)
    assert fitted.network.hidden[0] >= n**2 // 4


@pytest.mark.slow
def test_mnist_two_layers_against_weight_space():
    fitted = covariance.fit(DenseNetwork.random((784, 0, 3)), "mnist-789-42", lam=1e-2, quiet=True)
    assert fitted.history["gap"][-1] <= 1e-3
    from keras_l2feat.training import fit

    wide = fit(
        DenseNetwork.random((784, 30, 3)), "mnist-789-42", lam=1e-2, iterations=300, quiet=True
    )
    assert fitted.loss <= wide.loss * (1 + 1e-6)


@pytest.mark.slow
def test_three_layers_come_near_the_best_weight_space_run():
    data = load("mnist-789-42")
    from keras_l2feat.training import fit

    wide = [
        fit(
            DenseNetwork.random((784, 50, 50, 3), seed=seed),
            data,
            lam=1e-2,
            iterations=300,
            quiet=True,
        ).loss
        for seed in (0, 1)
    ]
    fitted = covariance.fit(
        DenseNetwork.random((784, 10, 10, 3)),
        data,
        lam=1e-2,
        iterations=5,
        tolerance=1e-2,
        quiet=True,
    )
    assert fitted.loss <= 1.01 * min(wide)


def test_tidy_keeps_the_loss():
    network = DenseNetwork.random((3, 5, 2), beta=0.0, seed=1)
    twice = network.with_neurons(1, 2 * network.weights[0], network.weights[1] / 4)
    dead = twice.with_neurons(1, np.ones((3, 2)), np.zeros((2, 2)))
    x, y = problem(7, 3, 2)
    problem_loss = lambda candidate: np.sum((candidate(x) - y) ** 2) + candidate.squared_norm  # noqa: E731
    tidied = tidy(dead, problem_loss)
    assert tidied.hidden == (5,)
    assert problem_loss(tidied) <= problem_loss(dead)
    assert tidied(x) == pytest.approx(network(x) * 1.5, rel=1e-9)


@pytest.mark.parametrize("cost, k", [("squared", 1), ("squared", 3), ("crossentropy", 3)])
@pytest.mark.parametrize("beta", [0.0, 1.0])
def test_group_lasso_meets_its_optimality_conditions(cost, k, beta):
    from keras_l2feat.costs import cost_with_gradient

    generator = np.random.default_rng(k)
    atoms = np.maximum(generator.standard_normal((12, 3)) @ generator.standard_normal((3, 20)), 0)
    atoms = np.concatenate([atoms, atoms[:, :2]], axis=1)  # the same atom twice
    y = generator.standard_normal((12, k)) if cost == "squared" else np.arange(12) % k
    lam = 1e-2
    heads, bias = group_lasso(atoms, y, lam, outputs=k, cost=cost, beta=beta)
    _, g = cost_with_gradient(cost)(atoms @ heads + beta * bias.sum(axis=0), y)
    pulls = atoms.T @ g
    norms = np.linalg.norm(heads, axis=1)
    used = norms > 1e-4 * norms.max()
    assert (np.linalg.norm(pulls, axis=1) <= 2 * lam * (1 + 1e-4)).all()
    assert pulls[used] == pytest.approx(
        -2 * lam * heads[used] / norms[used, None], rel=1e-3, abs=1e-6
    )
    if beta:
        assert bias[0] == pytest.approx(-g.sum(axis=0) / (2 * lam), rel=1e-4, abs=1e-6)


def test_refusals():
    data = problem(6, 2, 1)
    with pytest.raises(InputError, match="'lam' must be positive"):
        covariance.fit(empty(2, 1), data, lam=0.0)
    with pytest.raises(InputError, match="'method' must be 'corrective' for more"):
        covariance.fit(DenseNetwork.random((2, 3, 3, 1)), data, lam=1e-2, method="plain")
    with pytest.raises(InputError, match="homogeneous"):
        covariance.fit(DenseNetwork.random((2, 3, 1), activation="tanh"), data, lam=1e-2)
    with pytest.raises(InputError, match="has 2 inputs and 1 outputs; the network's widths are"):
        covariance.fit(empty(3, 1), data, lam=1e-2)
    with pytest.raises(InputError, match="or deeper with neurons in each"):
        covariance.fit(DenseNetwork.random((2, 0, 3, 1)), data, lam=1e-2)


def test_train_form_covariance_finds_its_own_width(tmp_path):
    """The command writes the network that was found, not one of the widths that it started from."""
    import json

    from click.testing import CliRunner

    from keras_l2feat.cli.train import command
    from keras_l2feat.files import load_model

    x, y = problem(8, 2, 1)
    np.savez(tmp_path / "toy.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    out = tmp_path / "best.keras"
    arguments = [
        tmp_path / "toy.npz",
        "--widths",
        12,
        "--lam",
        1e-2,
        "--form",
        "covariance",
        "-o",
        out,
        "--json",
        "-",
    ]
    result = CliRunner().invoke(command, [*map(str, arguments), "--dtype", "float64", "--quiet"])
    assert result.exit_code == 0, (result.output, result.exception)
    written = json.loads(result.stdout)
    best = covariance.fit(empty(2, 1, 1.0), (x, y), lam=1e-2, quiet=True)
    assert written["loss"] == pytest.approx(best.loss, rel=2e-4)
    assert DenseNetwork.from_model(load_model(out)).hidden == tuple(written["widths"])
