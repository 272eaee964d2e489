"""Data sets whose least-norm networks are known: weights, representation cost, the width where the
plateau starts.

Each is a `Construction`, built from the data set of the same name; `Construction.facts` recomputes
what is claimed.
"""

from dataclasses import dataclass

import networkx as nx
import numpy as np
from numpy.typing import ArrayLike

from keras_l2feat import data
from keras_l2feat.caratheodory import reduce_network
from keras_l2feat.errors import bad_argument, require
from keras_l2feat.network import DenseNetwork
from keras_l2feat.objectives import Problem
from keras_l2feat.theory import completely_positive, ranks
from keras_l2feat.training.balancing import imbalance
from keras_l2feat.training.rays import snap

__all__ = [
    "Construction",
    "Fold",
    "bipartite",
    "fold",
    "linear",
    "one_dim",
    "one_hot",
    "square_root",
]


@dataclass(frozen=True)
class Construction:
    """A data set with its least-norm network.

    Attributes:
        name: of the data set, for `data.load` where it has one.
        x, y: `(N, n_0)`, `(N, k)`, float64.
        network: a `DenseNetwork` of least norm that fits y exactly.
        cost: R(X, Y), from a formula where there is one.
        plateau: the width from which R no longer falls; or the most it can be, where `exact` is
            false.
        exact: whether `plateau` is the width itself.
        source: the proposition.
    """

    name: str
    x: np.ndarray
    y: np.ndarray
    network: DenseNetwork
    cost: float
    plateau: int
    exact: bool
    source: str

    def facts(self) -> dict:
        """What holds of the network, recomputed: `residual` max |Z_L − Y|, `squared_norm`,
        `imbalance` (largest |log ‖w‖/‖v‖|), and `rank`, the bounds of `ranks.rank_bounds` for its
        first hidden layer (relu only)."""
        z = self.network.forward(self.x)[0]
        facts: dict = {
            "residual": float(np.abs(z[-1] - self.y).max()),
            "squared_norm": self.network.squared_norm,
            "imbalance": imbalance(list(self.network.weights)) if self.network.beta == 0 else None,
        }
        if self.network.activation == "relu":
            facts["rank"] = ranks.rank_bounds(z[0], name="hidden 1")
        return facts


def square_root(
    y: ArrayLike,
    *,
    factor: np.ndarray | None = None,
    name: str = "square-root",
    cost: float | None = None,
    seed: int = 0,
) -> Construction:
    """X = I and Y with completely positive (Y Yᵀ)^{1/2} = B Bᵀ: W_1 = B, W_2 = Bᵀ U for the polar
    factor U of Y.

    The rank at any minimum is the CP-rank of (Y Yᵀ)^{1/2}, both hidden covariances equal it, and R
    = 2 tr (Y Yᵀ)^{1/2}, as every network costs 2 Σ‖w_i‖‖v_i‖ ≥ 2 ‖Y‖_*. [Jacot et al. 2022, Prop.
    14]

    Args:
        y: `(N, k)`.
        factor: B ≥ 0, `(N, m)`; searched for if not given.
        name: of the construction.
        cost: R where a formula is known; 2 ‖Y‖_* otherwise.
        seed: of the search.

    Raises:
        InputError: (Y Yᵀ)^{1/2} is not completely positive, or no factor was found.
    """
    y = np.asarray(y, dtype=np.float64)
    left, singular, right = np.linalg.svd(y, full_matrices=False)
    root = (left * singular) @ left.T
    if factor is None:
        found = None
        if root.min() > -1e-9:
            found = completely_positive.smallest_factorization(root, seed=seed)
        if found is None:
            expected = "such that (Y Yᵀ)^{1/2} is completely positive"
            raise bad_argument("y", expected, completely_positive.recognize(root, seed=seed))
        factor = found.factor
    lower, upper = completely_positive.cp_rank_bounds(root)
    network = DenseNetwork((factor, factor.T @ (left @ right)), beta=0.0)
    cost = 2 * float(singular.sum()) if cost is None else cost
    plateau, source = factor.shape[1], "Jacot et al. 2022, Prop. 14"
    exact = lower in (upper, plateau)
    return Construction(name, np.eye(len(y)), y, network, cost, plateau, exact, source)


def bipartite(n: int = 4) -> Construction:
    """Y_N of the complete bipartite graph: R = N², reached from N²/4 neurons on by W_1 = Eᵀ, W_2 =
    E. [Prop. 14]"""
    toy = data.load(f"bipartite:n={n}")
    edges = completely_positive.edge_matrix(nx.complete_bipartite_graph(n // 2, n // 2))
    return square_root(toy.y_train, factor=edges.T, name=toy.name, cost=float(n**2))


def one_hot(classes: int = 3, n: int = 9) -> Construction:
    """One-hot targets: one neuron per class, R = 2 Σ √(class size). [after Prop. 14]"""
    toy = data.load(f"one-hot:classes={classes},n={n}")
    sizes = toy.y_train.sum(axis=0, dtype=np.float64)
    factor = toy.y_train / sizes**0.25
    cost = 2 * float(np.sqrt(sizes).sum())
    return square_root(toy.y_train, factor=factor, name=toy.name, cost=cost)


def linear(n: int = 8, rank: int = 3, seed: int = 0, depth: int = 3) -> Construction:
    """A deep linear network on X = I: W_l share the singular values s^{1/L}, R = L Σ s_i^{2/L},
    plateau at rank Y.

    Hidden covariances are K_l = U s^{2l/L} Uᵀ: they go from input to output geometrically. [Jacot
    et al. 2022]
    """
    require(depth >= 2, "depth", "at least 2", depth)
    toy = data.load(f"linear:n={n},rank={rank},seed={seed}")
    left, singular, right = np.linalg.svd(toy.y_train.astype(np.float64), full_matrices=False)
    kept = singular > 1e-6 * singular[0]  # targets are stored as float32
    left, singular, right = left[:, kept], singular[kept], right[kept]
    factors = np.diag(singular ** (1 / depth))
    weights = left @ factors, *[factors] * (depth - 2), factors @ right
    network = DenseNetwork(weights, activation="linear", beta=0.0)
    y, cost = (left * singular) @ right, depth * float(np.sum(singular ** (2 / depth)))
    source = "deep linear networks, Schatten 2/L"
    return Construction(toy.name, np.eye(n), y, network, cost, int(kept.sum()), True, source)


def one_dim(n: int = 10, seed: int = 0) -> Construction:
    """Points on a line, relu with bias (β = 1): the convex program's optimum, on at most 4N
    neurons. [Prop. 15]"""
    from keras_l2feat.theory.norm import representation_cost

    toy = data.load(f"one-dim:n={n},seed={seed}")
    found = representation_cost(toy.x_train, toy.y_train, beta=1.0, method="convex")
    # The program splits a neuron between neighbouring cones; joined again, a basic solution has at
    # most N neurons.
    joined = found.network.to_model(dtype="float64")
    snap(joined, angle=1e-4, negligible=1e-6)
    network = reduce_network(DenseNetwork.from_model(joined), toy.x_train)[0]
    x, y = toy.x_train.astype(np.float64), toy.y_train.astype(np.float64)
    (plateau,), source = network.hidden, "Jacot et al. 2022, Prop. 15"
    return Construction(toy.name, x, y, network, found.cost, plateau, False, source)


@dataclass(frozen=True)
class Fold:
    """A minimum of the weights whose covariances are shared by a point that is none. [Jacot et al.
    2022, Prop. 19]

    Attributes:
        x, y: (1, −1) and (1, 1), `(2, 1)`.
        lam: λ, below 1/2; the cost is `"squared"`, ½ Σ (z − y)².
        both: w = v = (a, a), 2 a² = 1 − 2λ: a local minimum, as no small step makes a neuron fire
            on x = −1.
        one: w = v = (√(1 − 2λ), 0), of the same (K, Z_2): no minimum, its second neuron may turn.
    """

    x: np.ndarray
    y: np.ndarray
    lam: float
    both: DenseNetwork
    one: DenseNetwork

    @property
    def problem(self) -> Problem:
        """Of which `both` is a local minimum."""
        return Problem.of(self.both, (self.x, self.y), self.lam)

    def turned(self, epsilon: float) -> DenseNetwork:
        """`one` with its second neuron turned to (−ε, ε): the loss falls by ε²(1 − 2λ) − ε⁴/2."""
        a = float(self.one.weights[0][0, 0])
        return DenseNetwork((np.array([[a, -epsilon]]), np.array([[a], [epsilon]])), beta=0.0)


def fold(lam: float = 0.1) -> Fold:
    """The counter-example of Prop. 19 at a given λ in (0, 1/2)."""
    require(0 < lam < 0.5, "lam", "between 0 and 1/2, so that the network is not zero", lam)
    toy = data.load("two-points")
    a = np.sqrt(1 - 2 * lam)
    both, one = (
        DenseNetwork((np.array([[p, q]]), np.array([[p], [q]])), beta=0.0)
        for p, q in ((a / np.sqrt(2), a / np.sqrt(2)), (a, 0.0))
    )
    return Fold(toy.x_train.astype(np.float64), toy.y_train.astype(np.float64), lam, both, one)
