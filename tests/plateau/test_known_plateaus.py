"""Descent finds the plateaus that are known: Prop. 14 (N²/4), one-hot outputs (classes), Prop. 15
(≤ 4N), a teacher's width, and for two layers the convex optimum's."""

import numpy as np
import pytest

from keras_l2feat.objectives import Problem
from keras_l2feat.plateau import certify, descent, growth, plateau_starts
from keras_l2feat.training import Budget


def starts(trials, epsilon):
    [start] = plateau_starts(
        [t.width for t in trials], [t.loss for t in trials], epsilons=(epsilon,)
    )
    return start.width


@pytest.mark.slow
@pytest.mark.parametrize("n", [4, 6, 8])
def test_bipartite_plateau_starts_at_a_quarter_of_n_squared(n):
    lam, edges = 1e-4, n * n // 4
    widths = [edges - 2, edges - 1, edges, edges + 1, 2 * edges]
    trials = descent(
        Problem(f"bipartite:n={n}", lam, beta=0.0),
        widths,
        depth=2,
        dtype="float64",
        budget=Budget(2000, 1e-9),
    )
    losses = {trial.width: trial.loss for trial in trials}
    # R = N², and C is of the order of λ²
    assert losses[edges] == pytest.approx(lam * n * n, rel=5e-3)
    assert losses[2 * edges] >= (1 - 1e-3) * losses[edges]
    # One neuron fewer costs: little for larger N, where N neurons already come within √(1 + 2/N).
    assert losses[edges - 1] > (1 + 1e-4) * losses[edges]
    assert starts(trials, 1e-4) == edges


@pytest.mark.slow
def test_one_hot_outputs_need_as_many_neurons_as_classes():
    problem = Problem("one-hot", 1e-4, beta=0.0)
    trials = descent(problem, range(1, 9), depth=2, dtype="float64", budget=Budget(2000, 1e-9))
    assert starts(trials, 1e-3) == problem.data.outputs


@pytest.mark.slow
def test_one_dimension_needs_at_most_4n():
    problem = Problem("one-dim:n=5", 1e-3)
    widths = [1, 2, 3, 5, 8, 12, 20, 30, 40]
    trials = descent(problem, widths, depth=2, dtype="float64", budget=Budget(2000, 1e-5))
    assert starts(trials, 1e-3) <= 4 * len(problem.x)
    assert np.isfinite([trial.loss for trial in trials]).all()


@pytest.mark.slow
@pytest.mark.parametrize(("outputs", "beta", "seed"), [(1, 0.0, 1), (2, 1.0, 12)])
def test_two_layers_reach_the_convex_optimum_at_its_width(outputs, beta, seed):
    """Loss, width and lower bound, from above and from below, against the convex program of all
    widths."""
    pytest.importorskip("clarabel")
    from keras_l2feat.theory.oracle import global_optimum

    generator, lam = np.random.default_rng(seed), 1e-2
    x, y = generator.standard_normal((8, 2)), generator.standard_normal((8, outputs))
    problem = Problem((x, y), lam, beta=beta)
    optimum = global_optimum(problem)
    assert optimum.enumerated
    options = {"depth": 2, "dtype": "float64", "quiet": True}
    trials = descent(problem, range(1, 17), budget=Budget(1000, 1e-9), **options)
    trials += growth(problem, width_limit=30, gap=1e-3, budget=Budget(1000, 1e-5), **options)
    best = min(trials, key=lambda trial: trial.loss)
    assert optimum.lower_bound <= best.loss <= (1 + 1e-3) * optimum.value
    assert starts(trials, 5e-3) <= optimum.network.hidden[0]
    certificate = certify(best.network, problem)
    assert (1 - 0.02) * optimum.value <= certificate.lower_bound <= optimum.value * (1 + 1e-9)


@pytest.mark.slow
def test_a_teacher_s_plateau_starts_at_its_width():
    """A teacher of width 10 is found by leading λ down from where training is easy [Jacot et al.
    2022, Fig. 2]."""
    teacher = Problem("teacher:outputs=5", 1e-6)
    trials = descent(teacher, [7, 10, 14, 20], continuation=(1e-4, 1e-5), quiet=True)
    assert starts(trials, 0.05) == 10
    [found] = [trial for trial in trials if trial.width == 10]
    assert found.test_loss < 1e-6  # of targets of variance 1: it is the teacher
