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

from dataclasses import replace

import numpy as np

from keras_l2feat.activations import Scaling
from keras_l2feat.pruning.channels import operations as ops
from keras_l2feat.pruning.channels.graph import Graph
from keras_l2feat.pruning.channels.interpret import Semantics, interpret
from keras_l2feat.pruning.values.atoms import ONE
from keras_l2feat.pruning.values.attention import attended
from keras_l2feat.pruning.values.forms import Forms, Reading
from keras_l2feat.pruning.values.readings import Readings
from keras_l2feat.pruning.values.recurrence import recurred

__all__ = ["Values"]


class Values(Readings, Semantics[Forms]):
    """The values of all tensors of a graph: the semantics whose values are `Forms`.

    A subclass may say more of what an operation computes, for example on a part of all inputs.
    """

    def __init__(self, graph: Graph) -> None:
        super().__init__(graph)
        interpret(graph, self, forget=True)

    def source(self, op: ops.Source, *inputs: Forms) -> Forms:
        count = len(op.out.units)
        return self.monomials(self.new(count), np.ones(count))

    def linear(self, op: ops.Linear, x: Forms) -> Forms:
        kernel = op.kernel()
        bias = None if op.bias is None else op.bias()
        if op.reader is None:  # an embedding: one atom a token
            rows = [self.atom((op.geometry, token)) for token in range(kernel.shape[1])]
            read = Reading.plain(np.array(rows), np.ones(len(rows)), *np.zeros((3, len(rows))))
            return self.applied(kernel, read, None, True, None)
        read = self.settled(op.inputs[0], kernel, self.reading(op.inputs[0], x))
        self.readings[op.reader].append(read)
        return self.applied(kernel, read, op.geometry, op.folds, bias)

    def depthwise(self, op: ops.Depthwise, x: Forms) -> Forms:
        kernel, read = op.kernel(), self.reading(op.inputs[0], x)
        taps, channels, multiplier = kernel.shape
        atoms, scales = self.on_their_own(read)
        source = np.repeat(np.arange(channels), multiplier)
        flat = kernel.reshape(taps, -1)
        matrix = flat * scales[source]
        ways: list[tuple] = [(op.geometry, tap) for tap in range(taps)]
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

    def affine(self, op: ops.Affine, x: Forms) -> Forms:
        scale, shift, terms = op.coefficients()
        forms = x.scaled(scale)
        return replace(forms, constant=forms.constant + shift, shift=forms.shift + terms)

    def map(self, op: ops.Map, *inputs: Forms) -> Forms:
        forms = inputs[0] if len(inputs) == 1 else self.arguments(op.tag, inputs)
        leader, factor, drift = self.classes(forms, op.scaling, op.labels)
        still = leader < 0
        atoms, scales, constants = self._of_constants(op, still, np.where(still, factor, 0.0))
        leaders, position = np.unique(leader[~still], return_inverse=True)
        sizes = self._reach(forms)
        if forms.monomial and op.scaling.homogeneous:
            names = self._same_everywhere(op, forms, leaders, sizes)
            scales[~still] = np.abs(forms.matrix[0, ~still])
        else:
            names = self.new(len(leaders), sizes[leaders])
            scales[~still] = factor[~still]
        atoms[~still] = names[position]
        return self.monomials(atoms, scales, constants, drift=drift + forms.drifts)

    def _of_constants(self, op, still, values):
        """Atoms, scales and constants of what a map makes of the channels that are constant."""
        atoms = np.full(len(still), ONE)
        scales, constants = np.zeros((2, len(still)))
        if not still.any():
            return atoms, scales, constants
        if op.function is not None:
            constants[still] = op.function(values[still])
            return atoms, scales, constants
        unknown = still.copy()
        if op.labels is not None:  # a slope by channel: the positive side is the same for all
            positive = still & (values >= 0)
            constants[positive] = values[positive]
            unknown &= ~positive
        atoms[unknown], scales[unknown] = self.new(unknown.sum()), 1.0
        return atoms, scales, constants

    def _same_everywhere(self, op, forms, leaders, sizes):
        """The atoms of what a map makes of one atom each: the same function of the same atom is
        the same atom, on whatever branch it is computed."""
        base, (way,) = forms.matrix[0], forms.rows
        label = np.zeros(forms.count, dtype=int) if op.labels is None else op.labels
        names = []
        for k in leaders.tolist():
            key = op.tag, way, int(forms.labels[k]), int(label[k]), bool(base[k] > 0)
            names.append(self.atom(key, sizes[k] / abs(base[k])))
        return np.array(names, dtype=int)

    def passed(self, op: ops.Pass, x: Forms) -> Forms:
        return x if op.tag is None else self._through(op.tag, x, op.constants)

    def _through(self, tag, x, constants):
        """Forms seen through a linear operation that is the same for all channels, and `constants`:
        whether it leaves constants as they are."""
        joint = x.labels is None
        rows = self.seen(tag, x.rows) if joint else [(tag, way) for way in x.rows]
        if constants or not x.constant.any():
            return replace(x, rows=rows)
        one = self.seen(tag, [ONE])  # what a constant becomes is not one
        none = np.zeros(x.count)
        return replace(
            x,
            rows=np.concatenate([rows, one]) if joint else [*rows, ("one", tag)],
            matrix=np.concatenate([x.matrix, x.constant[None]]),
            terms=np.concatenate([x.spread, x.shift[None]]),
            constant=none,
            shift=none,
        )

    def normalize(self, op: ops.Normalize, x: Forms) -> Forms:
        # Each channel of an atom of its own, as behind a depthwise kernel, is still so: one row an
        # atom would be a matrix of taps · channels².
        alike = (op.group == op.group[0]).all()
        if not alike:
            x = self.joint(x)
        if op.centered:  # less the mean, which nothing more is known about
            mean = op.tag, "mean"
            joint = x.labels is None
            less, one = np.full((1, x.count), -1.0), np.ones((1, x.count))
            x = replace(
                x,
                rows=np.append(x.rows, self.atom(mean, 1.0)) if joint else [*x.rows, mean],
                matrix=np.concatenate([x.matrix, less]),
                terms=np.concatenate([x.spread, one]),
            )
        if alike:
            return self._through(op.tag, x, constants=False)
        return self.mixed(x, op.group, op.tag, constants=False)

    def attend(
        self, op: ops.Attend, query: Forms, key: Forms, value: Forms, *masks: Forms
    ) -> Forms:
        return attended(self, op, query, key, value)

    def recurrent(self, op: ops.Recurrent, x: Forms) -> Forms:
        return recurred(self, op, x)

    def sum(self, op: ops.Sum, *inputs: Forms) -> Forms:
        return self.added([x if w == 1 else x.scaled(w) for w, x in zip(op.weights, inputs)])

    def product(self, op: ops.Product, *inputs: Forms) -> Forms:
        count = len(op.out.units)
        names, scales, constants = [], np.ones(count), np.ones(count)
        for forms in inputs:
            leader, factor, _ = self.classes(forms, Scaling.LINEAR)
            still = leader < 0
            constants = constants * np.where(still, factor, 0.0)
            if forms.monomial:
                factor = np.where(still, factor, forms.matrix[0])
                atoms = self.single(forms)
            else:
                leaders, position = np.unique(leader, return_inverse=True)
                atoms = self.new(len(leaders))[position]
            scales = scales * factor
            names.append(np.where(still, ONE, atoms))
        sets = [
            tuple(sorted(a for a in channel if a != ONE))
            for channel in zip(*(n.tolist() for n in names))
        ]
        found = [
            ONE if not a else a[0] if len(a) == 1 else self.atom(("product", *a)) for a in sets
        ]
        of_channels = np.array(found, dtype=int)
        scales = np.where(of_channels == ONE, 0.0, scales)
        drift = np.sum([forms.drifts for forms in inputs], axis=0)
        return self.monomials(of_channels, scales, constants, drift=drift)

    def concat(self, op: ops.Concat, *inputs: Forms) -> Forms:
        reads = [self.reading(tensor, x) for tensor, x in zip(op.inputs, inputs)]
        own = [self.on_their_own(read) for read in reads]
        columns = [(*a, r.constants, r.terms, r.drift) for a, r in zip(own, reads)]
        return self.monomials(*(np.concatenate(column) for column in zip(*columns)))

    def spread(self, op: ops.Spread, x: Forms) -> Forms:
        read = self.reading(op.inputs[0], x)
        atoms, scales = self.on_their_own(read)
        atoms = atoms[op.channel]
        if _layout(op.inputs[0]) != _layout(op.out):  # elsewhere a place has other neighbours
            pairs = zip(op.place.tolist(), atoms.tolist())
            names = [self.atom((op.tag, place, a), self.sizes[a]) for place, a in pairs]
            atoms = np.array(names, dtype=int)
        rest = scales, read.constants, read.terms, read.drift
        return self.monomials(atoms, *(part[op.channel] for part in rest))


def _layout(tensor):
    """All of a tensor's shape but how many channels it has."""
    return tensor.axis, [n for axis, n in enumerate(tensor.shape) if axis != tensor.axis]
