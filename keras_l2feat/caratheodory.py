"""Fewer neurons with the same values on a data set, and no more norm: Carathéodory's theorem, made
numerical.

A layer's contribution is a positive sum of one atom a neuron, so it is a positive sum of at most as
many atoms as their span has dimensions. Three kinds of atoms, one elimination:

- outputs: σ(A w_i) v_iᵀ. A neuron with weight μ_i is (√μ_i w_i, √μ_i v_i), of cost μ_i (‖w_i‖² +
‖v_i‖²).
- features: σ(z_i) σ(z_i)ᵀ, at most N(N+1)/2 dimensions, of cost μ_i ‖w_i‖². The new features S'
  have S' S'ᵀ = S Sᵀ, so V' = S'⁺ S V gives the same outputs, and S'⁺ S is a contraction.
- covariances: pairs (z_i z_iᵀ, σ(z_i) σ(z_i)ᵀ), at most N(N+1) dimensions: features that keep the
  layer's own term of the covariance loss L_k too, not just from rising.

Sources: [Jacot et al. 2022, Prop. 7, 8]; basic solutions of min Σ μ_i, Σ μ_i a_i = Σ a_i, μ ≥ 0.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from keras_l2feat.network import DenseNetwork

__all__ = ["Reduction", "basic_solution", "reduce_layer", "reduce_network"]

# Singular values below this share of the largest count as zero. The values on the data move by
# about as much times the growth of μ (at most n), which leaves three digits to the 1e-9 that is
# promised and is checked in `reduce_layer`.
RANK_TOLERANCE = 1e-13
DEVIATION = 1e-9


class Reduction(NamedTuple):
    """What is left of a layer: its neurons `keep`, and its outgoing weights V (n, p), replaced by
    `mixing @ V`."""

    kind: str  # "outputs", "features" or "covariances"
    keep: np.ndarray  # (k,) int, ascending
    mixing: np.ndarray  # (k, n) float64
    span: int  # dimension of the atoms' span


def basic_solution(
    atoms: np.ndarray, costs: ArrayLike, tolerance: float = RANK_TOLERANCE
) -> tuple[np.ndarray, int]:
    """Weights μ ≥ 0 with `atoms @ μ = atoms @ 1`, `costs @ μ <= sum(costs)`, and at most
    rank(atoms) of them not zero.

    Starts at μ = 1 and walks along the null space of the atoms, downhill in cost, until a weight is
    zero; then that neuron's row is rotated out of the null space, and so on until nothing is left
    of it. The rotation is a Householder reflection, so the basis stays orthonormal to rounding. No
    linear program, so no tolerance of one.

    Args:
        atoms: (rows, n) float64, one atom a column.
        costs: (n,) float64, not negative.
        tolerance: relative to the largest singular value (of atoms scaled to norm 1), what counts
            as zero.

    Returns: μ (n,) float64, and the rank.
    """
    norms = np.linalg.norm(atoms, axis=0)
    live = np.flatnonzero(norms > norms.max(initial=0.0) * tolerance)
    weights, slope = norms[live], np.asarray(costs, np.float64)[live] / norms[live]
    unit = atoms[:, live] / norms[live]
    null = _null_space(unit, tolerance)
    rank = len(live) - null.shape[1]
    alive = np.ones(len(live), dtype=bool)
    for _ in range(null.shape[1]):
        down = null.T @ slope
        step = null @ down if np.linalg.norm(down) > 1e-12 * np.linalg.norm(slope) else null[:, 0]
        if not (step[alive] > 0).any():
            step = -step  # along which the cost is flat
        falling = alive & (step > 1e-14 * np.abs(step).max())
        out = np.flatnonzero(falling)[np.argmin(weights[falling] / step[falling])]
        weights = np.maximum(weights - weights[out] / step[out] * step, 0.0)
        weights[out], alive[out] = 0.0, False
        null = _without_row(null, out)
    weights = _refined(unit, weights, norms[live], slope)
    mu = np.zeros(atoms.shape[1])
    mu[live] = weights / norms[live]
    return mu, rank


def _null_space(matrix, tolerance):
    """Orthonormal basis (n, n - rank) of the vectors that a matrix (rows, n) sends to zero."""
    matrix = _compressed(matrix)
    if not matrix.size:
        return np.eye(matrix.shape[1])
    _, values, right = np.linalg.svd(matrix, full_matrices=True)
    return right[np.sum(values > tolerance * values.max(initial=0.0)) :].T.copy()


def _without_row(basis, row):
    """The subspace of `basis` (n, q orthonormal columns) where coordinate `row` is zero: q - 1
    columns."""
    reflector = basis[row].copy()
    reflector[0] += np.copysign(np.linalg.norm(reflector), reflector[0])
    basis -= np.outer(basis @ reflector, (2 / (reflector @ reflector)) * reflector)
    basis[row] = 0.0
    return basis[:, 1:]


def _refined(unit, weights, start, slope):
    """Remove what rounding moved the sum by, where that keeps signs and cost."""
    support = weights > 0
    residual = unit @ (start - weights)
    correction = np.linalg.lstsq(unit[:, support], residual, rcond=None)[0]
    refined = weights.copy()
    refined[support] += correction
    good = (refined >= 0).all() and slope @ refined <= slope @ start
    nearer = np.linalg.norm(unit @ (start - refined)) < np.linalg.norm(residual)
    return refined if good and nearer else weights


def output_atoms(s, v, seed=0):
    """Atoms σ(A w_i) v_iᵀ of a layer's contribution to the next, in coordinates that keep their
    linear dependences.

    Args:
        s: (N, n) σ(A W); v: (n, p) outgoing weights.

    Returns: (rows, n): all N·p entries in orthonormal coordinates, or, where these are more than 2
        n + 32, as many random rank-one measurements, which keep every linear dependence with
        probability 1.
    """
    left, right = _compressed(s), _compressed(v.T)
    n = s.shape[1]
    if len(left) * len(right) <= 2 * n + 32:
        return np.einsum("ai,bi->abi", left, right).reshape(len(left) * len(right), n)
    random = np.random.default_rng(seed)
    g, h = (random.standard_normal((2 * n + 32, len(m))) / np.sqrt(len(m)) for m in (left, right))
    return (g @ left) * (h @ right)


def covariance_atoms(*matrices, seed=0):
    """Atoms (m_i m_iᵀ for each matrix m) in symmetric coordinates, or 2 n + 32 random measurements
    of them.

    Args:
        matrices: (N, n) float64: `z, s` for the pairs (z_i z_iᵀ, s_i s_iᵀ), `s` alone for the
            features.

    Returns: (rows, n) float64.
    """
    n = matrices[0].shape[1]
    pair = [_compressed(m) for m in matrices]
    if sum(len(m) * (len(m) + 1) // 2 for m in pair) <= 2 * n + 32:
        parts = []
        for m in pair:
            i, j = np.triu_indices(len(m))
            parts.append(m[i] * m[j] * np.where(i == j, 1.0, np.sqrt(2.0))[:, None])
        return np.concatenate(parts)
    random = np.random.default_rng(seed)
    measurements = 0.0
    for m in pair:
        g, h = (random.standard_normal((2 * n + 32, len(m))) / np.sqrt(len(m)) for _ in range(2))
        measurements = measurements + (g @ m) * (h @ m)
    return measurements


def _compressed(matrix):
    """The same columns in at most as many orthonormal coordinates as there are columns."""
    matrix = np.asarray(matrix, dtype=np.float64)
    return np.linalg.qr(matrix, mode="r") if len(matrix) > matrix.shape[1] else matrix


def reduce_layer(
    s: np.ndarray,
    w: np.ndarray,
    v: np.ndarray,
    *,
    z: np.ndarray | None = None,
    kinds: Sequence[str] = ("outputs", "features"),
    seed: int = 0,
) -> Reduction | None:
    """The smallest equivalent of a hidden layer on its data: same `s @ v`, no larger norm.

    Args:
        s: (N, n) float64 activations on the data; σ positively homogeneous.
        w: (n,) float64, squared norms of the neurons' incoming weights, bias included.
        v: (n, p) float64 outgoing weights, whatever they lead to, without the next bias.
        z: (N, n) pre-activations, for the kind "covariances".
        kinds: which atoms to try.
        seed: of the random measurements of large problems.

    Returns: a `Reduction` of fewer than n neurons, the smaller of the kinds (at equal size, of the
        lower norm), and checked: `s[:, keep] @ mixing @ v` differs from `s @ v` by at most 1e-9 of
        its largest entry, and the balanced norm Σ 2 ‖w_i‖ ‖v_i‖ is not larger. `None` where there
        is none.
    """
    n, scale = s.shape[1], np.abs(s @ v).max(initial=0.0)
    # the others are dead on the data: no atom, only cost
    live = np.flatnonzero(s.any(axis=0) & v.any(axis=1))
    before, found = _balanced_cost(w, v), []
    z, s, w, v = None if z is None else z[:, live], s[:, live], w[live], v[live]
    for kind in kinds:
        keep, combine, span = _combination(kind, z, s, w, v, seed)
        outgoing = combine @ v
        deviation = np.abs(s[:, keep] @ outgoing - s @ v).max(initial=0.0)
        cost = _balanced_cost(w[keep], outgoing)
        # 1e-12: rounding of the sums that are compared
        if len(keep) < n and deviation <= DEVIATION * scale and cost <= before * (1 + 1e-12):
            mixing = np.zeros((len(keep), n))
            mixing[:, live] = combine
            found.append((len(keep), cost, Reduction(kind, live[keep], mixing, span)))
    return min(found, key=lambda f: f[:2])[2] if found else None


def _combination(kind, z, s, w, v, seed):
    """Which live neurons stay, how outgoing weights combine onto them, and the span of one kind of
    atoms."""
    if kind == "outputs":
        costs = np.sqrt(w * np.einsum("ij,ij->i", v, v))
        mu, span = basic_solution(output_atoms(s, v, seed), costs)
        return np.flatnonzero(mu), np.diag(mu)[mu > 0], span
    atoms = covariance_atoms(*((s,) if kind == "features" else (z, s)), seed=seed)
    mu, span = basic_solution(atoms, w)
    keep, root = np.flatnonzero(mu), np.sqrt(mu[mu > 0])
    onto = np.linalg.lstsq(s[:, keep] * root, s, rcond=RANK_TOLERANCE)[0]
    return keep, root[:, None] * onto, span


def _balanced_cost(w, v):
    """The least Σ ‖w_i‖² + ‖v_i‖² over rescalings of each neuron."""
    return 2 * float(np.sum(np.sqrt(w * np.einsum("ij,ij->i", v, v))))


def reduce_network(
    network: DenseNetwork,
    x: ArrayLike,
    *,
    kinds: Sequence[str] = ("outputs", "features"),
    seed: int = 0,
) -> tuple[DenseNetwork, list[Reduction | None]]:
    """A `DenseNetwork` with the same outputs on `x` (N, n_0), balanced, of no larger norm, of the
    fewest neurons found.

    Returns: the network, and one `Reduction` (or `None`) a hidden layer.

    Raises:
        InputError: σ is not positively homogeneous.
    """
    from keras_l2feat.activations import scaling
    from keras_l2feat.errors import require

    expected = "positively homogeneous (relu, leaky_relu, abs, linear)"
    require(scaling(network.activation).homogeneous, "network", expected, network.activation)
    weights, reductions = list(network.weights), []
    a = network.augment(x)
    for layer in range(network.depth - 1):
        z = a @ weights[layer]
        s = network.activate(z)
        incoming, n = weights[layer], z.shape[1]
        kernel, bias = weights[layer + 1][:n], weights[layer + 1][n:]
        reduction = reduce_layer(
            s, np.einsum("ij,ij->j", incoming, incoming), kernel, z=z, kinds=kinds, seed=seed
        )
        if reduction is not None:
            incoming, kernel = incoming[:, reduction.keep], reduction.mixing @ kernel
        sizes = np.linalg.norm(incoming, axis=0), np.linalg.norm(kernel, axis=1)
        lone = np.zeros_like(sizes[0])
        ratio = np.sqrt(np.divide(sizes[1], sizes[0], out=lone, where=sizes[0] > 0))
        live = ratio > 0
        weights[layer] = incoming[:, live] * ratio[live]
        weights[layer + 1] = np.concatenate([kernel[live] / ratio[live, None], bias])
        a = network.augment(network.activate(a @ weights[layer]))
        reductions.append(reduction)
    return network.with_weights(weights), reductions
