"""The channel graph of a Keras model: who writes a channel, what passes it on, who reads it.

Every tensor has one channel axis; a *position* on it belongs to a *unit*, the set of places in all
weights and tensors that can only be removed together. A dense layer makes a unit per neuron; a sum
ties the units of its terms; `Flatten` gives a unit one position per pixel; a depthwise kernel
belongs to the unit that it filters. What may not change (inputs, outputs, whatever is next to a
layer that is not understood) is *pinned*.

The graph says the same thing twice:

    for `groups` and `plan`    `ops`: what each channel computes, in eight kinds of operation, in topological order
    for `rewrite`              `slots`: which axis of which weight belongs to which units, and how (written, parameter,
                               read), and `sizes`: which entries of which layer's config count them

so nothing after this module, `walk` and its rules looks at layer classes. A chain of dense layers
is the simplest case.
"""

import math
from dataclasses import dataclass, field

import numpy as np

from keras_l2feat.errors import InputError

__all__ = [
    "Affine",
    "Concat",
    "Depthwise",
    "Graph",
    "Linear",
    "Map",
    "Pass",
    "Product",
    "Reader",
    "Source",
    "Spread",
    "Sum",
    "Tensor",
]


@dataclass(eq=False)
class Tensor:
    """A tensor between layers: `shape` with the batch first, its channel `axis`, and the unit of
    each position. `number` is the place of the operation that computes it in `Graph.ops`."""

    shape: tuple
    axis: int
    units: np.ndarray
    number: int = -1


@dataclass(eq=False)
class Op:
    """`out` is computed from `inputs` (both `Tensor`s)."""

    inputs: list
    out: Tensor


@dataclass(eq=False)
class Source(Op):
    """Channels about which nothing is known, except perhaps a Lipschitz constant in the maximum
    norm (softmax)."""

    lipschitz: float | None = None


@dataclass(eq=False)
class Linear(Op):
    """out[o] = Σ_{tap, i} kernel[tap, i, o] · (input i seen through tap) + bias[o].

    `geometry` is `None` where there is one tap that sees the input as it is; `folds`: a constant
    input is a constant added to the output. `reader` names the axis that reads; `None` where the
    inputs are no tensor (an embedding).
    """

    kernel: object  # () -> (taps, inputs, outputs) float64
    bias: object  # () -> (outputs,) float64, or None
    geometry: object = None
    folds: bool = True
    reader: str | None = None
    weights: int = 0  # of the kernel


@dataclass(eq=False)
class Depthwise(Op):
    """out[c·m + k] = Σ_tap kernel[tap, c, k] · (input c seen through tap) + bias[c·m + k]."""

    kernel: object  # () -> (taps, channels, multiplier) float64
    bias: object
    geometry: object
    folds: bool
    weights: int = 0


@dataclass(eq=False)
class Affine(Op):
    """out[c] = scale[c] · input[c] + shift[c]."""

    coefficients: (
        object  # () -> (scale, shift, magnitude of the terms of shift), each (channels,) float64
    )
    statistics: tuple | None = (
        None  # (layer, index of the mean, of the variance, epsilon) of a normalization
    )


@dataclass(eq=False)
class Map(Op):
    """out[c] = f(inputs[0][c], inputs[1][c], ...), f commuting with the rescalings of `scaling`.

    `tag` tells functions apart; `labels` (channels,), where given, are equal for channels with the
    same f; `function` gives f of constants, (channels,) float64 to the same, `None` where a
    constant does not stay one.
    """

    scaling: object
    tag: object
    labels: np.ndarray | None = None
    function: object = None
    slope: float = 1.0  # Lipschitz constant where there is no function


@dataclass(eq=False)
class Pass(Op):
    """out[c] = P(input[c]) with P linear and the same for all channels; `tag` is `None` for the
    identity."""

    tag: object = None
    constants: bool = True  # P(1) = 1


@dataclass(eq=False)
class Sum(Op):
    """out[c] = Σ_i weights[i] · inputs[i][c]."""

    weights: tuple = ()


@dataclass(eq=False)
class Product(Op):
    """out[c] = Π_i inputs[i][c]."""


@dataclass(eq=False)
class Concat(Op):
    """Channels side by side."""


@dataclass(eq=False)
class Spread(Op):
    """Position p of `out` is channel `channel[p]` at place `place[p]`."""

    tag: object
    channel: np.ndarray
    place: np.ndarray


@dataclass(eq=False)
class Slot:
    """Axis `axis` of weight `index` of layer `layer` belongs to `units`, role "write", "param" or
    "read"."""

    layer: str
    index: int
    axis: int
    units: np.ndarray
    role: str


@dataclass(eq=False)
class Reader:
    """An axis of a kernel that is linear in a tensor's channels.

    Attributes:
        name, layer: of the reader, and of its layer.
        slot: the axis.
        inputs: the tensors that it reads, one a call of the layer.
        bias: where a constant goes: `(weight index, index into it, amount β)`, or `None`.
        taps: axes of the kernel that a constant is summed over.
        writes: the slot of the same kernel that says which units it computes, or `None`.
    """

    name: str
    layer: str
    slot: Slot
    inputs: list
    bias: tuple | None = None
    taps: tuple = ()
    writes: Slot | None = None

    @property
    def units(self):
        """Unit of each position, (positions,) int."""
        return self.slot.units

    def positions_of(self, unit) -> np.ndarray:
        """Where the reader reads a unit, ascending."""
        return np.flatnonzero(self.slot.units == unit)


@dataclass(eq=False)
class Size:
    """Entry `path` of the config of layer `layer` is the number of units along `units`, over
    `divisor`."""

    layer: str
    path: tuple
    units: np.ndarray


@dataclass(eq=False)
class Graph:
    """The channel graph of `model`; made by `read`.

    Attributes:
        layers: name → Keras layer; layers of nested models are called "outer/inner".
        ops: operations in topological order.
        slots, sizes: what `rewrite` has to touch; fixed: layer → entries of its config that must
            not follow its input.
        readers: name → `Reader`, in topological order.
        writers: layer name → unit of each channel that it computes.
        barriers: layer name → why its neighbours stay as they are.
        pinned: (units,) bool; owners: (units,) of (layer, index), by unit number.
        outputs: the model's output tensors.
    """

    model: object
    layers: dict = field(default_factory=dict)
    ops: list = field(default_factory=list)
    slots: dict = field(default_factory=dict)
    sizes: dict = field(default_factory=dict)
    fixed: dict = field(default_factory=dict)
    readers: dict = field(default_factory=dict)
    writers: dict = field(default_factory=dict)
    barriers: dict = field(default_factory=dict)
    owners: list = field(default_factory=list)
    inputs: list = field(default_factory=list)
    outputs: list = field(default_factory=list)
    _parent: list = field(default_factory=list)
    _pins: set = field(default_factory=set)
    _rigid: set = field(default_factory=set)

    # ---- what others ask

    def unit(self, layer, index) -> int:
        """The number of unit `(layer, index)`.

        Raises:
            InputError: there is none.
        """
        units = self.writers.get(layer, ())
        if not 0 <= index < len(units):
            raise InputError(f"Model {self.model.name!r} has no unit {index} in layer {layer!r}.")
        return int(units[index])

    def weight(self, layer, index):
        """Weight `index` of layer `layer` as it is stored, NumPy."""
        from keras import ops

        return ops.convert_to_numpy(self.layers[layer].weights[index])

    def dtype(self, layer) -> str:
        """What the layer's weights are stored in."""
        return str(self.layers[layer].variable_dtype)

    @property
    def rigid(self):
        """(units,) bool: rescaling what writes the unit and what reads it inversely may change the
        model."""
        return self._flags(self._rigid) | self.pinned

    def tokens(self, tensor):
        """How many tokens an input may name, `None` if it is not looked up in a table."""
        tables = [op for op in self.ops if isinstance(op, Linear) and op.reader is None]
        sizes = [op.kernel().shape[1] for op in tables if op.inputs[0] is tensor]
        return min(sizes) if sizes else None

    # ---- what the rules use

    def fresh(self, layer, count, shape, axis, *, pinned=False) -> Tensor:
        """A tensor of new units."""
        units = np.arange(len(self._parent), len(self._parent) + count)
        self._parent.extend(units.tolist())
        self.owners.extend((layer, index) for index in range(count))
        if pinned:
            self._pins.update(units.tolist())
        return Tensor(tuple(shape), axis % len(shape), units)

    def written(self, layer, count, shape, axis) -> Tensor:
        """The tensor that a layer computes; every call of a shared layer makes the same units."""
        if layer in self.writers:
            return Tensor(tuple(shape), axis % len(shape), self.writers[layer])
        tensor = self.fresh(layer, count, shape, axis)
        self.writers[layer] = tensor.units
        return tensor

    def tie(self, first, second) -> None:
        """Units that go together, elementwise."""
        for a, b in zip(first, second, strict=True):
            a, b = self._find(int(a)), self._find(int(b))
            self._parent[max(a, b)] = min(a, b)

    def pin(self, units) -> None:
        """Units that stay."""
        self._pins.update(np.asarray(units).tolist())

    def stiffen(self, units) -> None:
        """Units that are not rescaled."""
        self._rigid.update(np.asarray(units).tolist())

    def slot(self, layer, index, axis, units, role) -> Slot:
        """Note what an axis of a weight belongs to; a second call of a shared layer ties."""
        weight = self.layers[layer].weights[index]
        axis %= len(weight.shape)
        if not _scales(weight):
            self.stiffen(units)
        known = self.slots.get((layer, index, axis))
        if known is None:
            known = self.slots[layer, index, axis] = Slot(layer, index, axis, units, role)
        else:
            self.tie(known.units, units)
        return known

    def size(self, layer, path, units) -> None:
        """Note an entry of a layer's config that counts units; a second call of a shared layer
        ties."""
        known = self.sizes.setdefault((layer, path), Size(layer, path, units))
        self.tie(known.units, units)

    def reads(self, name, layer, index, axis, tensor, **options) -> None:
        """Note that a kernel reads a tensor's channels."""
        slot = self.slot(layer, index, axis, tensor.units, "read")
        reader = self.readers.setdefault(name, Reader(name, layer, slot, [], **options))
        reader.inputs.append(tensor)

    def barrier(self, name, reason, tensors, shapes, lipschitz=None) -> list:
        """Pin what goes in; what comes out is unknown and stays."""
        if reason:
            self.barriers.setdefault(name, reason)
        for tensor in tensors:
            self.pin(tensor.units)
        outs = []
        for shape in shapes:
            count = shape[-1] if len(shape) > 1 and shape[-1] is not None else 1
            out = self.fresh(name, count, shape, -1, pinned=True)
            self.ops.append(Source(list(tensors), out, lipschitz))
            outs.append(out)
        return outs

    def turned(self, name, tensor, axis) -> Tensor:
        """The tensor with its channels on `axis`; what had them elsewhere stays as it is."""
        axis %= len(tensor.shape)
        if tensor.axis == axis:
            return tensor
        if not all(self._find(u) in self._pins or u in self._pins for u in tensor.units.tolist()):
            self.barriers.setdefault(
                name, f"acts on axis {axis}, the channels are on axis {tensor.axis}"
            )
        self.pin(tensor.units)
        out = self.fresh(name, tensor.shape[axis] or 1, tensor.shape, axis, pinned=True)
        self.ops.append(Source([tensor], out))
        return out

    def _find(self, unit) -> int:
        parent = self._parent
        while parent[unit] != unit:
            parent[unit] = parent[parent[unit]]
            unit = parent[unit]
        return unit

    def _flags(self, raw):
        flags = np.zeros(len(self._parent), dtype=bool)
        flags[[self._find(unit) for unit in raw]] = True
        return flags

    def finish(self, inputs, outputs) -> "Graph":
        """Replace provisional unit numbers by final ones."""
        for tensor in outputs:
            self.pin(tensor.units)
        self.inputs, self.outputs = inputs, outputs
        for number, op in enumerate(self.ops):
            op.out.number = number
        for op in self.ops:  # the softmax at the end stands in nobody's way
            if (
                isinstance(op, Source)
                and op.lipschitz
                and any(op.out is tensor for tensor in outputs)
            ):
                self.barriers.pop(self.owners[op.out.units[0]][0], None)
        root = np.array([self._find(unit) for unit in range(len(self._parent))], dtype=int)
        self.pinned = self._flags(self._pins)
        holders = [slot for slot in self.slots.values()] + list(self.sizes.values())
        tensors = [tensor for op in self.ops for tensor in (*op.inputs, op.out)] + inputs + outputs
        tensors += [tensor for reader in self.readers.values() for tensor in reader.inputs]
        done = set()
        for holder in (*holders, *tensors):
            if id(holder) not in done:
                done.add(id(holder))
                holder.units = root[holder.units]
        self.writers = {layer: root[units] for layer, units in self.writers.items()}
        return self

    def flops(self) -> int:
        """Multiplications and additions of the linear operations for one input; unknown sizes count
        as 1."""
        total = 0
        for op in self.ops:
            if isinstance(op, (Linear, Depthwise)):
                places = [
                    size or 1
                    for axis, size in enumerate(op.out.shape)
                    if axis not in (0, op.out.axis)
                ]
                total += 2 * op.weights * math.prod(places)
        return total


def _scales(weight):
    """Whether a weight may be multiplied: a constraint such as a unit norm would no longer hold."""
    constraint = getattr(weight, "constraint", None)
    return constraint is None or type(constraint).__name__ == "NonNeg"
