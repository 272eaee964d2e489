"""The channel graph of a Keras model: who writes a channel, what passes it on, who reads it.

Every tensor has one channel axis; a *position* on it belongs to a *unit*, the set of places in all
weights and tensors that can only be removed together. A dense layer makes a unit per neuron; a sum
ties the units of its terms; `Flatten` gives a unit one position per pixel; a depthwise kernel
belongs to the unit that it filters. What may not change (inputs, outputs, whatever is next to a
layer that is not understood) is *pinned*.

The graph says the same thing twice:

    for `values` and plans     `ops`: what each channel computes, in ten kinds of operation,
                               in topological order
    for `rewrite`              `slots`: which axis of which weight belongs to which units, and how
                               (written, parameter, read), and `sizes`: which entries of which
                               layer's config count them

so nothing after `read` and its rules looks at layer classes. A chain of dense layers is the
simplest case.
"""

import math
from dataclasses import dataclass

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
    "Size",
    "Slot",
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
    """`out` is computed from `inputs` (both `Tensor`s); `layer`: by which one, where known."""

    inputs: list
    out: Tensor
    layer = ""


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
    """Entry `path` of the config of layer `layer` is the number of units along `units`, positions
    counted: `("units",)` of a dense layer, `("target_shape", 2)` of a reshape."""

    layer: str
    path: tuple
    units: np.ndarray


@dataclass(eq=False)
class Graph:
    """The channel graph of `model`; made by `read`.

    Attributes:
        layers: name → Keras layer; layers of nested models are called "outer/inner".
        ops: operations in topological order; `ops[tensor.number]` computes a tensor.
        slots, sizes: what `rewrite` has to touch, by (layer, weight index, axis) and by (layer,
            path); fixed: layer → entries of its config that must not follow its input.
        readers: name → `Reader`, in topological order.
        writers: layer name → unit of each channel that it computes.
        barriers: layer name → why its neighbours stay as they are.
        owners: (units,) of (layer, index), by unit number.
        pinned: (units,) bool: what stays; rigid: (units,) bool: rescaling what writes the unit, and
            what reads it inversely, may change the model.
        inputs, outputs: the model's tensors.
    """

    model: object
    layers: dict
    ops: list
    slots: dict
    sizes: dict
    fixed: dict
    readers: dict
    writers: dict
    barriers: dict
    owners: list
    pinned: np.ndarray
    rigid: np.ndarray
    inputs: list
    outputs: list

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

    def tokens(self, tensor):
        """How many tokens an input may name, `None` if it is not looked up in a table."""
        tables = [op for op in self.ops if isinstance(op, Linear) and op.reader is None]
        sizes = [op.kernel().shape[1] for op in tables if op.inputs[0] is tensor]
        return min(sizes) if sizes else None

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
