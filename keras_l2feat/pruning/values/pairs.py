"""Pairs of units, compared entry by entry."""

from collections.abc import Sequence

import numpy as np

from keras_l2feat.activations import Scaling

__all__ = ["BLOCK_ENTRIES", "CONDITION", "PROJECTIONS", "Pairs"]

CONDITION = 8  # in norm, units may differ by so many times what rounding their entries explains
SAMPLED = 64  # entries that the most exact ones are taken from
PROJECTIONS = 8  # orthonormal directions that units are sorted by
BLOCK_ENTRIES = 1 << 17  # entries worked on at a time: 1 MiB in float64, stays in cache


class Pairs:
    """Pairs of units, compared entry by entry: is there a factor t > 0 (of either sign, where that
    commutes) such that `|w_i - t w_j| <= delta / 2 · (terms_i + t terms_j)` in every entry?"""

    def __init__(
        self,
        parts: list[np.ndarray],
        terms: Sequence[np.ndarray] | None,
        norms: np.ndarray,
        projections: np.ndarray,
        scaling: Scaling,
        delta: float,
    ) -> None:
        self.parts, self.terms = parts, terms
        self.norms, self.projections = norms, projections
        self.scaling, self.delta = scaling, delta

    def compare(
        self, units: np.ndarray, leaders: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Whether each of `units` is a multiple of the one of `leaders` beside it, its factor, and
        the largest difference of an entry over its terms; (n_pairs,) each."""
        sign = np.ones(len(units))
        if self.scaling.mirrored:
            product = np.einsum("ij,ij->i", self.projections[units], self.projections[leaders])
            sign = np.where(product < 0, -1.0, 1.0)
        low, high = np.zeros(len(units)), np.full(len(units), np.inf)
        for which, a, b, *terms in self._entries(units, leaders):
            least, most = _factors(sign[which], a, b, self.delta / 2, *terms)
            low[which] = np.fmax(low[which], least)
            high[which] = np.fmin(high[which], most)
        if self.scaling.homogeneous:
            # the ratio of the norms averages the rounding of all entries
            factor = np.clip(self.norms[units] / self.norms[leaders], low, np.maximum(low, high))
        else:
            factor = np.ones(len(units))
        aligned = (low <= factor) & (factor <= high) & (factor > 0) & np.isfinite(factor)
        factor = sign * factor
        gap = np.zeros(len(units))
        squares = np.zeros(len(units))
        chosen = np.flatnonzero(aligned)
        for which, a, b, *terms in self._entries(units[chosen], leaders[chosen]):
            which = chosen[which]
            off = np.abs(a - factor[which] * b)
            squares[which] += np.einsum("ij,ij->j", off, off)
            with np.errstate(invalid="ignore"):  # 0 / 0 where nothing is added up: no gap
                relative = off / (terms[0] if terms else np.abs(a))
            gap[which] = np.fmax(gap[which], np.fmax.reduce(relative, axis=0))
        if self.terms is not None:
            aligned &= np.sqrt(squares) <= CONDITION * self.delta * self.norms[units]
        return aligned, factor, gap

    def cells(self, units: np.ndarray, seed: int) -> np.ndarray:
        """Whole numbers (n_units, k) that differ by at most 1 between units that are aligned."""
        width = sum(part.shape[1] for part in self.parts)
        random = np.random.default_rng(seed)
        chosen = random.choice(width, min(SAMPLED, width), replace=False)
        values, terms = (
            _columns(side, units, chosen) for side in (self.parts, self.terms or self.parts)
        )
        # relative errors, of those entries alone that are no rounding noise in any unit
        with np.errstate(divide="ignore", invalid="ignore"):
            error = self.delta / 2 * np.abs(terms / values).max(axis=0)
        error[~(error < 0.1)] = np.inf
        best = np.argsort(error, kind="stable")[: 1 + PROJECTIONS]
        best = best[np.isfinite(error[best])]
        if len(best) < 2:
            return np.zeros((len(units), 1), dtype=int)
        logs, signs = np.log(np.abs(values[:, best])), np.sign(values[:, best])
        gap = 2.5 * error[best]  # |log(1 + e)| ≤ 1.25 e twice
        if self.scaling.homogeneous:
            logs, gap = logs[:, 1:] - logs[:, :1], gap[1:] + gap[0]
        if self.scaling.mirrored:
            signs = signs * signs[:, :1]
        return np.column_stack([np.floor(logs / gap), 3 * signs]).astype(int)

    def _entries(self, units, leaders):
        """Blocks of entries (inputs, pairs) of units and leaders, and of their terms where they
        have any, float64, with a slice of the pairs."""
        for part, terms in zip(self.parts, self.terms or [None] * len(self.parts)):
            width = part.shape[1]
            if abs(part.strides[0]) >= abs(part.strides[1]):
                pairs, inputs = max(1, BLOCK_ENTRIES // max(width, 1)), max(width, 1)
            else:  # all of it passes through memory once
                pairs, inputs = max(len(units), 1), max(1, BLOCK_ENTRIES // max(len(units), 1))
            for start in range(0, len(units), pairs):
                which = slice(start, start + pairs)
                for top in range(0, width, inputs):
                    rows = [m[:, top : top + inputs].T for m in (part, terms) if m is not None]
                    yield (
                        which,
                        *(
                            row[:, chosen[which]].astype(np.float64, copy=False)
                            for row in rows
                            for chosen in (units, leaders)
                        ),
                    )


def _columns(parts, units, chosen):
    """Some of the entries of some units, (n_units, n_chosen) float64."""
    ends = np.cumsum([part.shape[1] for part in parts])
    found = np.empty((len(units), len(chosen)))
    for part, end in zip(parts, ends):
        here = np.flatnonzero((chosen < end) & (chosen >= end - part.shape[1]))
        found[:, here] = part[units[:, None], chosen[here] - (end - part.shape[1])]
    return found


def _factors(sign, a, b, error, terms_a=None, terms_b=None):
    """The least and the largest factor t ≥ 0 with |sign · a - t b| ≤ error · (terms_a + t terms_b)
    in all entries; a, b and terms are (entries, pairs), the terms by default |a| and |b|."""
    with np.errstate(divide="ignore", invalid="ignore"):  # 0 / 0 says nothing, and is ignored
        if terms_a is None:
            ratio = a / b * sign
            wide = (1 + error) / (1 - error)
            return np.fmax.reduce(ratio, axis=0) / wide, np.fmin.reduce(ratio, axis=0) * wide
        a, b = sign * a * np.sign(b) + (b == 0) * np.abs(a), np.abs(b)
        least = (a - error * terms_a) / (b + error * terms_b)
        most = (a + error * terms_a) / (b - error * terms_b)
    vague = b < error * terms_b  # where b may be anything around 0, t is only bounded from below
    least = np.where(vague & (a + error * terms_a < 0), np.fmax(least, most), least)
    return np.fmax.reduce(least, axis=0), np.fmin.reduce(np.where(vague, np.inf, most), axis=0)
