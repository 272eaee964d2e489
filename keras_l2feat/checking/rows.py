"""How one tensor's channels come from the pruned model's: the matrix M of docs/certificate.md, row
by row.

Columns 0 … width - 1 are the pruned model's channels of the same tensor. Column width + p is the
original's own channel p: what the pruned model has lost, and what nothing else may need.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["CONSTANT", "MIXED", "Rows"]

CONSTANT, MIXED = -1, -2  # instead of a column


@dataclass
class Rows:
    """Channel p is factor[p] · column[p] + constant[p], all (channels,).

    Attributes:
        width: channels that the pruned model has.
        column: int; `CONSTANT` where there is no column, `MIXED` where there are several.
        factor, constant: float64.
        error: float64, in roundoffs: how far the row of a channel that is gone is off, as a change
            of the weights that compute it.
        mixed: channel → (columns, factors), of rows with several entries.
        fixed: (width,) float64, the value of a pruned channel that is a constant, else NaN; no row
            has an entry there.
        terms: float64, the absolute values that the constant was added up from: its rounding is
            measured by them.
        spare: another true choice of rows, for readers that were told so.
        alike: all columns are one value (a channel spread over all).
    """

    width: int
    column: np.ndarray
    factor: np.ndarray
    constant: np.ndarray
    error: np.ndarray
    mixed: dict = field(default_factory=dict)
    fixed: Any = None  # arrays from `__post_init__` on
    terms: Any = None
    spare: "Rows | None" = None
    alike: bool = False

    def __post_init__(self):
        if self.fixed is None:
            self.fixed = np.full(self.width, np.nan)
        if self.terms is None:
            self.terms = np.abs(self.constant)

    @classmethod
    def of_kept(cls, kept: np.ndarray, scale: ArrayLike) -> "Rows":
        """Kept channels are what the pruned model has, times `scale`; the others are their own."""
        width, count = int(kept.sum()), len(kept)
        column = width + np.arange(count)
        column[kept] = np.arange(width)
        return cls(width, column, np.where(kept, scale, 1.0), np.zeros(count), np.zeros(count))

    @property
    def count(self) -> int:
        return len(self.column)

    @property
    def plain(self) -> bool:
        """Whether the pruned model has all channels, unchanged."""
        return self.width == self.count and not self.altered.any()

    @property
    def altered(self) -> np.ndarray:
        """(channels,) bool: not the pruned channel of the same number, where widths are equal."""
        same = (self.column == np.arange(self.count)) & (self.factor == 1) & (self.constant == 0)
        if self.width != self.count:
            return ~same
        return ~(same | (self.still & (self.constant == self.fixed)))

    @property
    def single(self) -> np.ndarray:
        """(channels,) bool: one entry and no constant."""
        return (self.column >= 0) & (self.constant == 0)

    @property
    def still(self) -> np.ndarray:
        """(channels,) bool: constants."""
        return self.column == CONSTANT

    def copy(self) -> "Rows":
        """The same, to be filled in."""
        return self.where(np.ones(self.count, dtype=bool))

    def where(self, holds: np.ndarray, other: "Rows | None" = None) -> "Rows":
        """These rows where `holds`; elsewhere those of `other`, by default each channel is its
        own."""
        own = self.width + np.arange(self.count)
        column = np.where(holds, self.column, own if other is None else other.column)
        mixed = {p: row for p, row in self.mixed.items() if holds[p]}
        if other is not None:
            mixed |= {p: row for p, row in other.mixed.items() if not holds[p]}

        def chosen(name, default):
            rest = default if other is None else getattr(other, name)
            return np.where(holds, getattr(self, name), rest)

        return Rows(
            self.width,
            column,
            chosen("factor", 1.0),
            chosen("constant", 0.0),
            chosen("error", 0.0),
            mixed,
            self.fixed,
            terms=chosen("terms", 0.0),
            alike=self.alike and other is None,
        )

    def settled(self, fixed: np.ndarray) -> "Rows":
        """The same where pruned channels are known to be constants: no row has an entry there."""
        known = ~np.isnan(fixed)
        if not known.any():
            return self
        inside = (self.column >= 0) & (self.column < self.width)
        hit = inside & known[np.where(inside, self.column, 0)]
        value = fixed[np.where(hit, self.column, 0)]
        added = np.where(hit, self.factor * np.where(hit, value, 0.0), 0.0)
        constant, terms = self.constant + added, self.terms + np.abs(added)
        column, factor = np.where(hit, CONSTANT, self.column), np.where(hit, 0.0, self.factor)
        mixed = {}
        for p, (columns, factors) in self.mixed.items():
            there = (columns < self.width) & known[np.minimum(columns, self.width - 1)]
            constant[p] += factors[there] @ fixed[columns[there]]
            terms[p] += np.abs(factors[there]) @ np.abs(fixed[columns[there]])
            mixed[p] = columns[~there], factors[~there]
        spare = None if self.spare is None else self.spare.settled(fixed)
        return Rows(
            self.width, column, factor, constant, self.error, mixed, fixed, terms, spare, self.alike
        )

    def put(
        self,
        which: np.ndarray,
        column: ArrayLike,
        factor: ArrayLike = 0.0,
        constant: ArrayLike = 0.0,
        terms: ArrayLike = 0.0,
        error: ArrayLike = 0.0,
    ) -> None:
        """Set rows of one entry, or of none."""
        self.column[which], self.factor[which] = column, factor
        self.constant[which], self.terms[which] = constant, terms
        self.error[which] = error

    @property
    def theirs(self) -> "Rows":
        """The pruned model's channels, in terms of themselves."""
        known = ~np.isnan(self.fixed)
        return Rows(
            self.width,
            np.where(known, CONSTANT, np.arange(self.width)),
            np.where(known, 0.0, 1.0),
            np.where(known, self.fixed, 0.0),
            np.zeros(self.width),
        )

    def entries(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """All entries as (channel, column, factor)."""
        first = np.flatnonzero(self.column >= 0)
        parts = [(first, self.column[first], self.factor[first])]
        parts += [(np.full(len(c), p), c, f) for p, (c, f) in self.mixed.items()]
        return tuple(np.concatenate(part) for part in zip(*parts))
