"""Completely positive matrices, A = B Bᵀ with B ≥ 0: recognized where that is easy, and their
CP-rank bounded.

Deciding complete positivity is NP-hard, so `recognize` knows "yes", "no" and "undecided", each with
its reason. The graph of A has an edge where an entry is positive; in a nonnegative factor each
column lives on a clique of it, which is what ties CP-rank to graphs: with no triangle a column
covers one edge at most. [Berman and Shaked-Monderer, Completely Positive Matrices, 2003; Jacot et
al. 2022, Prop. 13]
"""

import itertools
from dataclasses import dataclass

import networkx as nx
import numpy as np
from networkx import Graph
from numpy.typing import ArrayLike

from keras_l2feat.errors import bad_argument
from keras_l2feat.theory.factorization import Factorization, factorize, symmetric

__all__ = [
    "Recognition",
    "bipartite_matrix",
    "cp_rank_bounds",
    "edge_matrix",
    "graph_matrix",
    "recognize",
    "smallest_factorization",
]


@dataclass(frozen=True)
class Recognition:
    """Whether a matrix is completely positive.

    Attributes:
        answer: `"yes"`, `"no"` or `"undecided"`.
        reason: what shows it.
        factor: B ≥ 0 with A = B Bᵀ, where one is at hand.
    """

    answer: str
    reason: str
    factor: np.ndarray | None = None


def edge_matrix(graph: Graph) -> np.ndarray:
    """E, float64 `(k, n)`: one row per edge, 1 at its two vertices, in the order of `graph.nodes`
    and `graph.edges`.

    Raises:
        InputError: the graph has directed edges or loops.
    """
    if graph.is_directed() or nx.number_of_selfloops(graph):
        raise bad_argument("graph", "undirected and without loops", graph)
    place = {node: index for index, node in enumerate(graph.nodes)}
    edges = np.zeros((graph.number_of_edges(), graph.number_of_nodes()))
    for row, ends in enumerate(graph.edges):
        edges[row, [place[end] for end in ends]] = 1.0
    return edges


def graph_matrix(graph: Graph) -> np.ndarray:
    """A = EᵀE, float64 `(n, n)`, whose CP-rank is exactly the number of edges, as the graph has no
    triangle.

    [Jacot et al. 2022, Prop. 13]

    Raises:
        InputError: the graph has a triangle (then fewer columns may do), directed edges or loops.
    """
    edges = edge_matrix(graph)
    if any(nx.triangles(graph).values()):
        raise bad_argument("graph", "free of triangles", graph)
    return edges.T @ edges


def bipartite_matrix(n: int) -> np.ndarray:
    """The `graph_matrix` of the complete bipartite graph, Y_N = [[N/2·I, 1], [1, N/2·I]], float64
    `(N, N)`; its CP-rank is N²/4."""
    if n < 2 or n % 2:
        raise bad_argument("n", "even, at least 2", n)
    return graph_matrix(nx.complete_bipartite_graph(n // 2, n // 2))


def recognize(matrix: ArrayLike, *, restarts: int = 20, seed: int = 0) -> Recognition:
    """Whether a symmetric matrix is completely positive, where one of the known criteria decides.

    The answer is "no" where an entry or an eigenvalue is negative, where the graph has no triangle
    and the comparison matrix is indefinite, or where the matrix is negative on a copositive matrix
    of the orbit of Horn's. It is "yes" where the comparison matrix is positive semidefinite (with a
    factor), where the matrix has at most four rows or rank two, where its graph has no long odd
    cycle, or where a factor was found. Otherwise it is "undecided".

    Args:
        matrix: `(n, n)`, symmetric.
        restarts: the greatest number of tries of `factorize`.
        seed: of these tries.

    Raises:
        InputError: the matrix is not square, not symmetric or not finite.
    """
    a = symmetric(matrix)
    scale = max(np.abs(a).max(), 1e-300)
    slack = 1e-10 * scale * len(a)
    if a.min() < -1e-12 * scale:
        return Recognition("no", "it has a negative entry")
    if np.linalg.eigvalsh(a)[0] < -slack:
        return Recognition("no", "it has a negative eigenvalue")
    factor = _by_diagonal_dominance(a, slack)
    if factor is not None:
        return Recognition("yes", "its comparison matrix is positive semidefinite", factor)
    graph = _graph(a)
    if not any(nx.triangles(graph).values()):
        return Recognition(
            "no", "its graph has no triangle and its comparison matrix is not positive semidefinite"
        )
    if _horn_cut(a, slack):
        return Recognition("no", "it is negative on a copositive matrix of the orbit of Horn's")
    result = factorize(a, restarts=restarts, seed=seed)
    factor = result.factor if result.found else None
    if len(a) <= 4:
        return Recognition("yes", "it is doubly nonnegative and has at most four rows", factor)
    if _rank(a) <= 2:
        return Recognition("yes", "it is doubly nonnegative and of rank two", factor)
    if _no_long_odd_cycle(graph):
        return Recognition(
            "yes", "it is doubly nonnegative and its graph has no odd cycle of five or more", factor
        )
    if result.found:
        return Recognition("yes", f"a factor was found, residual {result.residual:.1e}", factor)
    return Recognition(
        "undecided", f"no factor found in {restarts} tries, best residual {result.residual:.1e}"
    )


def smallest_factorization(
    matrix: ArrayLike, *, restarts: int = 20, seed: int = 0
) -> Factorization | None:
    """A factor of as few columns as the search finds, going up from the lower bound of
    `cp_rank_bounds`; None if none.

    Its number of columns is an upper bound on the CP-rank, and the CP-rank itself where it meets
    the lower bound.
    """
    lower, upper = cp_rank_bounds(matrix)
    for columns in range(max(lower, 1), upper + 1):
        result = factorize(matrix, columns, restarts=restarts, seed=seed)
        if result.found:
            return result
    return None


def cp_rank_bounds(matrix: ArrayLike) -> tuple:
    """Bounds `(lower, upper)` on the CP-rank of a matrix, valid if it is completely positive.

    Without triangles the CP-rank is known: per component the number of edges, or the rank if it is
    a tree. Otherwise lower is the larger of the rank and a set of entries no two of which fit into
    one clique (a fooling set, found greedily), upper is r (r + 1)/2 − 1 for rank r [Barioli and
    Berman 2003] or n (n + 1)/2 − 4 for n ≥ 5 [Shaked-Monderer et al. 2015], whichever is less, and
    n for n ≤ 4.
    """
    a = symmetric(matrix)
    n, rank = len(a), _rank(a)
    graph = _graph(a)
    if not any(nx.triangles(graph).values()):
        exact = sum(_component_rank(a, graph, nodes) for nodes in nx.connected_components(graph))
        return exact, exact
    upper = max(rank, rank * (rank + 1) // 2 - 1)
    upper = min(upper, n) if n <= 4 else min(upper, n * (n + 1) // 2 - 4)
    return max(rank, fooling_set(a > _zero(a))), upper


def fooling_set(support, *, candidates=20000) -> int:
    """The size of a set of positive entries of which no two lie in one clique of the graph
    `support`, bool `(n, n)`.

    Every column of a nonnegative factor covers at most one of them: a lower bound on the CP-rank.
    Found greedily, among the first `candidates` entries, those with few common neighbours first.
    """
    support = np.asarray(support, dtype=bool)
    rows, columns = np.nonzero(np.triu(support))
    common = (support.astype(np.float32) @ support.astype(np.float32))[rows, columns]
    chosen = np.zeros((0, 2), dtype=int)
    for index in np.argsort(common, kind="stable")[:candidates]:
        i, j = rows[index], columns[index]
        left, right = chosen.T
        clash = support[i, left] & support[i, right] & support[j, left] & support[j, right]
        if not clash.any():
            chosen = np.vstack([chosen, [i, j]])
    return len(chosen)


def _component_rank(a, graph, nodes):
    index = sorted(nodes)
    edges = graph.subgraph(nodes).number_of_edges()
    return edges if edges >= len(index) else _rank(a[np.ix_(index, index)])


def _by_diagonal_dominance(a, slack):
    """B with A = B Bᵀ if the comparison matrix M (off-diagonal entries negated) is positive
    semidefinite, else None.

    Its lowest eigenvector d > 0 of each component has M d ≥ 0, so D A D is diagonally dominant: one
    column per edge and one per positive surplus.
    """
    n = len(a)
    columns = []
    for nodes in nx.connected_components(_graph(a)):
        index = sorted(nodes)
        block = a[np.ix_(index, index)]
        values, vectors = np.linalg.eigh(2 * np.diag(np.diag(block)) - block)
        if values[0] < -slack:
            return None
        d = np.abs(vectors[:, 0])
        for i, j in itertools.combinations(range(len(index)), 2):
            if block[i, j] > 0 and d[i] > 0 and d[j] > 0:
                column, ratios = np.zeros(n), np.array([d[j] / d[i], d[i] / d[j]])
                column[[index[i], index[j]]] = np.sqrt(block[i, j] * ratios)
                columns.append(column)
    factor = np.array(columns).reshape(-1, n).T
    surplus = np.diag(a) - (factor**2).sum(axis=1)
    if surplus.min() < -slack:
        return None
    extra = np.diag(np.sqrt(np.where(surplus > slack, surplus, 0.0)))
    return np.hstack([factor, extra[:, surplus > slack]])


def _horn_cut(a, slack):
    """Whether dᵀ (A ∘ H) d < 0 for some d ≥ 0, H Horn's copositive matrix on some five rows in some
    order."""
    horn = np.ones((5, 5))
    for i in range(5):
        horn[i, (i + 1) % 5] = horn[i, (i - 1) % 5] = -1
    for five in itertools.combinations(range(len(a)), 5) if len(a) <= 12 else ():
        for order in itertools.permutations(five[1:]):
            if order[0] < order[-1]:  # each cycle once
                index = [five[0], *order]
                if _copositive_minimum(a[np.ix_(index, index)] * horn) < -slack:
                    return True
    return False


def _copositive_minimum(m):
    """The least value of xᵀ M x on the unit simplex, by its stationary points on every face."""
    best = np.inf
    for size in range(1, len(m) + 1):
        for face in itertools.combinations(range(len(m)), size):
            block = m[np.ix_(face, face)]
            x = np.linalg.lstsq(block, np.ones(size), rcond=1e-12)[0]
            solves, total = np.allclose(block @ x, 1, atol=1e-9), x.sum()
            if solves and abs(total) > 1e-12 and (x / total).min() >= 0:
                best = min(best, 1 / total)
    return best


def _no_long_odd_cycle(graph):
    """Whether each block is bipartite, of at most four vertices, or triangles on one edge [Kogan,
    Berman 1993]."""
    for nodes in nx.biconnected_components(graph):
        block = graph.subgraph(nodes)
        if len(nodes) > 4 and not nx.is_bipartite(block) and not _is_book(block):
            return False
    return True


def _is_book(block):
    spine = [node for node, degree in block.degree if degree == len(block) - 1]
    return len(spine) == 2 and block.number_of_edges() == 2 * (len(block) - 2) + 1


def _graph(a):
    graph = nx.from_numpy_array((a > _zero(a)).astype(int))
    graph.remove_edges_from(list(nx.selfloop_edges(graph)))
    # a zero row needs no column
    graph.remove_nodes_from([i for i in range(len(a)) if a[i, i] <= _zero(a)])
    return graph


def _zero(a):
    """Below this an entry is rounding."""
    return 1e-12 * np.abs(a).max()


def _rank(a):
    tolerance = 1e-10 * max(np.abs(a).max(), 1e-300) * len(a)
    return int(np.linalg.matrix_rank(a, tol=tolerance, hermitian=True))
