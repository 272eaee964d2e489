"""The plan that keeps every output on a data set, with norm not larger: `caratheodory` on the
channels of a graph.

Of the `sites` of the graph those are looked at whose units are seen by their readers at one
position each. The values of a site's units on the data are collected batch by batch into the
triangular factor of their QR decomposition, which is all that the elimination needs. Sites are
reduced from the last to the first: a site's outgoing weights are what later sites left, its
incoming ones are still the model's own, so no step raises the norm.
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from keras_l2feat.caratheodory import DEVIATION, reduce_layer
from keras_l2feat.errors import InputError
from keras_l2feat.pruning.balance import balance_units, norms, squared_norm
from keras_l2feat.pruning.channels.graph import Graph
from keras_l2feat.pruning.channels.read import read
from keras_l2feat.pruning.channels.sites import Site, rows, sites
from keras_l2feat.pruning.evaluate import batches, outputs, precise
from keras_l2feat.pruning.plan import Account, Plan, Removal
from keras_l2feat.pruning.rewrite import rewrite
from keras_l2feat.pruning.takeover.walk import walk
from keras_l2feat.pruning.values.aligned import unit_roundoff
from keras_l2feat.pruning.values.classes import ROUNDINGS
from keras_l2feat.pruning.values.readings import coarsest
from keras_l2feat.types import Model

__all__ = ["data_plan", "data_sha256", "values_on", "within_norm"]


def values_on(graph: Graph, model: Model, found: list[Site], arrays: Sequence) -> list:
    """The values of each site's units on data, in few orthonormal coordinates: list of (rows ≤ n,
    n) float64.

    Args:
        graph: of the model; model: a copy that computes in float64.
        found: sites; arrays: one per model input.
    """
    factors: list[Any] = [np.zeros((0, len(site.units))) for site in found]
    names = list({reader.layer for site in found for reader, _ in site.readers})
    for seen in _seen(model, names, arrays):
        for nth, site in enumerate(found):
            blocks = [factors[nth]]
            for reader, positions in site.readers:
                for tensor, value in zip(reader.inputs, seen[reader.layer], strict=True):
                    flat = np.moveaxis(value, tensor.axis, -1).reshape(-1, positions.size)
                    own = np.moveaxis(flat[:, positions], 1, -1)
                    blocks.append(own.reshape(-1, len(site.units)))
            factors[nth] = np.linalg.qr(np.concatenate(_distinct(blocks)), mode="r")
    return factors


def _seen(model, names, arrays):
    """Yield what layers are called on, batch after batch: name → list of float64 arrays
    (points, …), one a call."""
    import keras

    graph = read(model)
    for part, count in batches(model, arrays):
        seen = {name: [] for name in names}

        def visit(name, args, kwargs, seen=seen, count=count):
            if name in seen:
                (value,) = args[0].parts
                value = np.asarray(keras.ops.convert_to_numpy(value), dtype=np.float64)
                seen[name].append(value[:count])

        walk(graph, [part], visit)
        yield seen


def _distinct(blocks):
    """Without repetitions: two readers of one tensor see the same."""
    kept = blocks[:1]
    for block in blocks[1:]:
        if not any(np.array_equal(block, other) for other in kept[1:]):
            kept.append(block)
    return kept


def data_sha256(arrays: Sequence) -> str:
    """A hash of arrays: shapes, dtypes and values."""
    digest = hashlib.sha256()
    for array in arrays:
        array = np.ascontiguousarray(array)
        digest.update(f"{array.shape} {array.dtype}".encode())
        digest.update(array.data)
    return digest.hexdigest()


def within_norm(planner: Callable) -> Callable:
    """A planner of another level, held to what this one promises: Σ‖W‖² does not rise.

    Constants that go into biases, units that become combinations of others, and equal units that
    cannot be balanced may raise it: then the plan is made with merges alone, or not at all.

    Args:
        planner: `(graph, merges=..., **options) -> Plan`.
    """

    def plan(graph, *, balanced=True, **options):
        slack = 2 * ROUNDINGS * unit_roundoff(coarsest(graph))  # a square has twice the u
        limit = squared_norm(graph) * (1 + slack)
        for merges in (False, True):
            found = planner(graph, merges=merges, **options)
            if not found:
                return found
            smaller = read(rewrite(graph, found))
            if balanced:
                balance_units(smaller)
            if squared_norm(smaller) <= limit:
                return found
        return Plan(found.guarantee, account=found.account)

    return plan


def data_plan(graph: Graph, *, inputs: Sequence | None, seed: int = 0, **_) -> Plan:
    """What is redundant on a data set: outputs stay, the norm does not rise, other inputs may see
    any change.

    Args:
        graph: the model's `Graph`.
        inputs: the data, one array per model input, (N, ...).
        seed: of the random measurements of large sites.

    Returns: a `Plan` with guarantee "data".

    Raises:
        InputError: there are no data.
    """
    if inputs is None:
        raise InputError(
            "The guarantee 'data' needs data: prune(model, guarantee='data', data=...)."
        )
    model = precise(graph.model)
    found = [site for site in sites(graph) if all(at.shape[1] == 1 for _, at in site.readers)]
    reach = float(np.abs(outputs(model, inputs)).max(initial=0.0))
    plan = Plan("data", reached={layer for site in found for layer, _ in site.names})
    reduced = {}
    scale, kept = np.ones(len(graph.pinned)), np.ones(len(graph.pinned), dtype=bool)
    values = values_on(graph, model, found, inputs) if found else []
    incoming = norms(graph)[0]
    for site, s in zip(reversed(found), reversed(values)):
        outgoing = np.concatenate(
            [_kernel(graph, reader, at, scale, kept) for reader, at in site.readers], axis=1
        )
        reduction = reduce_layer(s, incoming[site.units] ** 2, outgoing, seed=seed)
        weights = outgoing
        if reduction is not None:
            if not len(reduction.keep):  # a layer keeps one unit
                nothing = np.zeros((1, len(site.units)))
                reduction = reduction._replace(keep=np.zeros(1, dtype=int), mixing=nothing)
            _write(plan, site, reduction)
            weights = np.zeros_like(outgoing)
            weights[reduction.keep] = reduction.mixing @ outgoing
            kept[np.delete(site.units, reduction.keep)] = False
            reduced[site.names[0][0]] = {"by": reduction.kind, "dimension": reduction.span}
        sizes = incoming[site.units], np.linalg.norm(weights, axis=1)
        ratio = np.sqrt(
            np.divide(sizes[1], sizes[0], out=np.ones_like(sizes[0]), where=sizes[0] > 0)
        )
        scale[site.units] = np.where(ratio > 0, ratio, 1.0)
    plan.account = Account(points=len(inputs[0]), bound=DEVIATION * reach, reduced=reduced)
    return plan


def _kernel(graph, reader, positions, scale, kept):
    """What a reader makes of a site's units, (n, everything else): columns that are gone are 0,
    others rescaled."""
    kernel = np.asarray(graph.weight(reader.layer, reader.slot.index), dtype=np.float64)
    if reader.writes is not None:
        along = [-1 if axis == reader.writes.axis else 1 for axis in range(kernel.ndim)]
        kernel = kernel * (scale * kept)[reader.writes.units].reshape(along)
    return rows(kernel, reader.slot.axis, positions).reshape(len(positions), -1)


def _write(plan, site, reduction):
    keep, mixing = reduction.keep, reduction.mixing
    gone = np.setdiff1d(np.arange(len(site.units)), keep)
    for unit in gone.tolist():
        factors = zip(keep.tolist(), mixing[:, unit]) if len(keep) <= 8 else ()
        into = tuple((*site.names[k], float(f)) for k, f in factors if f)
        plan.removed.append(Removal(*site.names[unit], reason="redundant on the data", into=into))
    for reader, positions in site.readers:
        position = positions[:, 0].tolist()
        moves = plan.transfers.setdefault(reader.name, [])
        for row, target in enumerate(keep.tolist()):
            # the target is listed, or it would map to itself
            for source in np.union1d(np.flatnonzero(mixing[row]), target):
                moves.append((position[source], position[target], float(mixing[row, source])))
