"""What a checker knows and notes while it walks over two models."""

import functools
from dataclasses import dataclass, field
from typing import Any, SupportsInt

import numpy as np

from keras_l2feat.checking.rows import Rows
from keras_l2feat.checking.sizes import Sizes
from keras_l2feat.checking.tolerance import LIMIT, Tolerance
from keras_l2feat.pruning.channels.graph import Graph
from keras_l2feat.pruning.channels.operations import Op, Tensor

__all__ = ["Change", "UnitMaps", "Walk"]


@dataclass
class Change:
    """What an operation's weights have to be changed by.

    Attributes:
        layer: its name.
        error: (units,) float64, roundoffs, of the layer's units in the original.
        amplified: the largest effect of merged units on a sum, in roundoffs of what it adds up.
    """

    layer: str
    error: np.ndarray
    amplified: float = 0.0


@dataclass
class UnitMaps:
    """`Maps` by the numbers of units: which were kept, by what they were scaled, and what else a
    removed one can be expressed by."""

    kept: np.ndarray  # (units,) bool
    scale: np.ndarray  # (units,) float64
    sources: dict = field(default_factory=dict)  # unit → list of {unit: factor}
    constants: dict = field(default_factory=dict)  # unit → list of what may be added to that


class Walk:
    """Two models beside each other, and what was found so far.

    Args:
        graph, other: channel graphs of the original and of the pruned model, of one skeleton.
        maps: `UnitMaps`.
        exact: count in integers instead of float64.

    Attributes:
        tolerance: differences in roundoffs of the coarsest dtype that weights are stored in.
        boxes: tensor number → `Interval` of the original's channels, where inputs stay in a box;
            empty for all inputs.
        changes: list of `Change`.
        faults: (layer, unit, reason) of what was not respected.
        blamed: (units,) int of each fault, whose removal may be what it is for.
    """

    def __init__(self, graph: Graph, other: Graph, maps: UnitMaps, *, exact: bool = False) -> None:
        self.graph, self.pruned, self.maps = graph, other, maps
        dtypes = {layer: graph.dtype(layer) for layer, *_ in graph.slots}
        self.tolerance = Tolerance(dtypes.values(), exact)
        each = {dtype: Tolerance([dtype], exact) for dtype in set(dtypes.values())}
        self._tolerances = {layer: each[dtype] for layer, dtype in dtypes.items()}
        self.boxes, self.changes, self.faults, self.blamed = {}, [], [], []

    def tolerance_of(self, op: Op) -> Tolerance:
        """Differences in roundoffs of what an operation's own weights are stored in."""
        return self._tolerances.get(op.layer, self.tolerance)

    def kept(self, tensor: Tensor) -> np.ndarray:
        """(channels,) bool."""
        return self.maps.kept[tensor.units]

    def default(self, op: Op) -> Rows:
        """Rows of an output that is expected to be as the maps say."""
        units = op.out.units
        return Rows.of_kept(self.maps.kept[units], 1.0 / self.maps.scale[units])

    def still(self, op: Op) -> np.ndarray:
        """What the pruned channels of an output are where the box lets them be one number only,
        (pruned channels,); NaN where it does not."""
        box, kept = self.boxes.get(op.out.number), self.kept(op.out)
        if box is None:
            return np.full(int(kept.sum()), np.nan)
        value = np.where(box.low == box.high, box.low * self.maps.scale[op.out.units], np.nan)
        return value[kept]

    def nothing(self, op: Op) -> Rows:
        """Rows of an output of which nothing is known: all channels are their own."""
        rows = self.default(op)
        return rows.where(np.zeros(rows.count, dtype=bool))

    def fault(self, op: Op, position: SupportsInt, reason: str) -> None:
        """Note what was not respected."""
        self.faults.append((op.layer, int(position), reason))

    def blame(self, units: np.ndarray) -> None:
        """Note which of some units have gone: that may be what a fault is for."""
        self.blamed.append(units[~self.maps.kept[units]])

    def changed(self, layer: str, error: np.ndarray, amplified: float) -> None:
        """Note by how much a layer's weights have to be changed."""
        self.changes.append(Change(layer, np.where(np.isfinite(error), error, 0.0), amplified))

    def other(self, op: Op) -> Any:
        """The same operation of the pruned model."""
        return self.pruned.ops[op.out.number]

    @functools.cached_property
    def sizes(self) -> Sizes:
        """How large the pruned model's channels are."""
        return Sizes(self.pruned)

    def rounded(self, op: Op, rows: Rows) -> Rows:
        """Constants are what was told, or 0, where they are that up to roundings of the weights
        that they were added up from."""
        waiting = rows.constant != 0
        units = op.out.units.tolist() if waiting.any() else []
        told = [self.maps.constants.get(u, ()) for u in units]
        for nth in range(max(map(len, told), default=-1) + 1):
            goal = np.array([t[nth] if nth < len(t) else 0.0 for t in told])
            apart = self.tolerance_of(op).off(rows.constant - goal, rows.terms)
            near = waiting & (apart <= LIMIT)
            rows.constant = np.where(near, goal, rows.constant)
            rows.terms = np.where(near, np.abs(goal), rows.terms)  # from here on it is known
            rows.error = np.where(near, np.maximum(rows.error, apart), rows.error)
            waiting &= ~near
        if rows.spare is not None:
            self.rounded(op, rows.spare)
        return rows
