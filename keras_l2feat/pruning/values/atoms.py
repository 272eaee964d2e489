"""Atoms: functions of the model's input that nothing more is known about, and what is written in
them.

An atom is a number. What made it is its key, so the same function has the same number wherever it
is computed. How large atoms are beside each other is noted where it is known, to tell what is small
from what is rounding.
"""

import functools
from collections.abc import Hashable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from keras_l2feat.pruning.values.forms import Forms

__all__ = ["ONE", "Atoms"]

# the atom of the constant 1, where it is seen through something that does not keep it constant
ONE = 0


class Atoms:
    """All atoms of a model, and the sums of them that its tensors are.

    Attributes:
        sizes: [atom] → how large it is beside the other atoms of its layer; NaN if nobody knows.
    """

    def __init__(self) -> None:
        self.sizes = [1.0]
        self._keys: dict[Hashable, int] = {}

    def atom(self, key: Hashable, size: float = np.nan) -> int:
        """The atom of a key, the same each time."""
        found = self._keys.get(key)
        if found is None:
            found = self._keys[key] = len(self.sizes)
            self.sizes.append(size)
        return found

    def seen(self, way: Hashable, atoms: ArrayLike) -> np.ndarray:
        """The atoms seen through a linear operation; themselves where `way` is `None`."""
        if way is None:
            return np.asarray(atoms)
        listed = np.asarray(atoms).tolist()
        return np.array([self.atom((way, a), self.sizes[a]) for a in listed], dtype=int)

    def new(self, count: int, size: ArrayLike = np.nan) -> np.ndarray:
        """Atoms of which nothing is known but perhaps their size, a number or (count,)."""
        first = len(self.sizes)
        self.sizes.extend(np.broadcast_to(size, count).tolist())
        return np.arange(first, first + count)

    def size_of(self, atoms: ArrayLike) -> np.ndarray:
        """The sizes of atoms, NaN where they are unknown."""
        return np.array([self.sizes[a] for a in np.asarray(atoms).tolist()])

    def size_with(self, atom: int, constant: float) -> float:
        """The size of an atom plus a constant; as sizes are relative, that of the atom."""
        return self.sizes[atom]

    # ---- what is written in atoms

    def monomials(
        self,
        atoms: ArrayLike,
        scales: ArrayLike,
        constants: np.ndarray | None = None,
        shift: np.ndarray | None = None,
        drift: np.ndarray | float = 0.0,
    ) -> Forms:
        """Channels that are multiples of one atom each."""
        atoms = np.asarray(atoms)
        constants = np.zeros(len(atoms)) if constants is None else constants
        shift = np.abs(constants) if shift is None else shift
        matrix = np.asarray(scales, dtype=np.float64)[None]
        return Forms([None], matrix, constants, shift, None, atoms, drift)

    def single(self, forms: Forms) -> np.ndarray:
        """The one atom of each channel of forms that have one row."""
        (way,) = forms.rows
        return self.seen(way, forms.labels)

    def joint(self, forms: Forms) -> Forms:
        """The same with one row an atom, so that channels of several tensors can be added."""
        if forms.labels is None:
            return forms
        atoms = [self.seen(way, forms.labels) for way in forms.rows]
        rows = np.unique(np.concatenate(atoms))
        matrix = np.zeros((len(rows), forms.count))
        terms = None if forms.terms is None and len(atoms) == 1 else np.zeros_like(matrix)
        for way, which in enumerate(atoms):
            place = np.searchsorted(rows, which), np.arange(forms.count)
            matrix[place] += forms.matrix[way]
            if terms is not None:
                terms[place] += forms.spread[way]
        return replace(forms, rows=rows, matrix=matrix, terms=terms, labels=None)

    def added(self, parts: Sequence[Forms]) -> Forms:
        """The sum of forms, channel by channel."""
        parts = [self.joint(part) for part in parts]
        rows = functools.reduce(np.union1d, [part.rows for part in parts])
        matrix = np.zeros((len(rows), parts[0].count))
        apart = len(rows) == sum(len(part.rows) for part in parts)  # then no entry is a sum
        single = apart and all(part.terms is None for part in parts)
        terms = None if single else np.zeros_like(matrix)
        for part in parts:
            place = np.searchsorted(rows, part.rows)
            matrix[place] += part.matrix
            if terms is not None:
                terms[place] += part.spread
        constant, shift, drift = (
            sum(getattr(part, name) for part in parts) for name in ("constant", "shift", "drift")
        )
        return Forms(rows, matrix, constant, shift, terms, None, drift)

    def arguments(self, tag: Hashable, inputs: Sequence[Forms]) -> Forms:
        """All that a function of several tensors sees of a channel: channels are the same if they
        are so in every argument, by the same factor."""
        parts = [self.joint(x) for x in inputs]
        ways = [self.seen((tag, "argument", n), [ONE, *p.rows]) for n, p in enumerate(parts)]
        matrix = np.concatenate([m for p in parts for m in (p.constant[None], p.matrix)])
        terms = np.concatenate([m for p in parts for m in (p.shift[None], p.spread)])
        none = np.zeros(parts[0].count)
        drift = np.sum([p.drifts for p in parts], axis=0)
        return Forms(np.concatenate(ways), matrix, none, none, terms, None, drift)

    def mixed(self, x: Forms, group: np.ndarray, tag: Hashable, *, constants: bool) -> Forms:
        """Forms seen through a linear operation that is the same for all channels of a group.

        Args:
            x: the channels' forms; group: (channels,) int.
            tag: tells the operation apart from others.
            constants: whether the operation leaves constants as they are.
        """
        x = self.joint(x)
        found, place = np.unique(group, return_inverse=True)
        rows, matrix, terms = x.rows, x.matrix, x.spread
        constant, shift = x.constant, x.shift
        if not constants and constant.any():
            rows = np.concatenate([rows, [ONE]])
            matrix, terms = np.vstack([matrix, constant]), np.vstack([terms, shift])
            constant = shift = np.zeros(x.count)
        # (groups, rows, channels): a channel has its entries in the rows of its own group
        wide, spread = np.zeros((2, len(found), len(rows), x.count))
        where = place, slice(None), np.arange(x.count)
        wide[where], spread[where] = matrix.T, terms.T
        return Forms(
            np.concatenate([self.seen((tag, int(k)), rows) for k in found]),
            wide.reshape(-1, x.count),
            constant,
            shift,
            spread.reshape(-1, x.count),
            None,
            x.drift,
        )
