"""How many neurons a trained layer needs: bounds on Rank_σ(K, K^σ), the least number that gives its
covariances.

From below the ranks of K and K^σ and what the CP-rank of K^σ is at least; from above the number of
rays, the reduction of Carathéodory, and N(N + 1). [Jacot et al. 2022, Lemma 10 and Prop. 7, 8]
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike

from keras_l2feat.activations import ACTIVATIONS, scaling
from keras_l2feat.caratheodory import basic_solution, covariance_atoms
from keras_l2feat.errors import require
from keras_l2feat.network import DenseNetwork
from keras_l2feat.theory.completely_positive import fooling_set
from keras_l2feat.training.rays import ray_labels

__all__ = ["RankBounds", "rank_bounds", "rank_report"]

# Radians within which neurons count as one ray, and relative singular values below which neurons or
# atoms count as dependent: float32 weights are off by 1e-7. Too large a value never spoils the
# lower bounds, only the upper ones.
TOLERANCE = 1e-6
# points up to which the fooling set is looked for: N² booleans and their product
LARGEST_FOOLING = 3000


@dataclass(frozen=True)
class RankBounds:
    """Bounds on the least number of neurons with a layer's covariances.

    Attributes:
        layer: its name.
        units: neurons it has.
        alive: those with z ≠ 0 on the data.
        rank_k: rank of K = Z Zᵀ.
        rank_k_sigma: rank of K^σ, without the bias column: a lower bound on its CP-rank.
        fooling: for relu, the size of a fooling set of K^σ: another lower bound on its CP-rank;
            else None.
        rays: groups of aligned neurons (pre-activations proportional on the data).
        caratheodory: neurons left when linearly dependent pairs (z zᵀ, a aᵀ) are reduced to
            independent ones.
        theoretical: N(N + 1).
    """

    layer: str
    units: int
    alive: int
    rank_k: int
    rank_k_sigma: int
    fooling: int | None
    rays: int
    caratheodory: int
    theoretical: int

    @property
    def lower(self) -> int:
        """The best lower bound on Rank_σ."""
        return max(self.rank_k, self.rank_k_sigma, self.fooling or 0)

    @property
    def upper(self) -> int:
        """The best upper bound on Rank_σ."""
        return min(self.rays, self.caratheodory, self.theoretical)

    def as_dict(self) -> dict:
        """Plain data for JSON, with `lower` and `upper`."""
        return {**asdict(self), "lower": self.lower, "upper": self.upper}


def rank_report(
    network: DenseNetwork,
    x: ArrayLike,
    *,
    tolerance: float = TOLERANCE,
    names: Sequence[str] | None = None,
) -> list:
    """`RankBounds` of every hidden layer of a network on data `x` `(N, n_0)`.

    Args:
        network: with a positively homogeneous σ: rays and Rank_σ have no meaning otherwise.
        x: data.
        tolerance: as for `rank_bounds`.
        names: of the hidden layers, for the report.
    """
    representations = network.forward(x)[0][:-1]
    names = names or [f"hidden {layer}" for layer in range(1, network.depth)]
    return [
        rank_bounds(z, activation=network.activation, tolerance=tolerance, name=name)
        for z, name in zip(representations, names, strict=True)
    ]


def rank_bounds(
    z: ArrayLike, *, activation: str = "relu", tolerance: float = TOLERANCE, name: str = "layer"
) -> RankBounds:
    """Bounds on Rank_σ(K, K^σ) from a layer's pre-activations.

    Args:
        z: Z_l, `(N, n)` float64.
        activation: a positively homogeneous σ.
        tolerance: radians within which neurons count as one ray, and what counts as linearly
            dependent. The upper bounds hold up to it; the lower bounds hold whatever it is.
        name: of the layer, for the report.

    Raises:
        InputError: σ is not positively homogeneous.
    """
    z = np.asarray(z, dtype=np.float64)
    require(scaling(activation).homogeneous, "activation", "positively homogeneous", activation)
    norms = np.linalg.norm(z, axis=0)
    alive = z[:, norms > 1e-12 * norms.max(initial=0.0)]
    a = ACTIVATIONS[activation].values(alive)
    kept, _ = basic_solution(covariance_atoms(alive, a), np.ones(alive.shape[1]), tolerance)
    fooling = None
    if activation == "relu" and len(z) <= LARGEST_FOOLING:
        positive = (a > 0).astype(np.float32)
        fooling = fooling_set(positive @ positive.T > 0.5)
    return RankBounds(
        layer=name,
        units=z.shape[1],
        alive=alive.shape[1],
        rank_k=_rank(alive, tolerance),
        rank_k_sigma=_rank(a, tolerance),
        fooling=fooling,
        rays=int(ray_labels(alive, np.ones((alive.shape[1], 1)), tolerance).max(initial=-1)) + 1,
        caratheodory=int((kept > 0).sum()),
        theoretical=len(z) * (len(z) + 1),
    )


def _rank(columns, tolerance):
    values = np.linalg.svd(columns, compute_uv=False)
    return int((values > tolerance * values.max(initial=0.0)).sum())
