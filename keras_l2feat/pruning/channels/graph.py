"""The channel graph of a Keras model: who writes a channel, what passes it on, who reads it.

Every tensor has one channel axis; a *position* on it belongs to a *unit*, the set of places in all
weights and tensors that can only be removed together. A dense layer makes a unit per neuron; a sum
ties the units of its terms; `Flatten` gives a unit one position per pixel; a depthwise kernel
belongs to the unit that it filters. What may not change (inputs, outputs, whatever is next to a
layer that is not understood) is *pinned*.

The graph says the same thing twice:

    for `values` and plans     `ops`: what each channel computes, in thirteen kinds of
                               operation, in topological order
    for `rewrite`              `slots`: which axis of which weight belongs to which units, and how
                               (written, parameter, read), and `sizes`: which entries of which
                               layer's config count them

so nothing after `read` and its rules looks at layer classes. A chain of dense layers is the
simplest case.
"""

import math
from dataclasses import dataclass, field

import numpy as np

from keras_l2feat.errors import InputError

__all__ = [
    "KERNELS",
    "Affine",
    "Attend",
    "Concat",
    "Depthwise",
    "Graph",
    "Heads",
    "Linear",
    "Map",
    "Normalize",
    "Pass",
    "Product",
    "Reader",
    "Recurrent",
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
class Normalize(Op):
    """out[c] = g_k · (input[c] - m_k), k = group[c], with g and m functions of all channels of the
    group, all of which have to be there; m is 0 unless `centered`."""

    group: np.ndarray
    centered: bool

    @property
    def tag(self):
        """What tells its functions from those of other calls."""
        return "normalize", self.out.number


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
class Attend(Op):
    """out[c](i) = Σ_j A_h(i, j) · inputs[2][channel[c]](j), with h = head[c] and A_h the softmax
    over j of scale · Σ_d query_hd(i) · key_hd(j). `inputs[3:]` say what is masked.

    query_h and key_h are linear in `inputs[0]` and `inputs[1]`, and nobody else sees them: only
    their products count, so a dimension that depends linearly on others can go on either side.
    """

    query: object  # () -> (inputs and a row for the bias, query heads, dims) float64
    key: object  # () -> (inputs and a row for the bias, key heads, dims) float64
    channel: np.ndarray
    head: np.ndarray
    reads: tuple  # names of the readers of `inputs[0]` and `inputs[1]`
    units: np.ndarray  # (key heads, dims), those of the dimensions of queries and keys
    keys: tuple  # names of readers, of what reads the keys' dimensions: weights of the queries
    queries: tuple  # the reverse
    scale: float
    constants: bool  # Σ_j A_h(i, j) = 1 for all i: no position is masked for all others
    weights: int = 0

    @property
    def tag(self):
        """What tells its patterns from those of other calls."""
        return "attend", self.out.number


@dataclass(eq=False)
class Recurrent(Op):
    """State by state, out(t) = F(G, out(t - 1)), with G[tap, o] = Σ_i kernel[tap, i, o] · z[i] and
    z the input at t, out(t - 1) and 1, side by side. F treats all channels o alike, each by itself,
    and commutes with the rescalings of `scaling` of the taps of `signed` and out(t - 1) together.
    out(0) = 0."""

    kernel: object  # () -> (taps, inputs + outputs + 1, outputs) float64
    signed: np.ndarray  # (taps,) bool
    scaling: object
    reader: str
    again: str  # name of the reader of out(t - 1)
    rests: bool  # F is 0 as long as the taps of `signed` are
    weights: int = 0

    @property
    def tag(self):
        """What tells its taps from those of other layers."""
        return "recurrent", self.reader


KERNELS = Linear, Depthwise, Attend, Recurrent  # operations that multiply with weights


@dataclass(eq=False)
class Slot:
    """Axis `axis` of weight `index` of layer `layer`, as `Graph.weight` shows it, belongs to
    `units`, role "write", "param" or "read"."""

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
        through: (positions, n) units, or `None`: a position counts only where one of these does.
    """

    name: str
    layer: str
    slot: Slot
    inputs: list
    bias: tuple | None = None
    taps: tuple = ()
    writes: Slot | None = None
    through: np.ndarray | None = None

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
    counted: `("units",)` of a dense layer, `("target_shape", 2)` of a reshape. Where `units` is
    (heads, dimensions), it is the number of heads, or that of dimensions of each, by `axis`."""

    layer: str
    path: tuple
    units: np.ndarray
    axis: int | None = None

    def count(self, copies) -> int:
        """The entry where there are so many of each unit, (units,) int or bool."""
        there = copies[self.units]
        if self.axis is None:
            return int(there.sum())
        heads = there.any(axis=1)
        return int(heads.sum() if self.axis == 0 else there[heads].sum(axis=1).max(initial=0))


@dataclass(eq=False)
class Heads:
    """Units that a layer holds in heads of one size: a head goes with all its units, and those that
    stay keep as many as each other.

    Attributes:
        parts: list of (heads, dimensions) units; the first says which heads are needed.
        alike: all parts keep as many dimensions as each other, too.
        scaled: reader name → (part, number of dimensions → what the layer multiplies with what this
            reader's kernel computes).
    """

    parts: list
    alike: bool = False
    scaled: dict = field(default_factory=dict)

    def size(self, kept, part) -> int:
        """How many units of a part a head that stays keeps, at most."""
        heads = kept[self.parts[0]].any(axis=1)
        return int(kept[self.parts[part]][heads].sum(axis=1).max(initial=0))

    def whole(self, kept) -> np.ndarray:
        """The fewest units to keep besides those of `kept`, (units,) bool, so that heads are of one
        size; what belongs to no head stays as it is."""
        kept = kept.copy()
        heads = kept[self.parts[0]].any(axis=1)
        counts = [max(1, self.size(kept, part)) for part in range(len(self.parts))]
        for part, count in zip(self.parts, counts):
            kept[part[~heads]] = False
            for units in part[heads]:
                missing = (max(counts) if self.alike else count) - int(kept[units].sum())
                kept[units[~kept[units]][:missing]] = True
        return kept


@dataclass(eq=False)
class Graph:
    """The channel graph of `model`; made by `read`.

    Attributes:
        layers: name → Keras layer; layers of nested models are called "outer/inner".
        ops: operations in topological order; `ops[tensor.number]` computes a tensor.
        slots, sizes: what `rewrite` has to touch, by (layer, weight index, axis) and by (layer,
            path); fixed: layer → entries of its config that must not follow its input.
        readers: name → `Reader`, in topological order.
        writers: layer name → unit of each channel that it computes; what is inside of a layer is
            called "attention/key".
        heads: list of `Heads`.
        views: (layer, weight index) → the shape in which units have an axis for themselves.
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
    heads: list
    views: dict

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
        """Weight `index` of layer `layer` as it is stored, NumPy, in the shape of `views`."""
        from keras import ops

        weight = ops.convert_to_numpy(self.layers[layer].weights[index])
        return weight.reshape(self.views.get((layer, index), weight.shape))

    def assign(self, layer, index, value) -> None:
        """Change a weight in place; `value` is shaped like what `weight` returns."""
        weight = self.layers[layer].weights[index]
        weight.assign(np.reshape(value, weight.shape))

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
            if isinstance(op, KERNELS):
                places = [
                    size or 1
                    for axis, size in enumerate(op.out.shape)
                    if axis not in (0, op.out.axis)
                ]
                total += 2 * op.weights * math.prod(places)
        return total
