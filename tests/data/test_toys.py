"""The small data sets have the properties that their theory starts from."""

import numpy as np
import pytest

from keras_l2feat import data
from keras_l2feat.errors import InputError


@pytest.mark.parametrize("n", [2, 4, 6])
def test_bipartite_is_the_gram_matrix_of_the_edges(n):
    toy = data.load(f"bipartite:n={n}")
    pairs = [(a, b) for a in range(n // 2) for b in range(n // 2, n)]
    edges = np.array([[float(node in pair) for node in range(n)] for pair in pairs])
    np.testing.assert_array_equal(toy.y_train, edges.T @ edges)
    np.testing.assert_array_equal(toy.x_train, np.eye(n))


def test_linear_has_its_rank_and_singular_values():
    toy = data.load("linear:n=8,rank=3")
    np.testing.assert_allclose(
        np.linalg.svd(toy.y_train, compute_uv=False)[:4], [3, 2, 1, 0], atol=1e-6
    )


def test_one_dim_is_spaced_and_seeded():
    toy = data.load("one-dim:n=5,seed=3")
    np.testing.assert_allclose(np.diff(toy.x_train[:, 0]), 0.5)
    assert (
        toy.sha256
        == data.load("one-dim:n=5,seed=3").sha256
        != data.load("one-dim:n=5,seed=4").sha256
    )


@pytest.mark.parametrize(
    "name", ["bipartite:n=3", "one-dim:n=0", "linear:n=3,rank=4", "one-hot:classes=4,n=3"]
)
def test_what_makes_no_sense_is_refused(name):
    with pytest.raises(InputError, match="Received"):
        data.load(name)


def test_one_hot_classes_are_even():
    toy = data.load("one-hot:classes=3,n=7")
    np.testing.assert_array_equal(toy.y_train.sum(axis=1), 1)
    assert sorted(toy.y_train.sum(axis=0)) == [2, 2, 3]
