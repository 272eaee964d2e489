"""The plan of what is redundant for every input in a box."""

from dataclasses import replace

import numpy as np

from keras_l2feat.errors import InputError
from keras_l2feat.pruning.channels.graph import Graph
from keras_l2feat.pruning.guarantees.exact import exact_plan
from keras_l2feat.pruning.plan import Account, Plan
from keras_l2feat.pruning.values.intervals import box_of_inputs, slopes
from keras_l2feat.pruning.values.numbering import Values
from keras_l2feat.pruning.values.relaxation import boxes

__all__ = ["domain_plan"]


def domain_plan(
    graph: Graph, *, input_range: tuple | None = None, merges: bool = False, **_
) -> Plan:
    """What is redundant for every input in a box: units that never act there, and linear ones that
    others make up for.

    An activation whose input never changes sign is linear on the box, so its channels are combined
    and compared by `exact` as those of a linear layer are.

    Args:
        graph: the model's `Graph`.
        input_range: `(low, high)`, as for `box_of_inputs`.
        merges: as for `exact_plan`.

    Returns: a `Plan` with guarantee "domain".
    """
    if input_range is None:
        raise InputError(
            "The guarantee 'domain' needs a range: prune(model, guarantee='domain', "
            "input_range=(0, 1))."
        )
    low, high = input_range
    found = boxes(graph, box_of_inputs(graph, low, high))
    plan = exact_plan(graph, _Inside(graph, found), merges=merges)
    plan.guarantee = "domain"
    plan.removed = [
        replace(r, reason="inactive") if r.reason == "dead" else r for r in plan.removed
    ]
    plan.account = Account(
        unit_bounds="intervals, and backward linear relaxation (CROWN) on dense layers"
    )
    return plan


class _Inside(Values):
    """The values on a box: an activation is linear where it is stable, constant where it is
    saturated.

    The size of an atom is a bound of it on the box, where one is known. What is equal is judged as
    for every input, each weight by itself: a change that is small on the box alone is none that
    weights within their rounding explain, so no check of them could show it.
    """

    def __init__(self, graph, found):
        self.found = found  # the box of each tensor
        super().__init__(graph)

    def bound(self, tensor):
        """The largest absolute value of each channel of a tensor, NaN where nothing bounds it."""
        box = self.found[tensor.number]
        largest = np.maximum(np.abs(box.low), np.abs(box.high))
        return np.where(np.isfinite(largest), largest, np.nan)

    def size_with(self, atom, constant):
        return self.sizes[atom] + abs(constant)

    def source(self, op, *inputs):
        atoms = self.new(len(op.out.units), self.bound(op.out))
        return self._where_it_varies(op, self.monomials(atoms, np.ones(len(atoms))))

    def spread(self, op, x):
        return self._where_it_varies(op, super().spread(op, x))

    def _where_it_varies(self, op, forms):
        """Forms of one atom each; constants where nothing in the box moves a channel."""
        box = self.found[op.out.number]
        still = box.low == box.high
        value = np.where(still, box.low, forms.constant)
        shift = np.where(still, np.abs(box.low), forms.shift)
        return replace(forms.scaled(~still), constant=value, shift=shift)

    def map(self, op, *inputs):
        forms = super().map(op, *inputs)
        free = np.flatnonzero(forms.matrix[0])
        for atom, size in zip(
            forms.labels[free].tolist(),
            (self.bound(op.out)[free] / np.abs(forms.matrix[0, free])).tolist(),
        ):
            self.sizes[atom] = size
        if len(inputs) != 1:
            return forms
        inward, outward = self.found[op.inputs[0].number], self.found[op.out.number]
        both, still = slopes(op, forms.count), outward.low == outward.high
        slope = np.where(still, 0.0, np.nan)
        if both is not None:
            slope = np.where(inward.low >= 0, both[1], np.where(inward.high <= 0, both[0], slope))
        stable = np.isfinite(slope)
        if not stable.any():
            return forms
        slope = np.where(stable, slope, 0.0)
        shift = np.where(still & stable, outward.low, 0.0) * (slope == 0)
        kept = forms.scaled(~stable)
        if slope.any():
            kept = self.added([kept, inputs[0].scaled(slope)])
        return replace(kept, constant=kept.constant + shift, shift=kept.shift + np.abs(shift))
