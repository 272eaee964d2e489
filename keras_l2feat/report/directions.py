"""The directions of a model's units, as points in a plane and as angles between neighbours."""

from dataclasses import dataclass

import numpy as np

from keras_l2feat.pruning.channels.operations import Linear
from keras_l2feat.pruning.channels.read import read
from keras_l2feat.types import Model

__all__ = ["Directions", "nearest_angles", "of_model", "plane", "turned"]

LIMIT = 200  # units of a layer that are drawn and compared; more would only blacken the picture


@dataclass
class Directions:
    """Units of one layer: `units` (k,) indices, `vectors` (k, inputs + 1) float64 incoming weights
    with the bias."""

    units: np.ndarray
    vectors: np.ndarray
    total: int


def of_model(
    model: Model, units: dict[str, np.ndarray] | None = None, seed: int = 0
) -> dict[str, Directions]:
    """layer name → `Directions` of at most `LIMIT` units, drawn at random from larger layers, or of
    the units that `units` names (layer name → indices)."""
    graph, units = read(model), units or {}
    found = {}
    for op in graph.ops:
        if not isinstance(op, Linear) or op.reader is None or op.reader in found:
            continue
        if op.reader not in graph.writers:
            continue
        kernel, total = op.kernel(), len(op.out.units)
        chosen = np.arange(total)
        if op.reader in units:
            chosen = units[op.reader]
        elif total > LIMIT:
            chosen = np.sort(np.random.default_rng(seed).choice(total, LIMIT, replace=False))
        vectors = kernel[:, :, chosen].reshape(-1, len(chosen)).T
        if op.bias is not None:
            vectors = np.column_stack([vectors, op.bias()[chosen]])
        found[op.reader] = Directions(chosen, vectors, total)
    return found


def plane(vectors: np.ndarray) -> tuple[np.ndarray, float]:
    """Two principal directions (inputs, 2) of vectors (k, inputs) seen from the origin, and their
    share of the size."""
    _, values, right = np.linalg.svd(vectors, full_matrices=False)
    basis = np.zeros((vectors.shape[1], 2))
    count = min(2, len(right))
    basis[:, :count] = right[:count].T
    total = float((values**2).sum())
    return basis, float((values[:2] ** 2).sum()) / total if total else 0.0


def turned(vectors: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Coordinates (k, 2) of vectors (k, inputs), in the plane that brings their directions nearest
    to those of targets (k, 2): a layer whose inputs were pruned is seen as it was before.

    Solves the orthogonal Procrustes problem: the plane B, BᵀB = I, that maximizes the sum of
    ⟨v_i B, t_i⟩ / ‖v_i‖ over the vectors v_i and their targets t_i.
    """
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    left, _, right = np.linalg.svd(
        (vectors / np.where(lengths > 0, lengths, 1.0)).T @ targets, full_matrices=False
    )
    return vectors @ (left @ right)


def nearest_angles(vectors: np.ndarray) -> np.ndarray:
    """Angle (radians) of each nonzero vector to the nearest other, (k,), at least 1e-8."""
    norms = np.linalg.norm(vectors, axis=1)
    unit = vectors[norms > 0] / norms[norms > 0, None]
    if len(unit) < 2:
        return np.zeros(0)
    product = unit @ unit.T
    np.fill_diagonal(product, -1.0)
    nearest = product.argmax(axis=1)
    # exact for small angles, where arccos is not
    chord = np.linalg.norm(unit - unit[nearest], axis=1)
    return np.maximum(2 * np.arcsin(np.minimum(chord / 2, 1.0)), 1e-8)
