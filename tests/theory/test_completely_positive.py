"""Complete positivity: planted factors, graphs with known CP-rank, and matrices known to have no
factor."""

import itertools

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_l2feat.errors import InputError
from keras_l2feat.theory import completely_positive as cp
from keras_l2feat.theory.factorization import factorize

CYCLE = nx.to_numpy_array(nx.cycle_graph(5))
GRAPHS = {
    "path": nx.path_graph(6),
    "star": nx.star_graph(5),
    "cycle": nx.cycle_graph(7),
    "petersen": nx.petersen_graph(),
    "bipartite": nx.complete_bipartite_graph(3, 4),
    "cube": nx.hypercube_graph(3),
    "two parts": nx.disjoint_union(nx.cycle_graph(4), nx.path_graph(3)),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_a_graph_without_triangles_has_its_edges_as_cp_rank(name):
    graph = GRAPHS[name]
    matrix = cp.graph_matrix(graph)
    edges = cp.edge_matrix(graph)
    assert edges.shape == (graph.number_of_edges(), graph.number_of_nodes())
    assert cp.cp_rank_bounds(matrix) == (graph.number_of_edges(),) * 2
    assert cp.fooling_set(matrix > 0) >= graph.number_of_edges()
    result = cp.recognize(matrix)
    assert result.answer == "yes"
    np.testing.assert_allclose(result.factor @ result.factor.T, matrix, atol=1e-9)
    assert result.factor.min() >= 0


def test_the_bipartite_matrix_is_what_the_paper_writes():
    for n in (4, 6, 8):
        ones, eye = np.ones((n // 2, n // 2)), n // 2 * np.eye(n // 2)
        np.testing.assert_array_equal(cp.bipartite_matrix(n), np.block([[eye, ones], [ones, eye]]))
        assert cp.cp_rank_bounds(cp.bipartite_matrix(n)) == (n**2 // 4,) * 2


@settings(max_examples=15)
@given(
    n=st.integers(2, 6), k=st.integers(1, 8), density=st.floats(0.3, 1), seed=st.integers(0, 10**6)
)
def test_a_planted_factor_is_recognized_and_its_columns_respect_the_bounds(n, k, density, seed):
    generator = np.random.default_rng(seed)
    planted = generator.random((n, k)) * (generator.random((n, k)) < density)
    planted[:, 0] += 0.1
    matrix = planted @ planted.T
    result = cp.recognize(matrix, seed=seed)
    assert result.answer == "yes", result
    if result.factor is not None:
        assert result.factor.min() >= 0
        assert np.linalg.norm(result.factor @ result.factor.T - matrix) <= 1e-8 * np.linalg.norm(
            matrix
        )
    lower, _ = cp.cp_rank_bounds(matrix)
    assert lower <= k


@pytest.mark.parametrize(
    "matrix, reason",
    [
        (np.array([[1.0, -0.1], [-0.1, 1.0]]), "negative entry"),
        (np.array([[1.0, 2.0], [2.0, 1.0]]), "negative eigenvalue"),
        (
            CYCLE + 1.62 * np.eye(5),
            "no triangle",
        ),  # positive definite: the cycle's least eigenvalue is −1.618
    ],
)
def test_matrices_without_a_factor_are_refuted(matrix, reason):
    result = cp.recognize(matrix)
    assert result.answer == "no"
    assert reason in result.reason


def test_horns_matrix_refutes_a_dense_matrix():
    """Doubly nonnegative with every entry positive, yet no factor: a shifted cycle, filled in a
    little."""
    matrix = CYCLE + 1.62 * np.eye(5) + 0.01 * np.ones((5, 5))
    assert np.linalg.eigvalsh(matrix)[0] > 0
    assert matrix.min() > 0
    horn = np.where(CYCLE > 0, -1.0, 1.0)
    assert np.sum(matrix * horn) < 0
    order = np.random.default_rng(0).permutation(5)
    result = cp.recognize(matrix[np.ix_(order, order)])
    assert result.answer == "no"
    assert "Horn" in result.reason
    assert not factorize(matrix, restarts=3).found


def test_the_copositive_minimum_is_that_of_a_fine_grid():
    generator = np.random.default_rng(0)
    grid = np.array([p for p in itertools.product(range(21), repeat=3) if sum(p) == 20]) / 20
    for _ in range(20):
        m = generator.standard_normal((3, 3))
        m = m + m.T
        coarse = np.einsum("pi,ij,pj->p", grid, m, grid).min()
        assert coarse - 0.1 < cp._copositive_minimum(m) <= coarse + 1e-12


def test_known_matrices_by_their_graph_alone():
    book = nx.Graph([(0, 1)] + [(end, page) for page in range(2, 7) for end in (0, 1)])
    assert cp._no_long_odd_cycle(book)
    assert cp._no_long_odd_cycle(nx.complete_bipartite_graph(3, 4))
    assert not cp._no_long_odd_cycle(nx.cycle_graph(5))
    assert not cp._no_long_odd_cycle(nx.complete_graph(5))


def test_the_smallest_factorization_of_planted_matrices():
    one_hot = np.kron(np.eye(3), np.ones((2, 2)))  # three blocks of ones: three columns
    assert cp.smallest_factorization(one_hot).factor.shape[1] == 3
    square = cp.smallest_factorization(cp.bipartite_matrix(4), restarts=5)
    assert square.factor.shape[1] == 4
    assert not factorize(cp.bipartite_matrix(6), 8, restarts=3).found  # one less than N²/4


def test_what_is_no_symmetric_matrix_or_has_triangles_is_refused():
    with pytest.raises(InputError, match="symmetric"):
        cp.recognize([[1.0, 2.0], [0.0, 1.0]])
    with pytest.raises(InputError, match="square"):
        cp.recognize(np.ones((2, 3)))
    with pytest.raises(InputError, match="free of triangles"):
        cp.graph_matrix(nx.complete_graph(3))
    with pytest.raises(InputError, match="loops"):
        cp.edge_matrix(nx.DiGraph([(0, 1)]))
    with pytest.raises(InputError, match="even"):
        cp.bipartite_matrix(5)
