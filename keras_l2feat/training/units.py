"""Units of a network beside each other: what each computes, and what the others read of it.

A *site* is a set of units that could stand for each other: neurons of a dense layer, channels of a
convolution, channels of a residual stream with all that writes them. What a normalization over
channels, heads or a recurrent layer count together has no sites. A unit's incoming vector says what
it computes: the columns of all its writers, biases and batch normalization folded in. Its outgoing
vector is what its readers hold, at all taps and places.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from keras_l2feat.activations import Scaling
from keras_l2feat.pruning.channels.graph import Graph
from keras_l2feat.pruning.channels.interpret import Semantics, interpret
from keras_l2feat.pruning.channels.sites import positions, rows

__all__ = ["Site", "sites"]


@dataclass(eq=False)
class Site:
    """Units that could stand for each other.

    Attributes:
        layer: the first that computes them; units: (n,) their numbers in the graph.
        kind: which multiples of a unit are still the same feature, on every way to its readers.
        rescalable: whether what writes a unit may be multiplied, and what reads it divided.
        incoming: (n, entries) float64, what each unit is linear in, batch normalization folded.
        outgoing: (n, entries) float64, what is linear in it.
        places: (slot, positions (n, m)) of each axis of a weight that belongs to these units.
    """

    layer: str
    units: np.ndarray
    kind: Scaling
    rescalable: bool
    incoming: np.ndarray
    outgoing: np.ndarray
    places: Sequence

    @property
    def directions(self) -> np.ndarray:
        """Incoming vectors of length 1 where multiples are the same feature, as they are
        elsewhere."""
        if not self.kind.homogeneous:
            return self.incoming
        norms = np.linalg.norm(self.incoming, axis=1, keepdims=True)
        return self.incoming / np.where(norms > 0, norms, 1.0)

    @property
    def contributions(self) -> np.ndarray:
        """‖w‖‖v‖ of each unit, (n,) float64."""
        return np.linalg.norm(self.incoming, axis=1) * np.linalg.norm(self.outgoing, axis=1)


def sites(graph: Graph) -> list[Site]:
    """All sites of a graph, by the layer that computes them first.

    Args:
        graph: of a model; the weights that count are those of now, so one graph can be asked again
            while its model trains.
    """
    computed = _Computed(graph)
    interpret(graph, computed, forget=True)
    counts = np.array(
        [np.bincount(slot.units, minlength=len(graph.pinned)) for slot in graph.slots.values()]
    )
    found = []
    for layer, channels in graph.computed_first(graph.pinned | computed.coupled):
        free = np.sort(graph.writers[layer][channels])
        # units of one site have the same places
        alike = np.unique(counts[:, free], axis=1, return_inverse=True)[1].reshape(-1)
        for number in range(alike.max() + 1):
            site = _site(graph, layer, free[alike == number], computed)
            if site is not None:
                found.append(site)
    return found


def _site(graph, layer, units, computed):
    places = [(slot, positions(slot.units, units)) for slot in graph.slots.values()]
    places = [(slot, at) for slot, at in places if at is not None]
    if not {"write", "read"} <= {slot.role for slot, _ in places}:
        return None
    outgoing = [
        rows(graph.weight(slot.layer, slot.index), slot.axis, at).reshape(len(units), -1)
        for slot, at in places
        if slot.role == "read"
    ]
    return Site(
        layer,
        units,
        computed.kind(units),
        not graph.rigid[units].any(),
        computed.incoming(units),
        np.concatenate(outgoing, axis=1),
        places,
    )


class _Computed(Semantics):
    """What each channel is linear in since the last function of it: (matrix, constant), (channels,
    entries) and (channels,). What a function, or a kernel, is given is noted for its units."""

    def __init__(self, graph):
        self.noted = {}  # tensor number → (units, (channels, entries))
        self.coupled = np.zeros(len(graph.pinned), dtype=bool)  # copies cannot stand for one unit
        for heads in graph.heads:
            for part in heads.parts:
                self.coupled[part] = True
        self.met = {kind: np.zeros(len(graph.pinned), dtype=bool) for kind in Scaling}

    def kind(self, units):
        """How all that units go through commutes with rescaling."""
        met = {kind for kind in Scaling if self.met[kind][units].any()}
        return (met or {Scaling.LINEAR}).pop() if len(met) < 2 else Scaling.IDENTITY

    def incoming(self, units):
        count = len(units)
        parts = [np.zeros((count, 0))]
        for holder, matrix in self.noted.values():
            places = positions(holder, units)
            if places is not None and len(places) == count:
                parts.append(matrix[places].reshape(count, -1))
        return np.concatenate(parts, axis=1)

    def note(self, tensor, value, kind=None):
        """Take note of what a tensor holds; afterwards its channels are something new."""
        matrix, constant = value
        if tensor.number not in self.noted and (matrix.any() or constant.any()):
            self.noted[tensor.number] = tensor.units, np.column_stack([matrix, constant])
        if kind is not None:
            self.met[kind][tensor.units] = True

    def unknown(self, op, *inputs):
        return np.zeros((len(op.out.units), 0)), np.zeros(len(op.out.units))

    source = unknown

    def linear(self, op, x):
        self.note(op.inputs[0], x)
        kernel = op.kernel()
        constant = np.zeros(kernel.shape[2]) if op.bias is None else op.bias()
        return kernel.reshape(-1, kernel.shape[2]).T, constant

    def depthwise(self, op, x):
        self.note(op.inputs[0], x, Scaling.IDENTITY)
        kernel = op.kernel()
        matrix = kernel.reshape(len(kernel), -1).T
        return matrix, np.zeros(len(matrix)) if op.bias is None else op.bias()

    def affine(self, op, x):
        scale, shift, _ = op.coefficients()
        if op.statistics is None and shift.any():
            self.met[Scaling.IDENTITY][op.out.units] = True
        return x[0] * scale[:, None], x[1] * scale + shift

    def ended(self, op, *inputs, kind=None):
        """All inputs are taken note of, and what comes out is something new."""
        for tensor, value in zip(op.inputs, inputs):
            self.note(tensor, value, kind)
        return self.unknown(op)

    attend = concat = spread = ended

    def map(self, op, *inputs):
        return self.ended(op, *inputs, kind=op.scaling)

    def product(self, op, *inputs):
        return self.ended(op, *inputs, kind=Scaling.IDENTITY)

    def normalize(self, op, x):
        self.coupled[op.out.units] = self.coupled[op.inputs[0].units] = True
        return self.ended(op, x)

    def recurrent(self, op, x):
        self.coupled[op.out.units] = True
        return self.ended(op, x)

    def passed(self, op, x):
        return x

    def sum(self, op, *inputs):
        weighted = list(zip(op.weights, inputs))
        matrix = np.concatenate([w * matrix for w, (matrix, _) in weighted], axis=1)
        return matrix, sum(w * constant for w, (_, constant) in weighted)
