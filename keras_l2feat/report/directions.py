"""The directions of a model's units, as points in a plane and as angles between neighbours."""

from dataclasses import dataclass

import numpy as np

from keras_l2feat.pruning.channels.graph import Linear
from keras_l2feat.pruning.channels.read import read

__all__ = ["Directions", "nearest_angles", "of_model", "plane", "project"]

LIMIT = 200  # units of a layer that are drawn and compared; more would only blacken the picture


@dataclass
class Directions:
    """Units of one layer: `units` (k,) indices, `vectors` (k, inputs + 1) float64 incoming weights
    with the bias."""

    units: np.ndarray
    vectors: np.ndarray
    total: int


def of_model(model, seed=0) -> dict:
    """layer name → `Directions` of at most `LIMIT` units, drawn at random from larger layers."""
    graph = read(model)
    found = {}
    for op in graph.ops:
        if not isinstance(op, Linear) or op.reader not in graph.writers or op.reader in found:
            continue
        kernel, total = op.kernel(), len(op.out.units)
        units = np.arange(total)
        if total > LIMIT:
            units = np.sort(np.random.default_rng(seed).choice(total, LIMIT, replace=False))
        vectors = kernel[:, :, units].reshape(-1, len(units)).T
        if op.bias is not None:
            vectors = np.column_stack([vectors, op.bias()[units]])
        found[op.reader] = Directions(units, vectors, total)
    return found


def plane(vectors):
    """Two principal directions (inputs, 2) of vectors (k, inputs) seen from the origin, and their
    share of the size."""
    _, values, right = np.linalg.svd(vectors, full_matrices=False)
    basis = np.zeros((vectors.shape[1], 2))
    count = min(2, len(right))
    basis[:, :count] = right[:count].T
    total = float((values**2).sum())
    return basis, float((values[:2] ** 2).sum()) / total if total else 0.0


def project(vectors, basis):
    """(k, 2) coordinates in a plane; a layer whose inputs were pruned has its own."""
    return vectors @ basis if vectors.shape[1] == len(basis) else vectors @ plane(vectors)[0]


def nearest_angles(vectors):
    """Angle (radians) of each nonzero vector to the nearest other, (k,), at least 1e-8."""
    norms = np.linalg.norm(vectors, axis=1)
    unit = vectors[norms > 0] / norms[norms > 0, None]
    if len(unit) < 2:
        return np.zeros(0)
    product = unit @ unit.T
    np.fill_diagonal(product, -1.0)
    nearest = product.argmax(axis=1)
    chord = np.linalg.norm(
        unit - unit[nearest], axis=1
    )  # exact for small angles, where arccos is not
    return np.maximum(2 * np.arcsin(np.minimum(chord / 2, 1.0)), 1e-8)
