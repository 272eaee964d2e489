"""Groups of units turned into equal copies of one unit, which every optimizer keeps equal.

Copies with the same incoming and the same outgoing weights get the same gradients. If what the
optimizer keeps for them is the same too, so is every step: momentum, division by a second moment,
signs, decay, clipping and loss scaling act on equal numbers. Together the k copies do what the one
merged unit (w, Σ t_i v_i) does, at the same norm where units can be rescaled: each has a √k-th of
both vectors; elsewhere each has all of what the unit computes, and a k-th of what is read of it
[Jacot et al. 2022, §3.1; Simsek et al. 2021, §4].
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from keras_l2feat.activations import Scaling
from keras_l2feat.pruning.channels.graph import Graph
from keras_l2feat.pruning.channels.sites import rows
from keras_l2feat.training.slots import slots
from keras_l2feat.training.units import Site

__all__ = ["make_copies"]


class _Mix(NamedTuple):
    """What copies are mixed from, one row a group, (groups + 1, n) each; the last row is zero, for
    units that are silenced."""

    write: np.ndarray  # of incoming weights
    param: np.ndarray  # of what belongs to a unit alone: scales, statistics, depthwise kernels
    read: np.ndarray  # of outgoing weights
    mean: np.ndarray  # of what an optimizer keeps


def make_copies(
    graph: Graph, chosen: Sequence[tuple[Site, np.ndarray]], optimizer: object = None
) -> None:
    """Turn groups of units into equal copies, in place.

    Args:
        graph: of the model.
        chosen: sites, each with (n,) int labels: units of one label are a group; those of label −1
            add nothing: they become zero where zero stays zero, and else copies of the strongest
            unit that add nothing.
        optimizer: of the model, `None` for none; what it keeps for copies is averaged.
    """
    arrays, trained = _Arrays(graph), list(graph.model.trainable_variables)
    kept = dict(zip(map(id, trained), slots(optimizer, trained)))
    for site, labels in chosen:
        mix, labels = _mix(site, np.array(labels))
        for slot, positions in site.places:
            weight = graph.layers[slot.layer].weights[slot.index]
            arrays.mix(weight, slot, positions, getattr(mix, slot.role), labels)
            for variable in kept.get(id(weight), {}).values():
                arrays.mix(variable, slot, positions, mix.mean, labels)
    arrays.store()


class _Arrays:
    """Arrays that are changed in float64 and stored once, rounded once."""

    def __init__(self, graph):
        self._graph, self._changed, self._variables = graph, {}, {}

    def mix(self, variable, place, positions, matrix, labels):
        """Give units what a row of `matrix` mixes, the row of their label.

        Args:
            variable: a weight, or of the same shape; place: the slot of the graph that says where
                units stand in it.
        """
        key = id(variable)
        if key not in self._changed:
            self._variables[key] = variable
            self._changed[key] = self._given(variable, place)
        array = np.moveaxis(self._changed[key], place.axis, 0)
        old = rows(self._changed[key], place.axis, positions)
        mixed = (matrix @ old.reshape(len(old), -1)).reshape(len(matrix), *old.shape[1:])
        array[positions] = mixed[labels]

    def _given(self, variable, place):
        from keras.ops import convert_to_numpy

        given = np.array(convert_to_numpy(variable), dtype=np.float64)
        return given.reshape(self._graph.views.get((place.layer, place.index), given.shape))

    def store(self):
        for key, array in self._changed.items():
            variable = self._variables[key]
            variable.assign(array.reshape(variable.shape))


def _mix(site, labels):
    """The `_Mix` of a site, and the row of it that each unit gets."""
    count = len(labels)
    strength = site.contributions
    silent = labels < 0
    zero = site.rescalable and site.kind.homogeneous  # zero stays zero
    if silent.any() and not zero:
        strongest = labels[np.argmax(np.where(silent, -1.0, strength))]
        labels = np.arange(count) if silent.all() else np.where(silent, strongest, labels)
        silent = silent & (not silent.all())
    groups = int(labels.max(initial=-1)) + 1
    mix = _Mix(*np.zeros((4, groups + 1, count)))
    for label in range(groups):
        members = np.flatnonzero(labels == label)
        leader = members[np.argmax(strength[members])]
        mix.param[label, leader] = 1.0
        mix.mean[label, members] = 1.0 / len(members)
        if len(members) == 1:
            mix.write[label, leader] = mix.read[label, leader] = 1.0
            continue
        write, factors = _merged(site, members, leader)
        factors[silent[members]] = 0.0
        copies = 1.0 / len(members)
        share, scale = copies, 1.0
        if zero:
            share, scale = _balanced(site, members, write, factors, copies)
        mix.write[label, members], mix.read[label, members] = scale * write, share * factors
    return mix, np.where(labels < 0, groups, labels)


def _merged(site, members, leader):
    """What a group's unit is mixed from, and how much of it each member is, (k,) each."""
    vectors = site.incoming[members]
    if site.kind.homogeneous:
        weight = site.contributions[members]
    else:
        weight = np.linalg.norm(site.outgoing[members], axis=1)
    signs = np.ones(len(members))
    if site.kind.mirrored:
        signs = np.where(vectors @ site.incoming[leader] < 0, -1.0, 1.0)
    alone = any(slot.role == "param" for slot, _ in site.places) or not weight.any()
    if alone:  # statistics are those of this very unit
        write = (members == leader).astype(np.float64)
    elif site.kind.homogeneous:
        norms = np.linalg.norm(vectors, axis=1)
        write = signs * weight / np.where(norms > 0, norms, 1.0)
        write /= np.linalg.norm(write @ vectors) or 1.0
        write *= np.linalg.norm(site.incoming[leader])
    else:
        write = signs * weight / weight.sum()
    if not site.kind.homogeneous:
        return write, signs
    merged = write @ vectors
    factors = vectors @ merged / (merged @ merged or 1.0)
    return write, factors if site.kind is Scaling.LINEAR else np.maximum(factors, 0.0)


def _balanced(site, members, write, factors, copies):
    """What to multiply outgoing and incoming mixes with, so that each copy has a √k-th of the
    merged unit, whose two norms are in the ratio that the group's were in: their sum of squares
    never rises."""
    inward, outward = (np.linalg.norm(side[members]) for side in (site.incoming, site.outgoing))
    merged = np.linalg.norm(write @ site.incoming[members])
    read = np.linalg.norm(factors @ site.outgoing[members])
    if not (inward * outward * merged * read):
        return 0.0, 0.0
    norm = np.sqrt(merged * read * inward / outward)  # of the merged unit's incoming vector
    scale = norm / merged
    return np.sqrt(copies) / scale, np.sqrt(copies) * scale
