"""A channel graph while it is being read: units are named as they appear, and tied when something
shows that they go together."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from keras_l2feat.pruning.channels.graph import Graph, Reader, Size, Slot
from keras_l2feat.pruning.channels.operations import Attend, Source, Tensor
from keras_l2feat.types import Model

__all__ = ["Builder"]


class Builder:
    """What the rules write to; `finish` makes the `Graph`, whose attributes are called the same.

    Units have provisional numbers; those that are tied are the same one in the end (union-find).
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self.layers, self.slots, self.sizes, self.fixed = {}, {}, {}, {}
        self.readers, self.writers, self.barriers = {}, {}, {}
        self.ops, self.owners = [], []
        self.heads, self.views = [], {}
        self._parent = []
        self._pins, self._rigid = set(), set()

    def fresh(
        self, layer: str, count: int, shape: Sequence, axis: int, *, pinned: bool = False
    ) -> Tensor:
        """A tensor of new units."""
        units = np.arange(len(self._parent), len(self._parent) + count)
        self._parent.extend(units.tolist())
        self.owners.extend((layer, index) for index in range(count))
        if pinned:
            self._pins.update(units.tolist())
        return Tensor(tuple(shape), axis % len(shape), units)

    def written(self, layer: str, count: int, shape: Sequence, axis: int) -> Tensor:
        """The tensor that a layer computes; every call of a shared layer makes the same units."""
        if layer in self.writers:
            return Tensor(tuple(shape), axis % len(shape), self.writers[layer])
        tensor = self.fresh(layer, count, shape, axis)
        self.writers[layer] = tensor.units
        return tensor

    def tie(self, first: Iterable, second: Iterable) -> None:
        """Units that go together, elementwise."""
        for a, b in zip(first, second, strict=True):
            a, b = self._find(int(a)), self._find(int(b))
            self._parent[max(a, b)] = min(a, b)

    def pin(self, units: ArrayLike) -> None:
        """Units that stay."""
        self._pins.update(np.asarray(units).tolist())

    def stiffen(self, units: ArrayLike) -> None:
        """Units that are not rescaled."""
        self._rigid.update(np.asarray(units).tolist())

    def slot(self, layer: str, index: int, axis: int, units: np.ndarray, role: str) -> Slot:
        """Note what an axis of a weight belongs to; a second call of a shared layer ties."""
        weight = self.layers[layer].weights[index]
        axis %= len(self.views.get((layer, index), weight.shape))
        if not _scales(weight):
            self.stiffen(units)
        known = self.slots.get((layer, index, axis))
        if known is None:
            known = self.slots[layer, index, axis] = Slot(layer, index, axis, units, role)
        else:
            self.tie(known.units, units)
        return known

    def size(self, layer: str, path: tuple, units: np.ndarray, axis: int | None = None) -> None:
        """Note an entry of a layer's config that counts units; a second call of a shared layer
        ties."""
        known = self.sizes.setdefault((layer, path), Size(layer, path, units, axis))
        self.tie(known.units.flat, units.flat)

    def reads(
        self, name: str, layer: str, index: int, axis: int, tensor: Tensor, **options
    ) -> None:
        """Note that a kernel reads a tensor's channels."""
        slot = self.slot(layer, index, axis, tensor.units, "read")
        reader = self.readers.setdefault(name, Reader(name, layer, slot, [], **options))
        reader.inputs.append(tensor)

    def barrier(
        self,
        name: str,
        reason: str,
        tensors: Iterable[Tensor],
        shapes: Iterable[Sequence],
        lipschitz: float | None = None,
    ) -> list:
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
            self.ops[-1].layer = name
            outs.append(out)
        return outs

    def turned(self, name: str, tensor: Tensor, axis: int) -> Tensor:
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
        self.ops[-1].layer = name
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

    def finish(self, inputs: list[Tensor], outputs: list[Tensor]) -> Graph:
        """The graph, with final unit numbers.

        Args:
            inputs, outputs: tensors of the model.
        """
        for tensor in outputs:
            self.pin(tensor.units)
        for number, op in enumerate(self.ops):
            op.out.number = number
        for op in (self.ops[tensor.number] for tensor in outputs):
            if isinstance(op, Source) and op.lipschitz:  # a softmax at the end is in nobody's way
                self.barriers.pop(self.owners[op.out.units[0]][0], None)
        root = np.array([self._find(unit) for unit in range(len(self._parent))], dtype=int)
        holders = [op.out for op in self.ops] + [*self.slots.values(), *self.sizes.values()]
        holders += [op for op in self.ops if isinstance(op, Attend)]
        for holder in holders:
            holder.units = root[holder.units]
        for heads in self.heads:
            heads.parts = [root[part] for part in heads.parts]
        for reader in (r for r in self.readers.values() if r.through is not None):
            reader.through = root[reader.through]
        pinned = self._flags(self._pins)
        return Graph(
            model=self.model,
            layers=self.layers,
            ops=self.ops,
            slots=self.slots,
            sizes=self.sizes,
            fixed=self.fixed,
            readers=self.readers,
            writers={layer: root[units] for layer, units in self.writers.items()},
            barriers=self.barriers,
            owners=self.owners,
            pinned=pinned,
            rigid=self._flags(self._rigid) | pinned,
            inputs=inputs,
            outputs=outputs,
            heads=self.heads,
            views=self.views,
        )


def _scales(weight):
    """Whether a weight may be multiplied: a constraint such as a unit norm would no longer hold."""
    constraint = getattr(weight, "constraint", None)
    return constraint is None or type(constraint).__name__ == "NonNeg"
