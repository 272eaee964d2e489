"""The dual of the two-layer loss: a lower bound on what any width can reach (NumPy).

With β the amount of bias and b the output layer's bias row, the loss of a two-layer network is,
after balancing,

    C(Σ_i σ(A w_i) v_iᵀ + β 1 bᵀ) + 2λ Σ_i ‖w_i‖ ‖v_i‖ + λ ‖b‖²,

convex in the measure of neurons, and its dual is  max_G  −C*(G) − β² ‖Gᵀ1‖² / (4λ)  subject to
max_w ‖Gᵀσ(A w)‖ ≤ 2λ. At G = ∂C/∂Z of any network the constraint holds after scaling by 1 / (1 +
gap). [Jacot et al. 2022, §3.2]
"""

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize

from keras_l2feat.errors import require

__all__ = ["conjugate", "dual_bound"]


def _squared_conjugate(g, y):
    return float(np.vdot(g, np.reshape(y, g.shape))) + len(g) / 4 * float(np.vdot(g, g))


def _crossentropy_conjugate(g, y):
    p = len(g) * g
    p[np.arange(len(g)), np.asarray(y, dtype=np.int64)] += 1.0
    if p.min() < -1e-9:
        return np.inf  # outside the simplex the conjugate is infinite
    p = np.maximum(p, 0.0)
    return float(np.sum(p * np.log(np.where(p > 0, p, 1.0)))) / len(g)


CONJUGATES = {"squared": _squared_conjugate, "crossentropy": _crossentropy_conjugate}


def conjugate(cost: str, g: ArrayLike, y: ArrayLike) -> float:
    """C*(G) = sup_Z ⟨G, Z⟩ − C(Z) for g (N, k), by the name of the cost; ∞ outside its domain.

    Raises:
        InputError: the conjugate of that cost is not known.
    """
    require(cost in CONJUGATES, "cost", f"one of {sorted(CONJUGATES)}", cost)
    return CONJUGATES[cost](np.asarray(g, dtype=np.float64), y)


def dual_bound(
    cost: str, g: ArrayLike, y: ArrayLike, score: float, lam: float, beta: float = 0.0
) -> float:
    """A lower bound on the loss of every two-layer network on the data, whatever its width.

    The best multiple t G with t · score ≤ 2λ is taken: t ↦ dual is concave.

    Args:
        cost: name of the data term.
        g: (N, k) array, ∂C/∂Z at some outputs; any gradient of C gives a valid bound, the optimum's
            the best.
        y: the targets.
        score: max_w ‖gᵀσ(A w)‖ over unit w. The bound is as rigorous as this maximum.
        lam: λ > 0.
        beta: amount of bias of the output layer.

    Returns: the bound, float64.
    """
    g = np.asarray(g, dtype=np.float64)
    bias = beta**2 * float(np.sum(g.sum(axis=0) ** 2)) / (4 * lam)

    def minus_dual(t):
        return conjugate(cost, t * g, y) + t * t * bias

    # beyond 1 the cross-entropy's conjugate may be infinite
    largest = min(1.0, 2 * lam / score) if score > 0 else 1.0
    best = optimize.minimize_scalar(minus_dual, bounds=(0.0, largest), method="bounded")
    return -min(minus_dual(largest), minus_dual(0.0), float(best.fun))
