"""The check itself: two models and the maps in, a verdict out."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from keras_l2feat.backend import unchanged
from keras_l2feat.checking.box import bounds
from keras_l2feat.checking.maps import Maps
from keras_l2feat.checking.simulation import Simulation
from keras_l2feat.checking.skeleton import differences
from keras_l2feat.checking.tolerance import LIMIT
from keras_l2feat.checking.walk import UnitMaps
from keras_l2feat.errors import InputError
from keras_l2feat.pruning.channels.graph import Graph
from keras_l2feat.pruning.channels.interpret import interpret

__all__ = ["LayerChange", "Verdict", "check"]


@dataclass(frozen=True)
class LayerChange:
    """By how much a layer's weights have to be changed for the two models to be one function.

    Attributes:
        layer: its name.
        units: roundoffs of the stored dtype, the largest over its weights.
        worst: the unit of the original that they write.
        amplified: how far the units that were merged may move a sum of the layer, in roundoffs of
            what it adds up.
    """

    layer: str
    units: float
    worst: int
    amplified: float = 0.0


@dataclass(frozen=True)
class Verdict:
    """What a check has found.

    Attributes:
        accepted: whether the pruned model is the original with weights changed by `changes`, for
            every input (or every one of the box).
        exact: whether it was counted in integers.
        dtype: what roundoffs are of, the coarsest that weights are stored in.
        changes: list of `LayerChange`, of layers whose weights change at all.
        faults: list of `(layer, unit, reason)`, empty if accepted.
        blamed: for each fault units of the original, `(layer, index)`, without whose removal it
            might be none. A later one may be what an earlier one leads to.
    """

    accepted: bool
    exact: bool
    dtype: str
    changes: list = field(default_factory=list)
    faults: list = field(default_factory=list)
    blamed: list = field(default_factory=list, repr=False)

    @property
    def worst(self) -> Any:
        """The largest of `changes`, `None` where no weight changes."""
        return max(self.changes, key=lambda change: change.units, default=None)

    @property
    def amplified(self) -> float:
        """The largest amplification of `changes`."""
        return max((change.amplified for change in self.changes), default=0.0)

    def __str__(self):
        if not self.accepted:
            layer, unit, reason = self.faults[0]
            return f"not shown to be equal: layer {layer!r}, unit {unit}: {reason}"
        if self.worst is None:
            return "the pruned model equals the given one, weight by weight"
        return (
            "the pruned model equals the given one with its weights changed by at "
            f"most {self.worst.units:.2g} units in the last place "
            f"(worst: layer {self.worst.layer!r}, unit {self.worst.worst})"
        )

    def to_json(self) -> dict:
        """Plain data."""
        return {
            "accepted": self.accepted,
            "exact": self.exact,
            "dtype": self.dtype,
            "changes": [
                [c.layer, c.units, c.worst, c.amplified if c.amplified < np.inf else None]
                for c in self.changes
            ],
            "faults": [list(fault) for fault in self.faults],
        }


def check(
    graph: Graph,
    pruned: Graph,
    maps: Maps,
    *,
    exact: bool = False,
    input_range: tuple[float, float] | None = None,
) -> Verdict:
    """Whether a pruned model is the original with its weights changed by roundings.

    Args:
        graph, pruned: channel graphs of the two models (`read`).
        maps: `Maps`; hints that are not believed.
        exact: count in integers; about a hundred times slower.
        input_range: `(low, high)`: only for inputs in this box; by default for every input.

    Returns: a `Verdict`. [docs/certificate.md]
    """
    if pruned is graph and maps == Maps() and input_range is None:
        return Verdict(True, exact, "")
    try:
        numbered = _numbered(graph, maps)
    except InputError as error:
        return Verdict(False, exact, "", faults=[(graph.model.name, 0, str(error))])
    with unchanged():
        found = differences(graph, pruned, numbered.kept)
        if found:
            return Verdict(False, exact, "", faults=[(layer, 0, reason) for layer, reason in found])
        try:
            # A bound or a factor that float64 does not hold proves nothing.
            with np.errstate(over="raise", invalid="raise"):
                return _verdict(graph, _simulated(graph, pruned, numbered, exact, input_range))
        except FloatingPointError:
            reason = "numbers of the certificate are beyond what float64 holds"
            return Verdict(False, exact, "", faults=[(graph.model.name, 0, reason)])


def _simulated(graph, pruned, numbered, exact, input_range):
    simulation = Simulation(graph, pruned, numbered, exact=exact)
    if input_range is not None:
        simulation.boxes = bounds(graph, *input_range, 2 * LIMIT * simulation.tolerance.unit)
    wrong = [
        tensor
        for op in graph.ops
        for tensor, other in [(op.out, simulation.other(op).out)]
        if int(numbered.kept[tensor.units].sum()) != len(other.units)
    ]
    if wrong:
        op = graph.ops[wrong[0].number]
        simulation.fault(op, 0, "the pruned model has another number of channels")
    else:
        values = interpret(graph, simulation)
        for tensor in graph.outputs:
            rows = values[tensor.number]
            if not rows.plain:
                op = graph.ops[tensor.number]
                simulation.fault(op, rows.altered.argmax(), "an output is not the same")
    return simulation


def _verdict(graph, simulation):
    tolerance = simulation.tolerance
    changes = [
        LayerChange(c.layer, float(c.error.max(initial=0)), int(c.error.argmax()), c.amplified)
        for c in simulation.changes
        if c.error.any() or c.amplified
    ]
    blamed = [[graph.owners[unit] for unit in np.unique(units)] for units in simulation.blamed]
    accepted = not simulation.faults and all(c.units <= LIMIT for c in changes)
    return Verdict(accepted, tolerance.exact, tolerance.dtype, changes, simulation.faults, blamed)


def _numbered(graph, maps):
    kept = np.ones(len(graph.pinned), dtype=bool)
    scale = np.ones(len(graph.pinned))
    for layer, indices in maps.removed.items():
        for index in indices:
            kept[graph.unit(layer, index)] = False
    for (layer, index), factor in maps.scale.items():
        if not 0 < factor < np.inf:
            raise InputError(f"A unit is scaled by a positive number. Received: {factor}.")
        scale[graph.unit(layer, index)] = factor
    sources = {}
    for (layer, index), choices in maps.sources.items():
        units = [{graph.unit(*q): f for q, f in choice.items()} for choice in choices]
        sources.setdefault(graph.unit(layer, index), []).extend(units)
    constants = {graph.unit(*unit): told for unit, told in maps.constants.items()}
    return UnitMaps(kept, scale, sources, constants)
