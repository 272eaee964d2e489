"""The insertion score's maximum: enumerated, searched, and by brute force."""

import numpy as np
import pytest
import tensorflow as tf

from keras_l2feat.activations import ACTIVATIONS, slopes
from keras_l2feat.errors import InputError
from keras_l2feat.kernels.insertion import Enumeration, insertion_ascent, insertion_maximum


def problem(n, d, k, seed=0):
    generator = np.random.default_rng(seed)
    return generator.standard_normal((n, k)), generator.standard_normal((n, d))


def score(g, a, w, activation="relu"):
    return np.linalg.norm(g.T @ ACTIVATIONS[activation].values(a @ w), axis=0)


def on_circle(count=20001):
    angles = np.linspace(0, 2 * np.pi, count)
    return np.stack([np.cos(angles), np.sin(angles)])


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "abs", "linear"])
@pytest.mark.parametrize("k", [1, 3])
def test_enumerated_maximum_is_the_maximum_on_a_circle(activation, k):
    g, a = problem(12, 2, k, seed=k)
    found = insertion_maximum(g, a, activation=activation, method="enumerate")
    assert found.enumerated
    brute = score(g, a, on_circle(), activation).max()
    step = 2 * np.pi / 20000  # s is Lipschitz: a finer circle gains at most this
    assert brute <= found.score <= brute + step * np.linalg.norm(g) * np.linalg.norm(a)
    assert score(g, a, found.directions, activation)[0] == pytest.approx(found.score, rel=1e-12)
    assert np.linalg.norm(found.directions, axis=0) == pytest.approx(1.0)


@pytest.mark.parametrize("n, d, k", [(10, 3, 1), (8, 3, 2), (6, 6, 2), (5, 9, 1), (7, 4, 3)])
def test_enumerated_maximum_bounds_every_neuron(n, d, k):
    g, a = problem(n, d, k, seed=n)
    found = insertion_maximum(g, a, method="enumerate")
    random = np.random.default_rng(1).standard_normal((d, 20000))
    random = np.concatenate([random, a.T, -a.T], axis=1)
    assert score(g, a, random / np.linalg.norm(random, axis=0)).max() <= found.score
    searched = insertion_maximum(g, a, method="search", starts=50, steps=60)
    assert not searched.enumerated
    assert 0.999 * found.score <= searched.score <= found.score * (1 + 1e-12)


def test_enumeration_in_degenerate_position():
    """Repeated, opposite and zero points, and more inputs than they span."""
    g, a = problem(5, 2, 2, seed=3)
    a = np.concatenate([a, a[:2], -a[:1], np.zeros((1, 2))])
    g = np.concatenate([g, g[:2] - 1, g[:1] + 1, np.ones((1, 2))])
    wide = a @ np.linalg.qr(np.random.default_rng(4).standard_normal((5, 2)))[0].T
    flat = insertion_maximum(g, a, method="enumerate").score
    assert flat == pytest.approx(score(g, a, on_circle()).max(), rel=1e-3)
    assert flat >= score(g, a, on_circle()).max()
    assert insertion_maximum(g, wide, method="enumerate").score == pytest.approx(flat, rel=1e-10)


def test_one_enumeration_serves_many_gradients_and_names_distinct_neurons():
    g, a = problem(10, 3, 1, seed=5)
    enumeration = Enumeration(a)
    for scale in (1.0, -3.0, 1e-8, 1e8):
        found = enumeration.maximum(scale * g, count=6, above=0.0)
        assert (np.diff(found.scores) <= 0).all()
        assert score(scale * g, a, found.directions) == pytest.approx(found.scores)
        cosines = found.directions.T @ found.directions - np.eye(len(found.scores))
        assert cosines.max() < 0.9991


def test_a_maximum_on_a_kink_is_found():
    """One point pulls, one pushes back: the best neuron is orthogonal to the second, exactly."""
    a = np.array([[1.0, 0.0], [0.2, 1.0]])
    found = insertion_maximum(np.array([[10.0], [-3.0]]), a, method="enumerate")
    assert found.score == pytest.approx(10 / np.sqrt(1.04), rel=1e-12)
    assert a[1] @ found.directions[:, 0] == pytest.approx(0.0, abs=1e-12)
    searched = insertion_maximum(np.array([[10.0], [-3.0]]), a, method="search", starts=10)
    assert searched.score == pytest.approx(found.score, rel=1e-4)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_ascent_never_lowers_the_score_and_keeps_the_sphere(dtype):
    g, a = problem(40, 6, 3)
    starts = np.random.default_rng(2).standard_normal((6, 30))
    tensors = [tf.constant(value, dtype) for value in (g, a, starts)]
    before = score(g, a, starts / np.linalg.norm(starts, axis=0))
    values = [before]
    for steps in (0, 5, 50):
        scores, w = insertion_ascent(*tensors, steps=steps)
        assert scores.dtype == dtype
        tolerance = 1e-5 if dtype == "float32" else 1e-12
        assert score(g, a, w.numpy().astype(float)) == pytest.approx(scores.numpy(), rel=tolerance)
        assert np.linalg.norm(w, axis=0) == pytest.approx(1.0, rel=tolerance)
        assert (scores.numpy() >= values[-1] * (1 - tolerance)).all()
        values.append(scores.numpy())
    assert values[-1].max() > before.max()


def test_ascent_is_batched():
    g, a = (np.stack([p[i] for p in (problem(9, 4, 2, s) for s in (0, 1))]) for i in (0, 1))
    starts = np.random.default_rng(0).standard_normal((2, 4, 5))
    scores, w = insertion_ascent(g, a, starts, steps=10)
    assert w.shape == (2, 4, 5)
    for i in range(2):
        alone, _ = insertion_ascent(g[i], a[i], starts[i], steps=10)
        assert scores[i].numpy() == pytest.approx(alone.numpy(), rel=1e-10)


@pytest.mark.parametrize("scale", [1e-12, 1e6, 1e150])
def test_search_knows_no_scale(scale):
    g, a = problem(30, 8, 2)
    expected = insertion_maximum(g, a, method="search", starts=20, steps=20).score
    assert insertion_maximum(
        scale * g, a, method="search", starts=20, steps=20
    ).score == pytest.approx(scale * expected, rel=1e-6)
    assert insertion_maximum(
        g, a / scale, method="search", starts=20, steps=20
    ).score == pytest.approx(expected / scale, rel=1e-6)


@pytest.mark.parametrize("method", ["enumerate", "search"])
def test_nothing_to_gain(method):
    g, a = problem(6, 2, 2)
    for gradient, points in ((0 * g, a), (g, 0 * a)):
        found = insertion_maximum(gradient, points, live=np.zeros((2, 1)), method=method)
        assert found.score == 0.0
        assert np.isfinite(found.directions).all()


def test_live_neurons_are_starts():
    """A needle that random starts miss: the live neuron sits on it."""
    generator = np.random.default_rng(0)
    a = generator.standard_normal((400, 30))
    g = np.ones((400, 1))
    g[0] = -4000.0
    live = a[:1].T
    with_live = insertion_maximum(g, a, live=live, starts=1, steps=0, method="search").score
    assert with_live >= score(g, a, live / np.linalg.norm(live))[0] * (1 - 1e-6)


def test_slopes_and_refusals():
    assert slopes("relu") == (0.0, 1.0)
    assert slopes("abs") == (-1.0, 1.0)
    assert slopes("leaky_relu") == pytest.approx((0.2, 1.0))
    with pytest.raises(InputError, match=r"'activation' must be positively homogeneous.*tanh"):
        insertion_maximum(*problem(4, 2, 1), activation="tanh")
    with pytest.raises(InputError, match="'method' must be"):
        insertion_maximum(*problem(4, 2, 1), method="guess")
    with pytest.raises(InputError, match="out of reach"):
        insertion_maximum(*problem(60, 30, 1), method="enumerate")
