"""What each reader of a graph sees, position by position: the classes of channels that it can be
told instead of each other."""

from dataclasses import dataclass, field

import numpy as np
from scipy import sparse

from keras_l2feat.activations import Scaling
from keras_l2feat.pruning.channels.graph import Graph, Reader
from keras_l2feat.pruning.values.classes import CONSTANT, ZERO
from keras_l2feat.pruning.values.numbering import Values
from keras_l2feat.pruning.values.readings import FEW

__all__ = ["FREE", "View", "views_of"]

BLOCK_ENTRIES = 1 << 22  # of a kernel, looked at together
FREE = -1  # a position whose value needs no other: zero, or a constant that a bias takes
NONE = np.zeros(0, dtype=int)


@dataclass
class View:
    """What a reader sees: scales · class + constants at each position, or a mix of classes
    (`dependents`).

    Attributes:
        reader: who sees it.
        classes: (positions,) class, or `FREE`; scales, constants: (positions,).
        sizes: (classes,) how large a class is beside the others.
        dependents: positions that are Σ_b mix[b, d] · class basis[b] instead.
        touched: (classes, outputs) bool: an output depends on a class.
        relevant: (classes,) bool: some output of the model does.
    """

    reader: Reader
    classes: np.ndarray
    scales: np.ndarray
    constants: np.ndarray
    sizes: np.ndarray
    dependents: np.ndarray = field(default_factory=lambda: NONE)
    basis: np.ndarray = field(default_factory=lambda: NONE)
    mix: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    touched: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), dtype=bool))
    relevant: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=bool))

    @property
    def count(self) -> int:
        """How many classes there are."""
        return len(self.sizes)


def views_of(graph: Graph, values: Values, *, merges: bool = False) -> list[View]:
    """What every reader sees, in topological order.

    Args:
        graph: the model's `Graph`; values: what its tensors are.
        merges: multiples alone: no constant goes into a bias, nothing is a mix.
    """
    views = []
    for reader in graph.readers.values():
        readings = values.readings[reader.name]
        folds = reader.bias is not None and not merges
        if len(readings) == 1 and not merges and (folds or not readings[0].constants.any()):
            view = _of_one_call(values, reader, readings[0])
        else:
            view = _of_all_calls(values, reader, readings, folds)
        view.touched = _touched(graph, values, view)
        views.append(view)
    return views


def _of_one_call(values, reader, read):
    """A reading as it is: its atoms are the classes."""
    multiple = read.scales != 0
    names, which = np.unique(read.atoms[multiple], return_inverse=True)
    names = np.concatenate([names, np.setdiff1d(read.basis, names)])
    classes, scales = np.full(len(read.atoms), FREE), read.scales.copy()
    classes[multiple] = which
    classes[read.dependents], scales[read.dependents] = FREE, 0.0
    order = np.argsort(names)
    basis = order[np.searchsorted(names[order], read.basis)] if len(read.basis) else NONE
    sizes = np.nan_to_num(values.size_of(names), nan=1.0)
    return View(reader, classes, scales, read.constants, sizes, read.dependents, basis, read.mix)


def _of_all_calls(values, reader, readings, folds):
    """Positions are one where they are multiples, by one factor, in all calls of a layer."""
    count = len(reader.units)
    labels, scales, found = np.zeros(count, dtype=int), np.zeros(count), []
    for read in readings:
        forms = values.monomials(*values.on_their_own(read), read.constants, read.terms)
        leader, factor, _ = values.classes(forms, Scaling.LINEAR)
        labels = np.unique(np.stack([labels, leader]), axis=1, return_inverse=True)[1].reshape(-1)
        scales = np.where(scales == 0, factor, scales)
        found.append((leader, factor))
    zero = np.all([leader == ZERO for leader, _ in found], axis=0)
    first = found[0][1]
    constant = np.all([(leader == CONSTANT) & (f == first) for leader, f in found], axis=0)
    constants = np.where(constant & folds, first, 0.0)
    free = zero | (constants != 0)
    for _, factor in found[1:]:
        ratio = np.where(free, 0.0, factor / np.where(scales == 0, 1.0, scales))
        labels = _split(labels, ratio, values.slack(1))
    classes = np.full(count, FREE)
    classes[~free] = np.unique(labels[~free], return_inverse=True)[1].reshape(-1)
    sizes = np.ones(classes.max(initial=-1) + 1)
    return View(reader, classes, np.where(free, 0.0, scales), constants, sizes)


def _split(labels, ratio, bound):
    """Labels with those told apart whose ratios are further apart than rounding explains."""
    order = np.lexsort((ratio, labels))
    gap = np.diff(ratio[order]) > 4 * bound * np.abs(ratio[order][1:])
    out = np.empty_like(labels)
    out[order] = np.concatenate([[0], np.cumsum(gap | (np.diff(labels[order]) != 0))])
    return out


def _touched(graph, values, view):
    """Which outputs of the kernel depend on which class, once the members are added up: (classes,
    outputs) bool."""
    reader = view.reader
    kernel = np.moveaxis(graph.weight(reader.layer, reader.slot.index), reader.slot.axis, 0)
    if reader.writes is not None:
        after = reader.writes.axis + (reader.writes.axis < reader.slot.axis)
        kernel = np.moveaxis(kernel, after, 1)
        kernel = kernel.reshape(*kernel.shape[:2], -1)
    else:
        kernel = kernel.reshape(len(kernel), 1, -1)
    member = np.flatnonzero(view.classes >= 0)
    gather = sparse.csr_array(
        (view.scales[member], (view.classes[member], member)), shape=(view.count, len(kernel))
    )
    if len(view.dependents):
        mix = sparse.coo_array(view.mix)
        place = view.basis[mix.row], view.dependents[mix.col]
        gather = gather + sparse.csr_array((mix.data, place), shape=gather.shape)
    bound = values.slack(len(view.classes))
    touched = np.zeros((view.count, kernel.shape[1]), dtype=bool)
    step = max(1, BLOCK_ENTRIES // max(1, len(kernel) * kernel.shape[2]))
    for start in range(0, kernel.shape[1], step):
        part = kernel[:, start : start + step]
        flat = part.reshape(len(kernel), -1).astype(np.float64)
        total, terms = np.abs(gather @ flat), abs(gather) @ np.abs(flat)
        # what rounding explains is nothing, unless it matters beside all that is added up
        matters = total * view.sizes[:, None] > FEW * bound * (view.sizes @ total)
        found = (total > bound * terms) | matters
        touched[:, start : start + step] = found.reshape(-1, *part.shape[1:]).any(axis=2)
    return touched
