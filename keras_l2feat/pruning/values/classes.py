"""Which channels are multiples of each other, or constant, as far as rounding lets anybody say."""

from typing import NamedTuple

import numpy as np

from keras_l2feat.activations import Scaling
from keras_l2feat.pruning.values.aligned import aligned_groups, tolerance
from keras_l2feat.pruning.values.atoms import Atoms
from keras_l2feat.pruning.values.forms import Forms, blocks

__all__ = ["CONSTANT", "ROUNDINGS", "ZERO", "Classes", "Grouping"]

ZERO, CONSTANT = -1, -2  # instead of a leader
# of an entry: split and balanced (2), times the factor of what it reads, and the sum over them (2)
ROUNDINGS = 4


class Grouping(NamedTuple):
    """What each channel is, all (channels,).

    `leader`: the first channel of its class, or `ZERO`, or `CONSTANT`; `factor`: of the leader's
    value, or the constant; `drift`: how far the channel may be from that.
    """

    leader: np.ndarray
    factor: np.ndarray
    drift: np.ndarray


class Classes(Atoms):
    """Atoms, and the judgement of what is written in them.

    Attributes:
        dtype: what the weights are stored in, the coarsest.
    """

    def __init__(self, dtype: str) -> None:
        super().__init__()
        self.dtype = dtype

    def slack(self, length: int) -> float:
        """Up to which part of its terms' size a sum is taken for zero: what rounding to the stored
        dtype explains."""
        return tolerance(self.dtype, length, ROUNDINGS)

    def classes(
        self,
        forms: Forms,
        scaling: Scaling,
        labels: np.ndarray | None = None,
        *,
        constants: bool = True,
    ) -> Grouping:
        """Group channels that are multiples of each other by a factor that commutes.

        Args:
            forms: of the channels.
            scaling: which factors commute.
            labels: (channels,) int; only channels of one label can be one.
            constants: whether they count; without, channels are grouped up to a constant.
        """
        bound = self.slack(len(forms.rows) + 1)
        # a channel is constant where every weight of an atom is what rounding leaves of 0
        still = forms.vanishing(bound)
        zero = still & (np.abs(forms.constant) <= bound * forms.shift) if constants else still
        leader, factor = np.arange(forms.count), np.ones(forms.count)
        drift = np.zeros(forms.count)
        groups = self._aligned(forms, np.flatnonzero(~still), scaling, constants)
        reach = self._reach(forms, added=True) if groups else drift
        kind = _kinds(forms.count, forms.labels, labels)
        for members, factors, gaps in groups:
            # entries alike are not all: the first member of a kind leads those of that kind
            _, first, which = np.unique(kind[members], return_index=True, return_inverse=True)
            leading = first[which.reshape(-1)]  # place in `members` of each one's leader
            leader[members] = members[leading]
            factor[members] = factors / factors[leading]
            follows = leading != np.arange(len(members))
            drift[members] = (gaps + gaps[leading]) * reach[members] * follows
        leader[still], factor[still] = CONSTANT, forms.constant[still]
        leader[zero], factor[zero] = ZERO, 0.0
        if forms.terms is not None:  # what was left of weights that cancelled is not quite nothing
            drift[still] = self._reach(forms)[still]
        return Grouping(leader, factor, drift)

    def _aligned(self, forms, live, scaling, constants):
        """Groups of the channels `live`: (members, their factors, their gaps), leaders first."""
        single = forms.terms is None  # no entry is a sum: its size says how it was rounded
        single = single and (not constants or (forms.shift == np.abs(forms.constant)).all())
        sides = [[forms.matrix.T, forms.constant[:, None]]]
        sides += [] if single else [[forms.spread.T, forms.shift[:, None]]]
        sides = [side if constants else side[:1] for side in sides]
        if len(live) < forms.count:
            sides = [[part[live] for part in side] for side in sides]
        parts, terms = sides if len(sides) > 1 else (sides[0], None)
        found = aligned_groups(parts, scaling, self.dtype, roundings=ROUNDINGS, terms=terms)
        return [
            (live[[g.representative, *g.members]], np.r_[1.0, g.factors], np.r_[0.0, g.gaps])
            for g in found
        ]

    def _reach(self, forms, *, added=False):
        """How large channels are, (channels,): the largest of what they add up, or of what that was
        `added` up from."""
        entries = forms.terms if added and forms.terms is not None else forms.matrix
        if forms.labels is not None:
            sizes = np.nan_to_num(self.size_of(forms.labels), nan=1.0)
            return sizes * np.abs(entries).max(axis=0, initial=0.0)
        sizes = self.size_of(forms.rows)
        unknown = np.isnan(sizes)
        if unknown.any():  # such an atom is as large as makes its largest weight 1
            largest = np.abs(forms.matrix[unknown]).max(axis=1, initial=0.0)
            sizes[unknown] = np.divide(1.0, largest, out=np.ones_like(largest), where=largest > 0)
        reach = np.zeros(forms.count)
        for rows in blocks(*entries.shape):
            part = np.abs(entries[rows]) * sizes[rows, None]
            np.maximum(reach, part.max(axis=0, initial=0.0), out=reach)
        return reach


def _kinds(count, *labels):
    """A number for each channel; only channels of the same number, in all labels, can be one."""
    given = [label for label in labels if label is not None]
    if not given:
        return np.zeros(count, dtype=int)
    return np.unique(np.stack(given), axis=1, return_inverse=True)[1].reshape(-1)
