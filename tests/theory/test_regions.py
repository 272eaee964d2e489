"""Activation regions and their minima."""

import numpy as np
import pytest

from keras_l2feat.network import DenseNetwork
from keras_l2feat.objectives import Problem
from keras_l2feat.theory.oracle import global_optimum
from keras_l2feat.theory.patterns import patterns
from keras_l2feat.theory.regions import Region, random_region, region_minimum, region_of

pytest.importorskip("clarabel")
LAM = 1e-2


@pytest.fixture(scope="module")
def toy():
    generator = np.random.default_rng(0)
    x, y = generator.standard_normal((5, 2)), generator.standard_normal(5)
    problem = Problem((x, y), LAM, beta=0.0)
    return problem, global_optimum(problem, tolerance=1e-8)


def loss(x, y, w, v):
    return np.mean((np.maximum(x @ w, 0) @ v - y) ** 2) + LAM * (np.sum(w**2) + np.sum(v**2))


def point(region, minimum):
    """Balanced weights at a region's minimum, one neuron a column."""
    norms = np.sqrt(np.linalg.norm(minimum.u, axis=1))
    return (minimum.u / np.maximum(norms, 1e-30)[:, None]).T, norms * region.columns[:, -1]


def minima(toy, neurons, count=60):
    problem, optimum = toy
    generator = np.random.default_rng(neurons)
    for _ in range(count):
        region = random_region(problem.x, neurons, generator)
        yield region, region_minimum(problem, region, optimum.value)


def test_region_of_parameters():
    x = np.array([[1.0, 0.0], [0.0, 1.0]])
    network = DenseNetwork(
        (np.array([[1.0, -1.0], [-1.0, 2.0]]), np.array([[1.0], [-2.0]])), beta=0.0
    )
    region = region_of(network, x)
    assert region.signs.tolist() == [[1, -1], [-1, 1]]
    assert region.heads.tolist() == [1, -1]


def test_all_patterns_together_hold_the_global_minimum(toy):
    problem, optimum = toy
    active = patterns(problem.x)
    signs = np.repeat(np.where(active, 1, -1), 2, axis=0).astype(np.int8)
    everything = Region(signs, np.tile(np.array([1, -1], np.int8), len(active)))
    minimum = region_minimum(problem, everything, optimum.value)
    assert minimum.kind == "global"
    assert minimum.value == pytest.approx(optimum.value, rel=1e-6)


def test_no_region_is_below_the_optimum_and_kinds_tell_the_value(toy):
    for neurons in (1, 4, 30):
        for _, minimum in minima(toy, neurons, 25):
            assert minimum.value >= toy[1].lower_bound * (1 - 1e-9)
            assert (minimum.kind == "global") == (minimum.value <= toy[1].value * (1 + 1e-6))


@pytest.mark.slow
def test_spurious_minima_are_local_minima_and_the_others_are_not(toy):
    x, y = toy[0].x, toy[0].y[:, 0]
    met = set()
    generator = np.random.default_rng(0)
    for neurons in (1, 2, 3):
        for region, minimum in minima(toy, neurons):
            w, v = point(region, minimum)
            here = loss(x, y, w, v)
            assert here == pytest.approx(minimum.value, rel=1e-6)
            if minimum.kind == "global":
                continue
            scale = 1e-3
            around = [
                loss(
                    x,
                    y,
                    w + scale * generator.standard_normal(w.shape),
                    v + scale * generator.standard_normal(v.shape),
                )
                for _ in range(400)
            ]
            met.add((minimum.kind, minimum.on_border))
            if minimum.kind == "spurious":
                assert min(around) >= here - 1e-9
            elif not np.any(np.linalg.norm(minimum.u, axis=1) < 1e-6):
                assert min(around) < here  # all neurons live, on a kink: the loss falls across it
    assert ("spurious", True) in met
    assert ("none", True) in met


def test_orthogonal_points_need_the_one_pattern():
    """X = I, y > 0: global iff a neuron with a positive head is active on every point."""
    x, y = np.eye(3), np.array([1.0, 2.0, 1.5])
    problem = Problem((x, y), LAM, beta=0.0)
    optimum = global_optimum(problem, tolerance=1e-8).value
    generator = np.random.default_rng(1)
    for _ in range(40):
        region = random_region(x, 6, generator)
        needed = ((region.signs > 0).all(axis=1) & (region.heads > 0)).any()
        assert (region_minimum(problem, region, optimum).kind == "global") == needed
