"""What a kernel reads of a tensor: its channels as multiples of atoms, or mixed from a few."""

import functools
from collections.abc import Hashable
from dataclasses import replace

import numpy as np
from scipy import sparse

from keras_l2feat.activations import Scaling
from keras_l2feat.pruning.channels.graph import Graph
from keras_l2feat.pruning.channels.operations import Linear, Tensor
from keras_l2feat.pruning.values.aligned import unit_roundoff
from keras_l2feat.pruning.values.atoms import ONE
from keras_l2feat.pruning.values.classes import Classes
from keras_l2feat.pruning.values.dependence import dependence
from keras_l2feat.pruning.values.forms import Forms, Reading

__all__ = ["FEW", "Readings", "coarsest"]

# so many times what rounding explains of one value may merging move what a kernel adds up
FEW = 4


def coarsest(graph: Graph) -> str:
    """The dtype with the fewest digits among those that the graph's weights are stored in."""
    dtypes = {graph.dtype(layer) for layer, *_ in graph.slots}
    return max(dtypes or {"float32"}, key=unit_roundoff)


class Readings(Classes):
    """Classes of channels, and what the kernels of a graph see of them.

    Attributes:
        readings: reader name → list of `Reading`, one a call.
        ill_conditioned: units that are equal within rounding, but are read with weights so large,
            and of either sign, that taking them for one would move the outputs.
    """

    def __init__(self, graph: Graph) -> None:
        super().__init__(coarsest(graph))
        self.graph = graph
        self.readings: dict[str, list[Reading]] = {name: [] for name in graph.readers}
        self.ill_conditioned: set[int] = set()
        self._read: dict[int, Reading] = {}  # by tensor number

    @functools.cached_property
    def needed(self) -> np.ndarray:
        """(units,) bool: some way of weights that are not 0 leads from there to an output. What
        nobody needs goes anyway, and shall not be what others are combined from."""
        found, links = self.graph.pinned.copy(), []
        for reader in reversed(self.graph.readers.values()):
            kernel = self.graph.weight(reader.layer, reader.slot.index) != 0
            kept = {place.axis for place in (reader.slot, reader.writes) if place is not None}
            others = tuple(axis for axis in range(kernel.ndim) if axis not in kept)
            kernel = kernel.any(axis=others)
            if reader.writes is None:
                found[reader.units[kernel]] = True
            else:
                inward = reader.slot.axis < reader.writes.axis
                links.append((reader, kernel if inward else kernel.T))
        before = -1
        while before != (before := found.sum()):
            for reader, kernel in links:
                found[reader.units[kernel[:, found[reader.writes.units]].any(axis=1)]] = True
        return found

    def reading(self, tensor: Tensor, forms: Forms) -> Reading:
        """A tensor's channels as multiples of atoms, or mixed from a few of them, up to constants;
        the same for all that read it."""
        if tensor.number not in self._read:
            read = self._centred(self._multiples(forms, tensor))
            # what rounding explains is not folded into biases, where it would count for more
            none = np.abs(read.constants) <= self.slack(1) * read.terms
            constants = np.where(none, 0.0, read.constants)
            self._read[tensor.number] = replace(read, constants=constants)
        return self._read[tensor.number]

    def _multiples(self, forms, tensor):
        """Each channel as a multiple of an atom, one for each class of channels; and classes that
        are combinations of others as such."""
        if forms.labels is not None and len(forms.rows) == 1:
            atoms, scales = self.single(forms), forms.matrix[0]
            return Reading.plain(atoms, scales, forms.constant, forms.shift, forms.drifts)
        leader, factor, drift = self.classes(forms, Scaling.LINEAR, constants=False)
        live = leader >= 0
        leaders, position = np.unique(leader[live], return_inverse=True)
        names = self.new(len(leaders), self._reach(forms)[leaders])
        atoms, scales = np.full(forms.count, ONE), np.where(live, factor, 0.0)
        atoms[live] = names[position]
        drift = drift + forms.drifts
        read = Reading.plain(atoms, scales, forms.constant, forms.shift, drift)
        if forms.labels is not None or len(leaders) < 2:
            return read
        # a class may be replaced where all its units may go, and counts where one is needed
        free, units = np.ones(len(leaders), dtype=bool), tensor.units
        np.logical_and.at(free, position, ~self.graph.pinned[units[live]])
        place = position, np.flatnonzero(live)
        members = sparse.csr_array((factor[live], place), shape=(len(leaders), forms.count))
        needed = self._needed_classes(tensor, members) | ~free
        leaders, names, free = leaders[needed], names[needed], free[needed]
        spread = forms.spread[:, leaders]
        found = dependence(forms.matrix[:, leaders], spread, free, self.slack(len(forms.rows)))
        if not len(found.others):
            return read
        dependents = np.flatnonzero(np.isin(leader, leaders[found.others]))
        column = np.searchsorted(leaders[found.others], leader[dependents])
        atoms[dependents] = -1
        drift[dependents] += found.gaps[column] * self._reach(forms, added=True)[dependents]
        mix = found.mix[:, column] * scales[dependents]
        return replace(read, dependents=dependents, basis=names[found.pivots], mix=mix)

    def _needed_classes(self, tensor, members):
        """(classes,) bool: a unit of the class is needed, and what reads the tensor does not read
        it with weights that cancel, once the members, (classes, channels), are added up."""
        needed = members.astype(bool) @ self.needed[tensor.units]
        readers = [op for op in self.graph.ops if any(x is tensor for x in op.inputs)]
        if not all(isinstance(op, Linear) for op in readers):
            return needed
        touched = np.zeros(len(needed), dtype=bool)
        for op in readers:
            for tap in op.kernel():
                total, terms = members @ tap, abs(members) @ np.abs(tap)
                touched |= (np.abs(total) > self.slack(members.shape[1]) * terms).any(axis=1)
        return needed & touched

    def _centred(self, read):
        """The same with each atom moved by the constant that its strongest channel has.

        A feature of 1e9 less its mean of 1e9 is a value of size 1: were it told apart into its two
        terms, all weights that read it would look alike within the rounding of the large one.
        """
        member = np.flatnonzero((read.scales != 0) & (read.atoms >= 0))
        if not read.constants[member].any():
            return read
        scales = read.scales[member]
        names, which = np.unique(read.atoms[member], return_inverse=True)
        order = np.lexsort((-np.abs(scales), which))
        first = order[np.searchsorted(which[order], np.arange(len(names)))]
        offset = read.constants[member[first]] / scales[first]
        error = read.terms[member[first]] / np.abs(scales[first])
        moved = names.copy()
        for index in np.flatnonzero(offset):
            name, by = names[index].item(), offset[index].item()
            moved[index] = self.atom(("plus", name, by), self.size_with(name, by))
        atoms, constants, terms = read.atoms.copy(), read.constants.copy(), read.terms.copy()
        atoms[member] = moved[which]
        constants[member] -= scales * offset[which]
        terms[member] += np.abs(scales) * error[which]
        constants[member[first]] = terms[member[first]] = 0.0
        row = np.searchsorted(names, read.basis)
        constants[read.dependents] -= offset[row] @ read.mix
        terms[read.dependents] += error[row] @ np.abs(read.mix)
        return replace(read, atoms=atoms, constants=constants, terms=terms, basis=moved[row])

    def settled(self, tensor: Tensor, kernel: np.ndarray, read: Reading) -> Reading:
        """The same, but channels stay apart that this kernel reads with weights so large that it
        matters how little they differ: what it adds up afterwards is smaller than what merging
        moves."""
        loose = np.flatnonzero(read.drift > 0)
        if not len(loose):
            return read
        used, total, _ = summed(kernel, read)
        bound = FEW * self.slack(len(read.atoms))
        after = np.nan_to_num(self.size_of(used), nan=1.0) @ np.abs(total).sum(axis=0)
        moves = read.drift[loose, None] * np.abs(kernel[:, loose]).sum(axis=0)
        # what is no multiple of an atom (a combination, a constant) is a class of its own
        alone = (read.scales[loose] == 0) | (read.atoms[loose] < 0)
        classes = np.unique(np.where(alone, -1 - loose, read.atoms[loose]), return_inverse=True)[1]
        moved = _members(classes) @ moves
        apart = np.zeros(len(read.atoms), dtype=bool)
        apart[loose] = (moved > bound * after).any(axis=1)[classes]
        if not apart.any():
            return read
        touched = apart | (np.isin(read.atoms, read.atoms[apart]) & (read.scales != 0))
        self.ill_conditioned.update(tensor.units[touched].tolist())
        atoms, scales, drift = read.atoms.copy(), read.scales.copy(), read.drift.copy()
        sizes = np.abs(scales[apart]) * np.nan_to_num(self.size_of(np.maximum(atoms[apart], 0)))
        atoms[apart] = self.new(apart.sum(), np.where(sizes > 0, sizes, np.nan))
        scales[apart], drift[apart] = 1.0, 0.0
        kept = ~apart[read.dependents]
        return replace(
            read,
            atoms=atoms,
            scales=scales,
            drift=drift,
            dependents=read.dependents[kept],
            mix=read.mix[:, kept],
        )

    def applied(
        self,
        kernel: np.ndarray,
        reading: Reading,
        geometry: Hashable,
        folds: bool,
        bias: np.ndarray | None,
    ) -> Forms:
        """What a kernel (taps, inputs, outputs) makes of a reading: each atom that it reads, seen
        through each tap, is a row.

        Args:
            geometry, folds: of a `Linear` operation.
            bias: (outputs,), or `None`.
        """
        taps, _, outputs = kernel.shape
        ways = [None if geometry is None else (geometry, tap) for tap in range(taps)]
        used, total, terms = summed(kernel, reading)
        rows = [self.seen(way, used) for way in ways]
        matrix = total.reshape(-1, outputs)
        terms = None if terms is None else terms.reshape(-1, outputs)
        # what each tap adds for the constants of its inputs, and from how large terms
        constant = np.einsum("tio,i->to", kernel, reading.constants)
        shift = np.einsum("tio,i->to", np.abs(kernel), reading.terms)
        if not folds and reading.constants.any():
            # at a border a tap sees no constant, so what it adds depends on the place: an atom
            rows += [self.seen((geometry, tap), [ONE]) for tap in range(taps)]
            terms = np.concatenate([np.abs(matrix) if terms is None else terms, shift])
            matrix = np.concatenate([matrix, constant])
            constant = shift = np.zeros((1, outputs))
        bias = np.zeros(outputs) if bias is None else bias
        constant, shift = constant.sum(axis=0) + bias, shift.sum(axis=0) + np.abs(bias)
        return Forms(np.concatenate(rows), matrix, constant, shift, terms)

    def on_their_own(self, read: Reading) -> tuple[np.ndarray, np.ndarray]:
        """Atoms and scales of a reading, combinations taken for something new."""
        atoms, scales = read.atoms.copy(), read.scales.copy()
        atoms[read.dependents], scales[read.dependents] = self.new(len(read.dependents)), 1.0
        return atoms, scales


def summed(kernel: np.ndarray, read: Reading) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """What a kernel (taps, inputs, outputs) makes of each atom that it reads.

    Returns: the atoms, ascending; total (taps, atoms, outputs); terms, the absolute values that
        were added up, `None` where each atom is read once.
    """
    direct = np.flatnonzero((read.atoms >= 0) & (read.scales != 0))
    used = np.unique(np.concatenate([read.atoms[direct], read.basis]))
    place = np.atleast_1d(np.searchsorted(used, read.atoms[direct]))
    shape = len(used), kernel.shape[1]
    gather = sparse.csr_array((read.scales[direct], (place, direct)), shape=shape)
    total = np.stack([gather @ tap for tap in kernel])
    if not len(read.dependents) and len(np.unique(place)) == len(place):
        return used, total, None
    terms = np.stack([abs(gather) @ np.abs(tap) for tap in kernel])
    if len(read.dependents):
        mixed, rows = np.searchsorted(used, read.basis), kernel[:, read.dependents]
        total[:, mixed] += read.mix @ rows
        terms[:, mixed] += np.abs(read.mix) @ np.abs(rows)
    return used, total, terms


def _members(classes):
    """The sparse matrix that adds up what belongs to a class: (classes, members)."""
    return sparse.csr_array((np.ones(len(classes)), (classes, np.arange(len(classes)))))
