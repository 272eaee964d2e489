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

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from keras_l2feat.backend import stored
from keras_l2feat.errors import InputError
from keras_l2feat.pruning.channels.operations import KERNELS, Linear, Tensor
from keras_l2feat.types import Model

__all__ = ["Graph", "Heads", "Reader", "Size", "Slot"]


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
    def units(self) -> np.ndarray:
        """Unit of each position, (positions,) int."""
        return self.slot.units


@dataclass(eq=False)
class Size:
    """Entry `path` of the config of layer `layer` is the number of units along `units`, positions
    counted: `("units",)` of a dense layer, `("target_shape", 2)` of a reshape. Where `units` is
    (heads, dimensions), it is the number of heads, or that of dimensions of each, by `axis`."""

    layer: str
    path: tuple
    units: np.ndarray
    axis: int | None = None

    def count(self, copies: np.ndarray) -> int:
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

    def size(self, kept: np.ndarray, part: int) -> int:
        """How many units of a part a head that stays keeps, at most."""
        heads = kept[self.parts[0]].any(axis=1)
        return int(kept[self.parts[part]][heads].sum(axis=1).max(initial=0))

    def whole(self, kept: np.ndarray) -> np.ndarray:
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

    model: Model
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

    def unit(self, layer: str, index: int) -> int:
        """The number of unit `(layer, index)`.

        Raises:
            InputError: there is none.
        """
        units = self.writers.get(layer, ())
        if not 0 <= index < len(units):
            raise InputError(f"Model {self.model.name!r} has no unit {index} in layer {layer!r}.")
        return int(units[index])

    def computed_first(self, fixed: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
        """Each layer that computes units which no layer before it does, and its channels of them,
        each unit once; those that are `fixed`, (units,) bool, are left out."""
        taken = fixed.copy()
        for layer, units in self.writers.items():
            found = np.unique(units, return_index=True)[1]
            channels = np.sort(found[~taken[units[found]]])
            taken[units] = True
            if len(channels):
                yield layer, channels

    def weight(self, layer: str, index: int) -> np.ndarray:
        """Weight `index` of layer `layer` as it is stored, NumPy, in the shape of `views`; to read
        only."""
        weight = stored(self.layers[layer].weights[index])
        return weight.reshape(self.views.get((layer, index), weight.shape))

    def assign(self, layer: str, index: int, value: ArrayLike) -> None:
        """Change a weight in place; `value` is shaped like what `weight` returns."""
        weight = self.layers[layer].weights[index]
        weight.assign(np.reshape(value, weight.shape))

    def dtype(self, layer: str) -> str:
        """What the layer's weights are stored in."""
        return str(self.layers[layer].variable_dtype)

    def tokens(self, tensor: Tensor) -> int | None:
        """How many tokens an input may name, `None` if it is not looked up in a table."""
        tables = [op for op in self.ops if isinstance(op, Linear) and op.reader is None]
        sizes = [op.kernel().shape[1] for op in tables if op.inputs[0] is tensor]
        return min(sizes) if sizes else None

    def flops(self) -> int:
        """Multiplications and additions of the linear operations for one input; unknown sizes count
        as 1."""
        return sum(2 * op.weights * op.out.places for op in self.ops if isinstance(op, KERNELS))
