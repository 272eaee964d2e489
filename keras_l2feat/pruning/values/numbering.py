"""Which channels are multiples of each other, or constant, or combinations of others: proved from
the weights alone.

Value numbering, as compilers do, with factors. Each tensor's channels are written as combinations
of *atoms*, functions of the model's input that nothing more is known about, and a constant. Linear
operations combine; an activation makes new atoms, one for each group of channels that it cannot
tell apart. So a channel that is t times another is found wherever it was computed: behind a batch
normalization, on both branches of a residual sum, after a depthwise filter; and what is planted
layer after layer is found, since equal inputs are added up before columns are compared.

Taps of a convolution, places of a flattened image and padded constants are atoms of their own, so
constants next to `same` padding are not taken for constants.

Sources: aligned neurons [Jacot et al. 2022, section 3.1]; replicated and vanishing units [Simsek et
    al. 2021].
"""

import functools
import itertools
from dataclasses import dataclass, replace

import numpy as np

from keras_l2feat.activations import Scaling
from keras_l2feat.pruning.channels.interpret import Semantics, interpret
from keras_l2feat.pruning.values.aligned import aligned_groups, tolerance, unit_roundoff

__all__ = ["Forms", "Reading", "Values"]

# the atom of the constant 1, where it is seen through something that does not keep it constant
ONE = 0
ZERO, CONSTANT = -1, -2  # instead of a leader
INDEPENDENT = (
    1e-6  # smallest eigenvalue of unit columns' Gram matrix from which they are surely independent
)
# of an entry: split and balanced (2), times the factor of what it reads, and the sum over them (2)
ROUNDINGS = 4


@dataclass
class Forms:
    """Channel p is Σ_r matrix[r, p] · atom r + constant[p].

    Attributes:
        rows: (rows,) int, the atoms; with `labels`, a list of ways to see an atom: row r of channel
            p is atom `labels[p]` seen by way `rows[r]`.
        matrix: (rows, channels) float64; constant: (channels,).
        size, shift: (channels,) norms of the terms that were added up to `matrix` and `constant`:
            what rounding errors are measured by.
        labels: (channels,) int, or `None`.
    """

    rows: object
    matrix: np.ndarray
    constant: np.ndarray
    size: np.ndarray
    shift: np.ndarray
    labels: np.ndarray | None = None

    @property
    def count(self):
        return self.matrix.shape[1]


@dataclass
class Reading:
    """What a linear operation sees: channel p is scales[p] · atom atoms[p] + constants[p]; all
    (channels,).

    Those of `dependents` are combinations instead: Σ_b mix[b, d] · atom basis[b] +
    constants[dependents[d]]. `terms` is the size of what the constants were added up from.
    """

    atoms: np.ndarray
    scales: np.ndarray
    constants: np.ndarray
    terms: np.ndarray
    dependents: np.ndarray
    basis: np.ndarray
    mix: np.ndarray


class Values(Semantics):
    """The values of all tensors of a graph: the semantics whose values are `Forms`.

    Attributes:
        readings: reader name → list of `Reading`, one a call.
        dtype: what the weights are stored in, the coarsest.

    A subclass may say more of what an operation computes, for example on a part of all inputs.
    """

    def __init__(self, graph):
        self.graph = graph
        self.dtype = self.coarsest(graph)
        self._keys = {}
        self._fresh = itertools.count(1)
        self._read = {}  # tensor number → Reading
        interpret(graph, self, forget=True)
        self.readings = {
            reader.name: [self._read[tensor.number] for tensor in reader.inputs]
            for reader in graph.readers.values()
        }

    @staticmethod
    def coarsest(graph) -> str:
        """The dtype with the fewest digits among those that the graph's weights are stored in."""
        return max(
            {graph.dtype(layer) for layer, *_ in graph.slots} or {"float32"}, key=unit_roundoff
        )

    def slack(self, length) -> float:
        """Up to which part of its terms' size a sum is taken for zero: what rounding to the stored
        dtype explains."""
        return tolerance(self.dtype, length, ROUNDINGS)

    # ---- atoms

    def atom(self, key) -> int:
        """The atom of a key, the same each time."""
        found = self._keys.get(key)
        if found is None:
            found = self._keys[key] = next(self._fresh)
        return found

    def seen(self, way, atoms) -> np.ndarray:
        """The atoms seen through a linear operation."""
        return np.array([self.atom((way, a)) for a in np.asarray(atoms).tolist()], dtype=int)

    def new(self, count) -> np.ndarray:
        """Atoms of which nothing is known."""
        return np.array([next(self._fresh) for _ in range(count)], dtype=int)

    # ---- classes

    def classes(self, forms, scaling, labels=None, *, constants=True):
        """Group channels that are multiples of each other by a factor that commutes.

        Args:
            constants: whether they count; without, channels are grouped up to a constant.

        Returns: leader (channels,) int, the first channel of each class, or `ZERO`, or `CONSTANT`;
            factor (channels,), of the leader's value.
        """
        leader, factor = np.arange(forms.count), np.ones(forms.count)
        bound = self.slack(len(forms.rows) + 1)
        norm = np.sqrt(np.einsum("ij,ij->j", forms.matrix, forms.matrix))
        still = norm <= bound * forms.size
        zero = still & (np.abs(forms.constant) <= bound * forms.shift) if constants else still
        total, size = (
            (np.hypot(norm, forms.constant), np.hypot(forms.size, forms.shift))
            if constants
            else (norm, forms.size)
        )
        live = np.flatnonzero(~still)
        keys = [k for k in (forms.labels, labels) if k is not None]
        merged = (
            np.unique(np.stack(keys), axis=1, return_inverse=True)[1].reshape(-1) if keys else None
        )
        matrix, constant = forms.matrix.T, forms.constant[:, None]
        if len(live) < forms.count:
            matrix, constant = matrix[live], constant[live]
        found = aligned_groups(
            (matrix, constant) if constants else matrix,
            scaling,
            self.dtype,
            roundings=ROUNDINGS,
            slack=np.maximum(size[live] / total[live], 1.0),
        )
        for group in found:
            members = live[np.concatenate([[group.representative], group.members])]
            factors = np.concatenate([[1.0], group.factors])
            if merged is None:
                first = np.zeros(len(members), dtype=int)
            else:
                _, start, which = np.unique(merged[members], return_index=True, return_inverse=True)
                first = start[which.reshape(-1)]
            leader[members], factor[members] = members[first], factors / factors[first]
        leader[still] = CONSTANT
        factor[still] = forms.constant[still]
        leader[zero], factor[zero] = ZERO, 0.0
        return leader, factor

    # ---- what linear operations see

    def reading(self, tensor, forms) -> Reading:
        """A tensor's channels as multiples of atoms, or mixed from a few of them, up to constants;
        the same for all that read it."""
        if tensor.number not in self._read:
            self._read[tensor.number] = self._reading(forms, self.graph.pinned[tensor.units])
        return self._read[tensor.number]

    def _reading(self, forms, pinned):
        empty = np.zeros(0, dtype=int)
        rest = forms.constant, forms.shift
        if forms.labels is not None and len(forms.rows) == 1:
            atoms = (
                forms.labels if forms.rows[0] is None else self.seen(forms.rows[0], forms.labels)
            )
            return Reading(atoms, forms.matrix[0], *rest, empty, empty, np.zeros((0, 0)))
        leader, factor = self.classes(forms, Scaling.LINEAR, constants=False)
        live = leader >= 0
        leaders, position = np.unique(leader[live], return_inverse=True)
        names = self.new(len(leaders))
        atoms, scales = np.full(forms.count, ONE), np.where(live, factor, 0.0)
        atoms[live] = names[position]
        if forms.labels is not None or len(leaders) < 2:
            return Reading(atoms, scales, *rest, empty, empty, np.zeros((0, 0)))
        free = np.ones(len(leaders), dtype=bool)
        np.logical_and.at(free, position, ~pinned[live])
        pivots, others, mix = _dependence(
            forms.matrix[:, leaders], free, self.slack(len(forms.rows))
        )
        dependents = np.flatnonzero(np.isin(leader, leaders[others]))
        column = np.searchsorted(leaders[others], leader[dependents])
        atoms[dependents] = -1
        return Reading(
            atoms, scales, *rest, dependents, names[pivots], mix[:, column] * scales[dependents]
        )

    def applied(self, kernel, reading, geometry, folds, bias) -> Forms:
        """What a kernel (taps, inputs, outputs) makes of a reading."""
        taps, _, outputs = kernel.shape
        direct = np.flatnonzero((reading.atoms >= 0) & (reading.scales != 0))
        used = np.unique(np.concatenate([reading.atoms[direct], reading.basis]))
        place = np.searchsorted(used, reading.atoms[direct])
        total = np.zeros((taps, len(used), outputs))
        first = np.unique(place, return_index=True)[1]
        total[:, place[first]] = reading.scales[direct[first], None] * kernel[:, direct[first]]
        again = np.setdiff1d(np.arange(len(place)), first)
        several = np.union1d(
            place[again], np.searchsorted(used, reading.basis)
        )  # atoms that are summed up
        terms = np.abs(total[:, several])
        if len(again):
            rows = reading.scales[direct[again], None] * kernel[:, direct[again]]
            np.add.at(total, (slice(None), place[again]), rows)
            np.add.at(terms, (slice(None), np.searchsorted(several, place[again])), np.abs(rows))
        if len(reading.dependents):
            mixed, rows = np.searchsorted(used, reading.basis), kernel[:, reading.dependents]
            total[:, mixed] += reading.mix @ rows
            terms[:, np.searchsorted(several, mixed)] += np.abs(reading.mix) @ np.abs(rows)
        size = np.einsum("tio,tio->o", total, total)
        if len(several):
            summed = total[:, several]
            size = (
                size
                + np.einsum("tio,tio->o", terms, terms)
                - np.einsum("tio,tio->o", summed, summed)
            )
        constant = np.einsum("tio,i->to", kernel, reading.constants)
        shift = np.einsum("tio,i->to", np.abs(kernel), reading.terms)
        rows = (
            used
            if geometry is None
            else np.concatenate([self.seen((geometry, tap), used) for tap in range(taps)])
        )
        total = total.reshape(-1, outputs)
        if not folds and reading.constants.any():  # at the border a constant is none
            rows = np.concatenate(
                [rows, np.concatenate([self.seen((geometry, tap), [ONE]) for tap in range(taps)])]
            )
            total = np.concatenate([total, constant])
            size = size + np.einsum("to,to->o", shift, shift)
            constant, shift = np.zeros((2, 1, outputs))
        bias = np.zeros(outputs) if bias is None else bias
        return Forms(
            rows,
            total,
            constant.sum(axis=0) + bias,
            np.sqrt(np.maximum(size, 0.0)),
            shift.sum(axis=0) + np.abs(bias),
        )

    def monomials(self, atoms, scales, constants=None, terms=None) -> Forms:
        """Channels that are multiples of one atom each."""
        constants = np.zeros(len(atoms)) if constants is None else constants
        terms = np.abs(constants) if terms is None else terms
        return Forms(
            [None], np.asarray(scales)[None], constants, np.abs(scales), terms, np.asarray(atoms)
        )

    def joint(self, forms) -> Forms:
        """The same with one row an atom, so that channels of several tensors can be added."""
        if forms.labels is None:
            return forms
        atoms = [
            forms.labels if way is None else self.seen(way, forms.labels) for way in forms.rows
        ]
        rows = np.unique(np.concatenate(atoms))
        matrix = np.zeros((len(rows), forms.count))
        for way, which in enumerate(atoms):
            matrix[np.searchsorted(rows, which), np.arange(forms.count)] += forms.matrix[way]
        return Forms(rows, matrix, forms.constant, forms.size, forms.shift)

    # ---- the operations of the graph

    def on_their_own(self, read):
        """Atoms and scales of a reading, combinations taken for something new."""
        atoms, scales = read.atoms.copy(), read.scales.copy()
        atoms[read.dependents], scales[read.dependents] = self.new(len(read.dependents)), 1.0
        return atoms, scales

    def source(self, op, *inputs):
        count = len(op.out.units)
        return self.monomials(self.new(count), np.ones(count))

    def linear(self, op, x):
        kernel = op.kernel()
        bias = None if op.bias is None else op.bias()
        if op.reader is None:  # an embedding: one atom a token
            rows = self.seen(op.geometry, np.arange(kernel.shape[1]))
            reading = Reading(
                rows,
                np.ones(len(rows)),
                *np.zeros((2, len(rows))),
                rows[:0],
                rows[:0],
                np.zeros((0, 0)),
            )
            return self.applied(kernel, reading, None, True, None)
        return self.applied(kernel, self.reading(op.inputs[0], x), op.geometry, op.folds, bias)

    def depthwise(self, op, x):
        kernel, read = op.kernel(), self.reading(op.inputs[0], x)
        taps, channels, multiplier = kernel.shape
        atoms, scales = self.on_their_own(read)
        source = np.repeat(np.arange(channels), multiplier)
        flat = kernel.reshape(taps, -1)
        matrix, ways = flat * scales[source], [(op.geometry, tap) for tap in range(taps)]
        constant, shift = flat * read.constants[source], np.abs(flat) * read.terms[source]
        if not op.folds and read.constants.any():
            matrix = np.concatenate([matrix, constant])
            ways += [("one", op.geometry, tap) for tap in range(taps)]
            constant = shift = np.zeros((1, len(source)))
        bias = np.zeros(len(source)) if op.bias is None else op.bias()
        size = np.linalg.norm(matrix, axis=0)
        return Forms(
            ways,
            matrix,
            constant.sum(axis=0) + bias,
            size,
            shift.sum(axis=0) + np.abs(bias),
            atoms[source],
        )

    def affine(self, op, x):
        scale, shift, terms = op.coefficients()
        return replace(
            x,
            matrix=x.matrix * scale,
            constant=x.constant * scale + shift,
            size=x.size * np.abs(scale),
            shift=x.shift * np.abs(scale) + terms,
        )

    def map(self, op, *inputs):
        forms = inputs[0]
        if (
            len(inputs) > 1
        ):  # channels are the same if they are so in every argument, by the same factor
            parts = [self.joint(x) for x in inputs]
            ways = [self.seen((op.tag, "argument", n), [ONE, *p.rows]) for n, p in enumerate(parts)]
            matrix = np.concatenate([m for p in parts for m in (p.constant[None], p.matrix)])
            size = np.sqrt(sum(p.size**2 + p.shift**2 for p in parts))
            forms = Forms(
                np.concatenate(ways),
                matrix,
                np.zeros(parts[0].count),
                size,
                np.zeros(parts[0].count),
            )
        leader, factor = self.classes(forms, op.scaling, op.labels)
        atoms, scales, constants = np.full(forms.count, ONE), factor.copy(), np.zeros(forms.count)
        still = leader < 0
        scales[still] = 0.0
        known = still & (op.function is not None)
        if known.any():
            constants[known] = op.function(factor[known])
        unknown = still & ~known
        if op.labels is not None:  # a slope by channel: the positive side is the same for all
            constants[unknown & (factor >= 0)] = factor[unknown & (factor >= 0)]
            unknown &= factor < 0
        atoms[unknown], scales[unknown] = self.new(unknown.sum()), 1.0
        leaders, position = np.unique(leader[~still], return_inverse=True)
        plain = forms.labels is not None and len(forms.rows) == 1 and not forms.constant.any()
        if plain and op.scaling in (Scaling.POSITIVE, Scaling.LINEAR):
            # the same function of the same atom is the same atom, on whatever branch it is computed
            base, label = (
                forms.matrix[0],
                np.zeros(forms.count, dtype=int) if op.labels is None else op.labels,
            )
            names = [
                self.atom(
                    (op.tag, forms.rows[0], int(forms.labels[k]), int(label[k]), bool(base[k] > 0))
                )
                for k in leaders.tolist()
            ]
            atoms[~still], scales[~still] = (
                np.array(names, dtype=int)[position],
                np.abs(base[~still]),
            )
        else:
            atoms[~still] = self.new(len(leaders))[position]
        return self.monomials(atoms, scales, constants)

    def passed(self, op, x):
        if op.tag is None:
            return x
        lost = not op.constants and x.constant.any()
        if x.labels is None:
            rows = self.seen(op.tag, x.rows)
            extra = self.seen(op.tag, [ONE])
        else:
            rows, extra = [(op.tag, way) for way in x.rows], [("one", op.tag)]
        if not lost:
            return replace(x, rows=rows)
        return Forms(
            [*rows, *extra] if x.labels is not None else np.concatenate([rows, extra]),
            np.concatenate([x.matrix, x.constant[None]]),
            np.zeros(x.count),
            np.hypot(x.size, x.shift),
            np.zeros(x.count),
            x.labels,
        )

    def sum(self, op, *inputs):
        parts = [self.joint(x) for x in inputs]
        rows = functools.reduce(np.union1d, [p.rows for p in parts])
        matrix = np.zeros((len(rows), parts[0].count))
        for weight, part in zip(op.weights, parts):
            matrix[np.searchsorted(rows, np.sort(part.rows))] += (
                weight * part.matrix[np.argsort(part.rows)]
            )

        def total(name, sign=abs):
            return sum(sign(w) * getattr(p, name) for w, p in zip(op.weights, parts))

        return Forms(rows, matrix, total("constant", float), total("size"), total("shift"))

    def product(self, op, *inputs):
        count = len(op.out.units)
        names, scales, constants = [], np.ones(count), np.ones(count)
        for forms in inputs:
            leader, factor = self.classes(forms, Scaling.LINEAR)
            still = leader < 0
            constants = constants * np.where(still, factor, 0.0)
            if forms.labels is not None and len(forms.rows) == 1 and not forms.constant.any():
                factor = np.where(still, factor, forms.matrix[0])
                atoms = (
                    forms.labels
                    if forms.rows[0] is None
                    else self.seen(forms.rows[0], forms.labels)
                )
            else:
                leaders, position = np.unique(leader, return_inverse=True)
                atoms = self.new(len(leaders))[position]
            scales = scales * factor
            names.append(np.where(still, ONE, atoms))
        atoms = [
            tuple(sorted(a for a in channel if a != ONE))
            for channel in zip(*(n.tolist() for n in names))
        ]
        ids = np.array(
            [ONE if not a else a[0] if len(a) == 1 else self.atom(("product", *a)) for a in atoms],
            dtype=int,
        )
        return self.monomials(ids, np.where(ids == ONE, 0.0, scales), constants)

    def concat(self, op, *inputs):
        reads = [self.reading(tensor, x) for tensor, x in zip(op.inputs, inputs)]
        own = [self.on_their_own(read) for read in reads]
        return self.monomials(
            np.concatenate([atoms for atoms, _ in own]),
            np.concatenate([scales for _, scales in own]),
            np.concatenate([read.constants for read in reads]),
            np.concatenate([read.terms for read in reads]),
        )

    def spread(self, op, x):
        read = self.reading(op.inputs[0], x)
        atoms, scales = self.on_their_own(read)
        pairs = zip(op.place.tolist(), atoms[op.channel].tolist())
        if op.place.any():
            atoms = np.array([self.atom((op.tag, place, a)) for place, a in pairs], dtype=int)
        else:
            atoms = atoms[op.channel]
        return self.monomials(
            atoms, scales[op.channel], read.constants[op.channel], read.terms[op.channel]
        )


def _dependence(columns, free, bound):
    """Columns that are combinations of others: pivoted Gram-Schmidt on unit columns, those that
    must stay first.

    Args:
        columns: (rows, count), no zero column, no two aligned.
        free: (count,) bool: may be replaced.
        bound: relative rounding error of a column.

    Returns: pivots, dependent columns (ascending), mix (pivots, dependent) with columns[:,
        dependent] = columns[:, pivots] @ mix up to rounding.
    """
    rows, count = columns.shape
    empty = np.zeros(0, dtype=int)
    norms = np.linalg.norm(columns, axis=0)
    unit = columns / norms
    if rows >= count and np.linalg.eigvalsh(unit.T @ unit)[0] > INDEPENDENT:
        return empty, empty, np.zeros((0, 0))
    work, pivots, directions = unit.copy(), [], np.zeros((rows, 0))
    threshold = bound * np.sqrt(count)  # a combination carries the rounding of all its columns
    for _ in range(min(rows, count)):
        rest = np.sqrt(np.einsum("ij,ij->j", work, work))
        waiting = rest * ~free if (rest * ~free).max() > threshold else rest
        pivot = int(waiting.argmax())
        if waiting[pivot] <= threshold:
            break
        direction = work[:, pivot] - directions @ (directions.T @ work[:, pivot])
        direction /= np.linalg.norm(direction)
        directions = np.column_stack([directions, direction])
        pivots.append(pivot)
        work -= np.outer(direction, direction @ work)
        work[:, pivot] = 0.0
    others = np.setdiff1d(np.flatnonzero(free), pivots)
    if not len(others):
        return empty, empty, np.zeros((0, 0))
    mix = np.linalg.lstsq(unit[:, pivots], unit[:, others], rcond=None)[0]
    gap = np.linalg.norm(unit[:, pivots] @ mix - unit[:, others], axis=0)
    good = gap <= threshold * (1 + np.abs(mix).sum(axis=0))
    others, mix = others[good], mix[:, good]
    mix[np.abs(mix) <= threshold] = 0.0
    return np.array(pivots), others, mix * norms[others] / norms[pivots][:, None]
