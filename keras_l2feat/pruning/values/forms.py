"""What is known of the channels of a tensor: `Forms` as they are computed, a `Reading` as a kernel
sees them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import block_diag

__all__ = ["Forms", "Reading", "blocks"]

BLOCK = 1 << 18  # entries worked on at a time


def blocks(rows: int, columns: int) -> list[slice]:
    """Slices that cover the rows of a matrix."""
    step = max(1, BLOCK // max(columns, 1))
    return [slice(a, a + step) for a in range(0, rows, step)]


@dataclass
class Forms:
    """Channel p is Σ_r matrix[r, p] · atom r + constant[p].

    Attributes:
        rows: (rows,) int, the atoms; with `labels`, a list of ways to see an atom: row r of channel
            p is atom `labels[p]` seen by way `rows[r]`.
        matrix: (rows, channels) float64; constant: (channels,).
        shift: (channels,) the absolute values that `constant` was added up from.
        terms: (rows, channels) the same for `matrix`; `None` where nothing was added up: |matrix|.
            Rounding errors are measured by them, entry by entry.
        labels: (channels,) int, or `None`.
        drift: (channels,) how far a channel may be from this form, since values that differ within
            rounding were taken for one; in the sizes of atoms (`Values.sizes`).
    """

    rows: np.ndarray | list
    matrix: np.ndarray
    constant: np.ndarray
    shift: np.ndarray
    terms: np.ndarray | None = None
    labels: np.ndarray | None = None
    drift: np.ndarray | float = 0.0

    @property
    def count(self) -> int:
        """How many channels there are."""
        return self.matrix.shape[1]

    @property
    def spread(self) -> np.ndarray:
        """The terms, whether they are stored or not."""
        return np.abs(self.matrix) if self.terms is None else self.terms

    def vanishing(self, bound: float) -> np.ndarray:
        """(channels,) bool: all entries are at most `bound` < 1 times their terms."""
        if self.terms is None:
            return np.logical_not(self.matrix.any(axis=0))
        small = np.ones(self.count, dtype=bool)
        for rows in blocks(*self.matrix.shape):
            small &= (np.abs(self.matrix[rows]) <= bound * self.terms[rows]).all(axis=0)
        return small

    @property
    def monomial(self) -> bool:
        """Whether each channel is a multiple of one atom, and nothing more."""
        return self.labels is not None and len(self.rows) == 1 and not self.constant.any()

    @property
    def drifts(self) -> np.ndarray:
        """The drift of each channel, (channels,)."""
        return np.broadcast_to(self.drift, (self.count,))

    def taken(self, channels: np.ndarray) -> "Forms":
        """Some channels, (n,) int, in this order."""
        parts = (self.matrix[:, channels], self.constant[channels], self.shift[channels])
        terms = None if self.terms is None else self.terms[:, channels]
        labels = None if self.labels is None else self.labels[channels]
        return Forms(self.rows, *parts, terms, labels, self.drifts[channels])

    def scaled(self, factor: np.ndarray | float) -> "Forms":
        """Every channel times its factor, (channels,)."""
        return Forms(
            self.rows,
            self.matrix * factor,
            self.constant * factor,
            self.shift * np.abs(factor),
            None if self.terms is None else self.terms * np.abs(factor),
            self.labels,
            self.drift * np.abs(factor),
        )


@dataclass
class Reading:
    """What a linear operation sees: channel p is scales[p] · atom atoms[p] + constants[p]; all
    (channels,).

    Those of `dependents` are combinations instead: Σ_b mix[b, d] · atom basis[b] +
    constants[dependents[d]]. `terms` are the absolute values that the constants were added up from,
    `drift` is that of `Forms`.
    """

    atoms: np.ndarray
    scales: np.ndarray
    constants: np.ndarray
    terms: np.ndarray
    drift: np.ndarray
    dependents: np.ndarray
    basis: np.ndarray
    mix: np.ndarray

    @classmethod
    def plain(
        cls,
        atoms: np.ndarray,
        scales: np.ndarray,
        constants: np.ndarray,
        terms: np.ndarray,
        drift: np.ndarray,
    ) -> "Reading":
        """Without combinations."""
        none = np.zeros(0, dtype=int)
        return cls(atoms, scales, constants, terms, drift, none, none, np.zeros((0, 0)))

    @classmethod
    def joined(cls, parts: Sequence["Reading"]) -> "Reading":
        """Readings side by side."""
        starts = np.cumsum([0, *(len(part.atoms) for part in parts)])
        names = ("atoms", "scales", "constants", "terms", "drift", "basis")
        columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
        dependents = np.concatenate([part.dependents + a for part, a in zip(parts, starts)])
        return cls(**columns, dependents=dependents, mix=block_diag(*(p.mix for p in parts)))
