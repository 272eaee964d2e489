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
from dataclasses import replace

import numpy as np
from scipy import sparse

from keras_l2feat.activations import Scaling
from keras_l2feat.pruning.channels.interpret import Semantics, interpret
from keras_l2feat.pruning.values.aligned import aligned_groups, tolerance, unit_roundoff
from keras_l2feat.pruning.values.attention import attended
from keras_l2feat.pruning.values.dependence import dependence
from keras_l2feat.pruning.values.forms import Forms, Reading
from keras_l2feat.pruning.values.recurrence import recurred

__all__ = ["FEW", "Values", "summed"]

# the atom of the constant 1, where it is seen through something that does not keep it constant
ONE = 0
ZERO, CONSTANT = -1, -2  # instead of a leader
# of an entry: split and balanced (2), times the factor of what it reads, and the sum over them (2)
ROUNDINGS = 4
# so many times what rounding explains of one value may merging move what a kernel adds up
FEW = 4


class Values(Semantics):
    """The values of all tensors of a graph: the semantics whose values are `Forms`.

    Attributes:
        readings: reader name → list of `Reading`, one a call.
        dtype: what the weights are stored in, the coarsest.
        sizes: [atom] → how large it is beside the other atoms of its layer; NaN if nobody knows.
        ill_conditioned: units that are equal within rounding, but are read with weights so large,
            and of either sign, that taking them for one would move the outputs.

    A subclass may say more of what an operation computes, for example on a part of all inputs.
    """

    def __init__(self, graph):
        self.graph = graph
        self.dtype = self.coarsest(graph)
        self.readings = {name: [] for name in graph.readers}
        self.sizes = [1.0]
        self.ill_conditioned = set()
        self._keys = {}
        self._read = {}  # tensor number → Reading
        interpret(graph, self, forget=True)

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

    def size_with(self, atom, constant) -> float:
        """The size of an atom plus a constant; as sizes are relative, that of the atom."""
        return self.sizes[atom]

    @functools.cached_property
    def needed(self):
        """(units,) bool: some way of weights that are not 0 leads from there to an output. What
        nobody needs goes anyway, and shall not be what others are combined from."""
        found, links = self.graph.pinned.copy(), []
        for reader in reversed(self.graph.readers.values()):
            kernel = self.graph.weight(reader.layer, reader.slot.index) != 0
            kept = {
                axis.axis: axis.units for axis in (reader.slot, reader.writes) if axis is not None
            }
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

    # ---- atoms

    def atom(self, key, size=np.nan) -> int:
        """The atom of a key, the same each time."""
        found = self._keys.get(key)
        if found is None:
            found = self._keys[key] = len(self.sizes)
            self.sizes.append(size)
        return found

    def seen(self, way, atoms) -> np.ndarray:
        """The atoms seen through a linear operation."""
        atoms = np.asarray(atoms).tolist()
        return np.array([self.atom((way, a), self.sizes[a]) for a in atoms], dtype=int)

    def new(self, count, size=np.nan) -> np.ndarray:
        """Atoms of which nothing is known but perhaps their size, a number or (count,)."""
        first = len(self.sizes)
        self.sizes.extend(np.broadcast_to(size, count).tolist())
        return np.arange(first, first + count)

    def size_of(self, atoms) -> np.ndarray:
        """The sizes of atoms, NaN where they are unknown."""
        return np.array([self.sizes[a] for a in np.asarray(atoms).tolist()])

    # ---- classes

    def classes(self, forms, scaling, labels=None, *, constants=True):
        """Group channels that are multiples of each other by a factor that commutes.

        Args:
            constants: whether they count; without, channels are grouped up to a constant.

        Returns: leader (channels,) int, the first channel of each class, or `ZERO`, or `CONSTANT`;
            factor (channels,), of the leader's value; drift (channels,), how far the channel may be
            from that.
        """
        judged, bound = self.judged(forms), self.slack(len(forms.rows) + 1)
        still = (np.abs(judged.matrix) <= bound * judged.spread).all(axis=0)
        zero = still & (np.abs(judged.constant) <= bound * judged.shift) if constants else still
        groups = self._aligned(judged, np.flatnonzero(~still), scaling, constants)
        kind = _kinds(forms.count, forms.labels, labels)
        leader, factor = np.arange(forms.count), np.ones(forms.count)
        drift = np.zeros(forms.count)
        reach = self._reach(forms, forms.spread) if groups else drift
        for members, factors, gaps in groups:
            first, which = np.unique(kind[members], return_index=True, return_inverse=True)[1:]
            chosen = first[which.reshape(-1)]  # the first member of the same kind leads
            leader[members], factor[members] = members[chosen], factors / factors[chosen]
            drift[members] = (gaps + gaps[chosen]) * reach[members] * (members != members[chosen])
        leader[still] = CONSTANT
        factor[still] = forms.constant[still]
        leader[zero], factor[zero] = ZERO, 0.0
        if judged.terms is not None:  # what was left of weights that cancelled is not quite nothing
            drift[still] = self._reach(forms, np.abs(forms.matrix))[still]
        return leader, factor, drift

    def _aligned(self, forms, live, scaling, constants):
        """Groups of the channels `live`: (members, their factors, their gaps), leaders first."""
        parts, terms = [forms.matrix.T], [forms.spread.T]
        single = forms.terms is None  # no entry is a sum: its size says how it was rounded
        if constants:
            parts, terms = [*parts, forms.constant[:, None]], [*terms, forms.shift[:, None]]
            single = single and (forms.shift == np.abs(forms.constant)).all()
        if len(live) < forms.count:
            parts, terms = ([part[live] for part in side] for side in (parts, terms))
        found = aligned_groups(
            parts, scaling, self.dtype, roundings=ROUNDINGS, terms=None if single else terms
        )
        return [
            (live[[g.representative, *g.members]], np.r_[1.0, g.factors], np.r_[0.0, g.gaps])
            for g in found
        ]

    def judged(self, forms) -> Forms:
        """Forms whose entries and terms say which channels are equal up to rounding: for every
        input, each entry by itself."""
        return forms

    def _reach(self, forms, entries):
        """How large channels with these entries are, (channels,): the largest of what they add
        up."""
        if forms.labels is not None:
            sizes = np.nan_to_num(self.size_of(forms.labels), nan=1.0)
            return sizes * entries.max(axis=0, initial=0.0)
        sizes = self.size_of(forms.rows)
        unknown = np.isnan(sizes)
        if unknown.any():  # such an atom is as large as makes its largest weight 1
            largest = np.abs(forms.matrix[unknown]).max(axis=1, initial=0.0)
            sizes[unknown] = np.divide(1.0, largest, out=np.ones_like(largest), where=largest > 0)
        return (entries * sizes[:, None]).max(axis=0, initial=0.0)

    # ---- what linear operations see

    def reading(self, tensor, forms) -> Reading:
        """A tensor's channels as multiples of atoms, or mixed from a few of them, up to constants;
        the same for all that read it."""
        if tensor.number not in self._read:
            read = self._reading(forms, tensor.units)
            read = self._centred(read)
            # what rounding explains is not folded into biases, where it would count for more
            none = np.abs(read.constants) <= self.slack(1) * read.terms
            constants = np.where(none, 0.0, read.constants)
            self._read[tensor.number] = replace(read, constants=constants)
        return self._read[tensor.number]

    def _reading(self, forms, units):
        if forms.labels is not None and len(forms.rows) == 1:
            way, atoms = forms.rows[0], forms.labels
            atoms = atoms if way is None else self.seen(way, atoms)
            return Reading.plain(atoms, forms.matrix[0], forms.constant, forms.shift, forms.drifts)
        leader, factor, drift = self.classes(forms, Scaling.LINEAR, constants=False)
        live = leader >= 0
        leaders, position = np.unique(leader[live], return_inverse=True)
        names = self.new(len(leaders), self._reach(forms, np.abs(forms.matrix))[leaders])
        atoms, scales = np.full(forms.count, ONE), np.where(live, factor, 0.0)
        atoms[live] = names[position]
        drift = drift + forms.drifts
        read = Reading.plain(atoms, scales, forms.constant, forms.shift, drift)
        if forms.labels is not None or len(leaders) < 2:
            return read
        free, needed = np.ones(len(leaders), dtype=bool), np.zeros(len(leaders), dtype=bool)
        np.logical_and.at(free, position, ~self.graph.pinned[units[live]])
        np.logical_or.at(needed, position, self.needed[units[live]])
        leaders, names, free = leaders[needed], names[needed], free[needed]
        spread = forms.spread[:, leaders]
        found = dependence(forms.matrix[:, leaders], spread, free, self.slack(len(forms.rows)))
        if not len(found.others):
            return read
        dependents = np.flatnonzero(np.isin(leader, leaders[found.others]))
        column = np.searchsorted(leaders[found.others], leader[dependents])
        atoms[dependents] = -1
        drift[dependents] += found.gaps[column] * self._reach(forms, forms.spread)[dependents]
        mix = found.mix[:, column] * scales[dependents]
        return replace(read, dependents=dependents, basis=names[found.pivots], mix=mix)

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
        offset, error = (
            values[member[first]] / scale
            for values, scale in (
                (read.constants, scales[first]),
                (read.terms, np.abs(scales[first])),
            )
        )
        moved = [
            self.atom(("plus", name, by), self.size_with(name, by)) if by else name
            for name, by in zip(names.tolist(), offset.tolist())
        ]
        moved = np.array(moved, dtype=int)
        atoms, constants, terms = read.atoms.copy(), read.constants.copy(), read.terms.copy()
        atoms[member] = moved[which]
        constants[member] -= scales * offset[which]
        terms[member] += np.abs(scales) * error[which]
        constants[member[first]] = terms[member[first]] = 0.0
        row = np.searchsorted(names, read.basis)
        constants[read.dependents] -= offset[row] @ read.mix
        terms[read.dependents] += error[row] @ np.abs(read.mix)
        return replace(read, atoms=atoms, constants=constants, terms=terms, basis=moved[row])

    def settled(self, tensor, kernel, read) -> Reading:
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

    def applied(self, kernel, reading, geometry, folds, bias) -> Forms:
        """What a kernel (taps, inputs, outputs) makes of a reading."""
        taps, _, outputs = kernel.shape
        used, total, terms = summed(kernel, reading)
        rows = used
        if geometry is not None:
            rows = np.concatenate([self.seen((geometry, tap), used) for tap in range(taps)])
        matrix = total.reshape(-1, outputs)
        terms = None if terms is None else terms.reshape(-1, outputs)
        constant = np.einsum("tio,i->to", kernel, reading.constants)
        shift = np.einsum("tio,i->to", np.abs(kernel), reading.terms)
        if not folds and reading.constants.any():  # at the border a constant is none
            ones = [self.seen((geometry, tap), [ONE]) for tap in range(taps)]
            rows = np.concatenate([rows, *ones])
            terms = np.concatenate([np.abs(matrix) if terms is None else terms, shift])
            matrix = np.concatenate([matrix, constant])
            constant = shift = np.zeros((1, outputs))
        bias = np.zeros(outputs) if bias is None else bias
        return Forms(
            rows, matrix, constant.sum(axis=0) + bias, shift.sum(axis=0) + np.abs(bias), terms
        )

    def monomials(self, atoms, scales, constants=None, shift=None, drift=0.0) -> Forms:
        """Channels that are multiples of one atom each."""
        constants = np.zeros(len(atoms)) if constants is None else constants
        shift = np.abs(constants) if shift is None else shift
        matrix = np.asarray(scales, dtype=np.float64)[None]
        return Forms([None], matrix, constants, shift, None, np.asarray(atoms), drift)

    def joint(self, forms) -> Forms:
        """The same with one row an atom, so that channels of several tensors can be added."""
        if forms.labels is None:
            return forms
        atoms = [
            forms.labels if way is None else self.seen(way, forms.labels) for way in forms.rows
        ]
        rows = np.unique(np.concatenate(atoms))
        matrix, terms = np.zeros((2, len(rows), forms.count))
        for way, which in enumerate(atoms):
            place = np.searchsorted(rows, which), np.arange(forms.count)
            matrix[place] += forms.matrix[way]
            terms[place] += forms.spread[way]
        return replace(forms, rows=rows, matrix=matrix, terms=terms, labels=None)

    def mixed(self, x, group, tag, *, constants) -> Forms:
        """Forms seen through a linear operation that is the same for all channels of a group.

        Args:
            x: `Forms`; group: (channels,) int.
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

    def added(self, parts) -> Forms:
        """The sum of forms, channel by channel."""
        parts = [self.joint(part) for part in parts]
        rows = functools.reduce(np.union1d, [part.rows for part in parts])
        matrix, terms = np.zeros((2, len(rows), parts[0].count))
        for part in parts:
            place = np.searchsorted(rows, part.rows)
            matrix[place] += part.matrix
            terms[place] += part.spread
        constant, shift, drift = (
            sum(getattr(part, name) for part in parts) for name in ("constant", "shift", "drift")
        )
        return Forms(rows, matrix, constant, shift, terms, None, drift)

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
            rows = [self.atom((op.geometry, token)) for token in range(kernel.shape[1])]
            read = Reading.plain(np.array(rows), np.ones(len(rows)), *np.zeros((3, len(rows))))
            return self.applied(kernel, read, None, True, None)
        read = self.settled(op.inputs[0], kernel, self.reading(op.inputs[0], x))
        self.readings[op.reader].append(read)
        return self.applied(kernel, read, op.geometry, op.folds, bias)

    def depthwise(self, op, x):
        kernel, read = op.kernel(), self.reading(op.inputs[0], x)
        taps, channels, multiplier = kernel.shape
        atoms, scales = self.on_their_own(read)
        source = np.repeat(np.arange(channels), multiplier)
        flat = kernel.reshape(taps, -1)
        matrix, ways = flat * scales[source], [(op.geometry, tap) for tap in range(taps)]
        constant, shift = flat * read.constants[source], np.abs(flat) * read.terms[source]
        terms, drift = None, np.abs(flat).sum(axis=0) * read.drift[source]
        if not op.folds and read.constants.any():
            terms = np.concatenate([np.abs(matrix), shift])
            matrix = np.concatenate([matrix, constant])
            ways += [("one", op.geometry, tap) for tap in range(taps)]
            constant = shift = np.zeros((1, len(source)))
        bias = np.zeros(len(source)) if op.bias is None else op.bias()
        constant, shift = constant.sum(axis=0) + bias, shift.sum(axis=0) + np.abs(bias)
        return Forms(ways, matrix, constant, shift, terms, atoms[source], drift)

    def affine(self, op, x):
        scale, shift, terms = op.coefficients()
        forms = x.scaled(scale)
        return replace(forms, constant=forms.constant + shift, shift=forms.shift + terms)

    def map(self, op, *inputs):
        forms = inputs[0] if len(inputs) == 1 else self.arguments(op, inputs)
        leader, factor, drift = self.classes(forms, op.scaling, op.labels)
        drift = drift + forms.drifts
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
        sizes = self._reach(forms, np.abs(forms.matrix))
        plain = forms.labels is not None and len(forms.rows) == 1 and not forms.constant.any()
        if plain and op.scaling.homogeneous:
            # the same function of the same atom is the same atom, on whatever branch it is computed
            base = forms.matrix[0]
            label = np.zeros(forms.count, dtype=int) if op.labels is None else op.labels
            names = []
            for k in leaders.tolist():
                key = op.tag, forms.rows[0], int(forms.labels[k]), int(label[k]), bool(base[k] > 0)
                names.append(self.atom(key, sizes[k] / abs(base[k])))
            atoms[~still], scales[~still] = (
                np.array(names, dtype=int)[position],
                np.abs(base[~still]),
            )
        else:
            atoms[~still] = self.new(len(leaders), sizes[leaders])[position]
        return self.monomials(atoms, scales, constants, drift=drift)

    def arguments(self, op, inputs):
        """All that a function of several tensors sees of a channel: channels are the same if they
        are so in every argument, by the same factor."""
        parts = [self.joint(x) for x in inputs]
        ways = [self.seen((op.tag, "argument", n), [ONE, *p.rows]) for n, p in enumerate(parts)]
        matrix = np.concatenate([m for p in parts for m in (p.constant[None], p.matrix)])
        terms = np.concatenate([m for p in parts for m in (p.shift[None], p.spread)])
        none = np.zeros(parts[0].count)
        drift = sum(p.drifts for p in parts)
        return Forms(np.concatenate(ways), matrix, none, none, terms, None, drift)

    def passed(self, op, x):
        if op.tag is None:
            return x
        if x.labels is None:
            rows, ones = self.seen(op.tag, x.rows), self.seen(op.tag, [ONE])
        else:
            rows, ones = [(op.tag, way) for way in x.rows], [("one", op.tag)]
        if op.constants or not x.constant.any():
            return replace(x, rows=rows)
        none = np.zeros(x.count)
        return replace(
            x,
            rows=[*rows, *ones] if x.labels is not None else np.concatenate([rows, ones]),
            matrix=np.concatenate([x.matrix, x.constant[None]]),
            terms=np.concatenate([x.spread, x.shift[None]]),
            constant=none,
            shift=none,
        )

    def normalize(self, op, x):
        x = self.joint(x)
        if op.centered:  # less the mean, which nothing more is known about
            mean = np.array([self.atom((op.tag, "mean"), 1.0)])
            less, one = np.full((1, x.count), -1.0), np.ones((1, x.count))
            x = replace(
                x,
                rows=np.concatenate([x.rows, mean]),
                matrix=np.concatenate([x.matrix, less]),
                terms=np.concatenate([x.spread, one]),
            )
        return self.mixed(x, op.group, op.tag, constants=False)

    def attend(self, op, query, key, value, *masks):
        return attended(self, op, query, key, value)

    def recurrent(self, op, x):
        return recurred(self, op, x)

    def sum(self, op, *inputs):
        return self.added([x.scaled(w) for w, x in zip(op.weights, inputs)])

    def product(self, op, *inputs):
        count = len(op.out.units)
        names, scales, constants = [], np.ones(count), np.ones(count)
        for forms in inputs:
            leader, factor, _ = self.classes(forms, Scaling.LINEAR)
            still = leader < 0
            constants = constants * np.where(still, factor, 0.0)
            if forms.labels is not None and len(forms.rows) == 1 and not forms.constant.any():
                factor = np.where(still, factor, forms.matrix[0])
                way, atoms = forms.rows[0], forms.labels
                atoms = atoms if way is None else self.seen(way, atoms)
            else:
                leaders, position = np.unique(leader, return_inverse=True)
                atoms = self.new(len(leaders))[position]
            scales = scales * factor
            names.append(np.where(still, ONE, atoms))
        atoms = [
            tuple(sorted(a for a in channel if a != ONE))
            for channel in zip(*(n.tolist() for n in names))
        ]
        ids = [ONE if not a else a[0] if len(a) == 1 else self.atom(("product", *a)) for a in atoms]
        ids = np.array(ids, dtype=int)
        drift = sum(forms.drifts for forms in inputs)
        return self.monomials(ids, np.where(ids == ONE, 0.0, scales), constants, drift=drift)

    def concat(self, op, *inputs):
        reads = [self.reading(tensor, x) for tensor, x in zip(op.inputs, inputs)]
        own = [self.on_their_own(read) for read in reads]
        columns = [(*a, r.constants, r.terms, r.drift) for a, r in zip(own, reads)]
        return self.monomials(*(np.concatenate(column) for column in zip(*columns)))

    def spread(self, op, x):
        read = self.reading(op.inputs[0], x)
        atoms, scales = self.on_their_own(read)
        atoms = atoms[op.channel]
        if _layout(op.inputs[0]) != _layout(op.out):  # elsewhere a place has other neighbours
            pairs = zip(op.place.tolist(), atoms.tolist())
            atoms = [self.atom((op.tag, place, a), self.sizes[a]) for place, a in pairs]
        rest = scales, read.constants, read.terms, read.drift
        return self.monomials(np.array(atoms, dtype=int), *(part[op.channel] for part in rest))


def summed(kernel, read):
    """What a kernel (taps, inputs, outputs) makes of each atom that it reads.

    Returns: the atoms, ascending; total (taps, atoms, outputs); terms, the absolute values that
        were added up, `None` where each atom is read once.
    """
    direct = np.flatnonzero((read.atoms >= 0) & (read.scales != 0))
    used = np.unique(np.concatenate([read.atoms[direct], read.basis]))
    place = np.searchsorted(used, read.atoms[direct])
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


def _kinds(count, *labels):
    """A number for each channel; only channels of the same number, in all labels, can be one."""
    given = [label for label in labels if label is not None]
    if not given:
        return np.zeros(count, dtype=int)
    return np.unique(np.stack(given), axis=1, return_inverse=True)[1].reshape(-1)


def _layout(tensor):
    """All of a tensor's shape but how many channels it has."""
    return tensor.axis, [n for axis, n in enumerate(tensor.shape) if axis != tensor.axis]


def _members(classes):
    """The sparse matrix that adds up what belongs to a class: (classes, members)."""
    return sparse.csr_array((np.ones(len(classes)), (classes, np.arange(len(classes)))))
