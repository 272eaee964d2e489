"""Which units of a recurrent layer are multiples of each other, by induction over time.

At first all states are 0, so every claim about them holds. Suppose units were multiples of each
other, as claimed, one step ago: if what their gates read is then the same, and what their state
reads the same multiple, they are so now. The claim starts with "all are 0" and is split where the
step does not hold, until it does.
"""

import numpy as np

from keras_l2feat.activations import Scaling
from keras_l2feat.pruning.channels.operations import Recurrent
from keras_l2feat.pruning.values.forms import Forms, Reading
from keras_l2feat.pruning.values.readings import Readings

__all__ = ["recurred"]

NEVER = -1  # the class of units that stay 0


def recurred(values: Readings, op: Recurrent, x: Forms) -> Forms:
    """The `Forms` of the states that a `Recurrent` computes; what it reads is noted."""
    read, kernel = values.reading(op.inputs[0], x), op.kernel()
    count = kernel.shape[2]
    labels, factor = np.full(count, NEVER if op.rests else 0), np.ones(count)
    while True:
        state = _state(values, labels, factor)
        found, ratio = _step(values, op, kernel, Reading.joined([read, state, _one()]), labels)
        if np.array_equal(found, labels):
            apart = np.abs(ratio - factor) > values.slack(1) * np.abs(factor)
            if not apart.any():
                break
            found[apart] = np.flatnonzero(apart)  # no multiple, if its factor is never the same
        labels, factor = found, ratio
    values.readings[op.reader].append(read)
    values.readings[op.again].append(state)
    return values.monomials(state.atoms, state.scales)


def _one():
    """The reading of the constant 1."""
    none, one = np.zeros(1), np.ones(1)
    return Reading.plain(np.zeros(1, dtype=int), none, one, one, none)


def _state(values, labels, factor):
    """What the recurrent kernel reads, if the claim holds: `labels` (units,), the first unit of
    each one's class, and its multiple of that."""
    names, place = np.unique(labels, return_inverse=True)
    scales = np.where(labels == NEVER, 0.0, factor)
    return Reading.plain(values.new(len(names))[place], scales, *np.zeros((3, len(labels))))


def _step(values, op, kernel, read, labels):
    """The classes of one step later: as `labels` and their factors."""
    taps = [values.applied(tap[None], read, None, True, None) for tap in kernel]
    keys, ratio = [labels], np.ones(len(labels))
    zero = np.zeros(len(labels), dtype=bool)
    for signed, scaling in ((True, op.scaling), (False, Scaling.IDENTITY)):
        chosen = [tap for tap, own in zip(taps, op.signed) if own == signed]
        if chosen:
            leader, factor, _ = values.classes(values.arguments(op.tag, chosen), scaling)
            keys.append(leader)
            if signed:
                zero = leader < 0
                ratio = np.where(zero, 1.0, factor)
    first, place = np.unique(np.stack(keys), axis=1, return_index=True, return_inverse=True)[1:]
    found = first[place.reshape(-1)]
    ratio = ratio / ratio[found]
    found[zero & (labels == NEVER)] = NEVER
    return found, ratio
