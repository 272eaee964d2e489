"""The plan within a tolerance: negligible units and near-aligned merges, cheapest first.

A unit p goes for nothing (or a constant), or for t times another unit q. What that costs is what
its readers see of the difference, ‖v_p‖ · ‖σ(z_p) - t σ(z_q)‖: measured on the data, or bounded on
a box, where for homogeneous σ

    |σ(z_p) - t σ(z_q)| ≤ L |z_p - t z_q|,  L the steeper slope of σ, and z_p - t z_q linear in what
    the layer reads.

Each site is emptied greedily in that order, v_q growing as it takes others over. Sites are compared
by how far the outputs move for a cost of 1 there, tried on a few removals of each. Then the longest
prefix of the common order that keeps max |Δoutput| ≤ T is searched by bisection.
[docs/theory.md §6.4]
"""

from dataclasses import dataclass

import numpy as np

from keras_l2feat.errors import InputError, bad_argument
from keras_l2feat.progress import bar
from keras_l2feat.pruning.balance import balance
from keras_l2feat.pruning.bounds import a_priori
from keras_l2feat.pruning.channels.graph import Affine, Linear, Map, Pass
from keras_l2feat.pruning.channels.read import read
from keras_l2feat.pruning.evaluate import outputs, precise
from keras_l2feat.pruning.guarantees.on_data import data_sha256, sites, values_on
from keras_l2feat.pruning.plan import BIAS, Plan, Removal
from keras_l2feat.pruning.rewrite import rewrite
from keras_l2feat.pruning.values.intervals import box_of_inputs, boxes, slopes

__all__ = ["bounded_plan", "cheapest_plan"]

PROBE = 8  # a site's gain is tried on this part of its units


@dataclass
class Step:
    """Unit `gone` of site `site` goes: replaced by `factor` times unit `into` (-1: by nothing) plus
    `constant`."""

    site: int
    gone: int
    into: int
    factor: float
    constant: float
    cost: float


def bounded_plan(
    graph, *, tolerance=None, inputs=None, input_range=None, balanced=True, quiet=True, **_
):
    """Remove what changes no output by more than a tolerance.

    Args:
        graph: the model's `Graph`.
        tolerance: T > 0, the largest |Δ| of any output.
        inputs: data, one array per model input: T is held as measured on them, and the bound is
            reported beside it.
        input_range: `(low, high)`: without data, T is held by the bound for inputs in this box.
            With data, the box of the reported bound; by default that of the data.
        balanced: measure as if units were balanced afterwards, which rounds once more.
        quiet: no progress bar.

    Returns: a `Plan` with guarantee "bounded".

    Raises:
        InputError: T is not positive, or neither data nor a range is given.
    """
    if not (isinstance(tolerance, (int, float)) and 0 < tolerance < np.inf):
        raise bad_argument("tolerance", "a positive number", tolerance)
    if inputs is None and input_range is None:
        raise InputError(
            "The guarantee 'bounded' needs data to measure on, or input_range=(low, high) for its bound."
        )
    box = _box(graph, inputs, input_range)
    found = sites(graph, graph.pinned)
    local = [_Local(graph, site, box[1]) for site in found]
    judge = _Bound(graph, box, local) if inputs is None else _Measured(graph, inputs, balanced)
    errors = (
        _measured_errors(graph, found, inputs)
        if inputs is not None
        else [each.pairs() for each in local]
    )
    steps = _common_order(
        found, [_order(graph, n, s, e) for n, (s, e) in enumerate(zip(found, errors))], judge
    )
    with bar(
        total=int(np.log2(len(steps) + 1)) + 1, description="bounded", quiet=quiet, unit="trial"
    ) as progress:
        fitting, failing = 0, len(steps) + 1
        while failing - fitting > 1:
            middle = (fitting + failing) // 2
            fits = judge(_plan(found, steps[:middle])) <= tolerance
            fitting, failing = (middle, failing) if fits else (fitting, middle)
            progress.update()
    plan = _plan(found, steps[:fitting])
    bound = _Bound(graph, box, local)(plan) if plan else 0.0
    plan.facts = {
        "tolerance": float(tolerance),
        "a_priori_bound": bound if np.isfinite(bound) else None,
        "a_priori_domain": [[float(np.min(b.low)), float(np.max(b.high))] for b in box[0]],
    }
    if inputs is None:
        low, high = input_range
        plan.facts.update(
            low=np.asarray(low, float).tolist(), high=np.asarray(high, float).tolist()
        )
    else:
        plan.facts.update(only="data", points=len(inputs[0]), data_sha256=data_sha256(inputs))
    return plan


def cheapest_plan(graph, inputs, share) -> Plan:
    """The cheapest removals as measured on data, a share of all units that can go, and at least
    one.

    Args:
        graph: the model's `Graph`; inputs: data, one array per model input; share: in (0, 1].

    Returns: a `Plan` with guarantee "bounded", empty if nothing can go.
    """
    found = sites(graph, graph.pinned)
    if not found:
        return Plan("bounded")
    orders = [
        _order(graph, n, s, e)
        for n, (s, e) in enumerate(zip(found, _measured_errors(graph, found, inputs)))
    ]
    steps = _common_order(found, orders, _Measured(graph, inputs, False))
    return _plan(found, steps[: max(1, int(share * len(steps)))])


def _box(graph, inputs, input_range):
    """The boxes of the inputs, and of all tensors."""
    if input_range is not None:
        given = box_of_inputs(graph, *input_range)
    else:
        given = [
            box_of_inputs(graph, np.min(x, axis=0), np.max(x, axis=0), only=k)[0]
            for k, x in enumerate(inputs)
        ]
    return given, boxes(graph, given)


# ---- what a plan does to the outputs


class _Measured:
    """max |Δoutput| on data, in float64, of the model that comes out."""

    def __init__(self, graph, inputs, balanced):
        self.graph, self.inputs, self.balanced = graph, inputs, balanced
        self.before = outputs(precise(graph.model), inputs)

    def __call__(self, plan):
        model = rewrite(self.graph, plan)
        if self.balanced:
            balance(read(model))
        return float(np.abs(outputs(precise(model), self.inputs) - self.before).max(initial=0.0))


class _Bound:
    """A bound on |Δoutput| for inputs in a box: errors where units are replaced, carried on by the
    layers' norms."""

    def __init__(self, graph, box, local):
        self.graph, self.local = graph, {id(each.site): each for each in local}
        self.sizes = [
            [max(np.abs(b.low).max(initial=0.0), np.abs(b.high).max(initial=0.0)) for b in box[0]]
        ]
        self.start = {
            name: (each.site, index) for each in local for index, name in enumerate(each.site.names)
        }

    def __call__(self, plan):
        replaced = {}
        for removal in plan.removed:
            site, p = self.start[removal.layer, removal.unit]
            into = [(self.start[layer, unit][1], factor) for layer, unit, factor in removal.into]
            error = self.local[id(site)].error(p, into, removal.constant)
            for reader, positions in site.readers:
                for nth, position in enumerate(positions[p].tolist()):
                    sources = [(int(positions[q, nth]), factor) for q, factor in into]
                    replaced.setdefault(reader.name, []).append((position, sources, error))

        def seen(op, error):
            moves = replaced.get(getattr(op, "reader", None))
            if not moves:
                return error
            new = error.copy()
            for position, sources, fresh in moves:
                new[position] = fresh + sum(abs(f) * error[q] for q, f in sources)
            return new

        return a_priori(self.graph, self.sizes, seen=seen)[0]


class _Local:
    """How far a unit may be from t times another, for inputs in the box."""

    def __init__(self, graph, site, found):
        self.site = site
        tensor = site.readers[0][0].inputs[0]
        self.box = _of_units(found, site)
        self.linear = None
        ops = graph.ops
        while isinstance(ops[tensor.number], Pass):
            tensor = ops[tensor.number].inputs[0]
        op = ops[tensor.number]
        if (
            isinstance(op, Map)
            and len(op.out.units) == len(site.units)
            and len(site.readers[0][0].inputs) == 1
        ):
            both = slopes(op, len(site.units))
            lines = _lines(ops, op.inputs[0], found) if both is not None else None
            if lines is not None and (op.out.units == site.units).all():
                self.steep = float(np.max(np.abs(both)))
                self.linear = lines
        self.folds = all(reader.bias is not None for reader, _ in site.readers)

    def error(self, p, into, constant):
        """sup |x_p - Σ t x_q - constant| over the box; `into`: at most one (q, t)."""
        low, high = self.box
        least, most = low[p] - constant, high[p] - constant
        for q, t in into:
            ends = sorted((t * low[q], t * high[q]))
            least, most = least - ends[1], most - ends[0]
        bound = max(abs(least), abs(most))
        if self.linear is not None and len(into) == 1 and into[0][1] > 0:
            (q, t), (rows, shift, center, radius) = into[0], self.linear
            gap = rows[p] - t * rows[q]
            near = self.steep * (
                abs(gap @ center + shift[p] - t * shift[q]) + np.abs(gap) @ radius
            ) + abs(constant)
            bound = min(bound, near)
        return float(bound)

    def pairs(self):
        """Errors (n, n) and factors (n, n) of the best pairs, errors alone (n,) and constants
        (n,)."""
        n = len(self.site.units)
        low, high = self.box
        constant = (low + high) / 2 if self.folds else np.zeros(n)
        alone = np.maximum(np.abs(low - constant), np.abs(high - constant))
        error, factor = np.full((n, n), np.inf), np.zeros((n, n))
        if self.linear is not None:
            rows, shift, center, radius = self.linear
            scaled = np.column_stack([rows * np.maximum(radius, 1e-300), rows @ center + shift])
            gram = scaled @ scaled.T
            size = np.diag(gram)
            factor = np.divide(gram, size, out=np.zeros_like(gram), where=size > 0)
            gap = size[:, None] - factor * gram
            nearest = np.argsort(
                np.where((factor > 0) & ~np.eye(n, dtype=bool), gap, np.inf), axis=1
            )[:, :8]
            for p in range(n):
                for q in nearest[p]:
                    if factor[p, q] > 0 and q != p:
                        error[p, q] = self.error(p, [(q, factor[p, q])], 0.0)
        return error, factor, alone, constant


def _of_units(found, site):
    """Bounds of each unit over all that reads it."""
    lows, highs = [], []
    for reader, positions in site.readers:
        for tensor in reader.inputs:
            box = found[tensor.number]
            lows.append(box.low[positions].min(axis=1))
            highs.append(box.high[positions].max(axis=1))
    return np.min(lows, axis=0), np.max(highs, axis=0)


def _lines(ops, tensor, found):
    """A tensor's channels as linear functions of a box: rows (n, m), shift (n,), center (m,),
    radius (m,)."""
    scale, shift = 1.0, 0.0
    while isinstance(ops[tensor.number], Affine):
        op = ops[tensor.number]
        own, moved, _ = op.coefficients()
        scale, shift = scale * own, shift + scale * moved
        tensor = op.inputs[0]
    op = ops[tensor.number]
    if not isinstance(op, Linear) or op.reader is None:
        return None
    kernel, box = op.kernel(), found[op.inputs[0].number]
    low, high = (
        (box.low, box.high) if op.folds else (np.minimum(box.low, 0), np.maximum(box.high, 0))
    )
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        return None
    taps, inputs, outputs_ = kernel.shape
    bias = np.zeros(outputs_) if op.bias is None else op.bias()
    rows = kernel.reshape(taps * inputs, outputs_).T * np.reshape(scale, (-1, 1))
    return (
        rows,
        scale * bias + shift,
        np.tile((low + high) / 2, taps),
        np.tile((high - low) / 2, taps),
    )


# ---- the order


def _measured_errors(graph, found, inputs):
    """For each site: distances (n, n) and factors (n, n) of pairs, distances alone (n,), constants
    (n,), on data."""
    results = []
    for site, values in zip(
        found, values_on(graph, precise(graph.model), found, inputs, ones=True)
    ):
        columns, ones = values[:, :-1], values[:, -1]
        gram, total = columns.T @ columns, columns.T @ ones
        count = float(ones @ ones)
        size, mean = np.diag(gram), total / count
        factor = np.divide(gram, size, out=np.zeros_like(gram), where=size > 0)
        near = np.sqrt(np.maximum(size[:, None] - factor * gram, 0.0))
        near[(factor <= 0) | np.eye(len(size), dtype=bool)] = np.inf
        foldable = all(reader.bias is not None for reader, _ in site.readers)
        constant = mean if foldable else np.zeros_like(mean)
        alone = np.linalg.norm(columns - np.outer(ones, constant), axis=0)
        results.append((near / np.sqrt(count), factor, alone / np.sqrt(count), constant))
    return results


def _order(graph, number, site, errors):
    """Empty a site greedily: list of `Step`, one unit is left."""
    near, factor, alone, constant = errors
    kernels = []
    for reader, positions in site.readers:
        kernel = np.asarray(graph.weight(reader.layer, reader.slot.index), dtype=np.float64)
        kernels.append(
            np.moveaxis(kernel, reader.slot.axis, 0)[positions].reshape(len(positions), -1)
        )
    outgoing = np.concatenate(kernels, axis=1)
    near, steps, highest = near.copy(), [], 0.0
    alive = np.ones(len(outgoing), dtype=bool)
    sizes = np.linalg.norm(outgoing, axis=1)
    partner = near.argmin(axis=1)
    for _ in range(len(outgoing) - 1):
        best = np.minimum(near[np.arange(len(near)), partner], alone)
        cost = np.where(alive, best * sizes, np.inf)
        p = int(cost.argmin())
        q = int(partner[p]) if near[p, partner[p]] < alone[p] else -1
        highest = max(highest, float(cost[p]))  # a later step is not cheaper than what it rests on
        t, c = (float(factor[p, q]), 0.0) if q >= 0 else (0.0, float(constant[p]))
        steps.append(Step(number, p, q, t, c, highest))
        alive[p] = False
        near[:, p] = np.inf
        if q >= 0:
            outgoing[q] += t * outgoing[p]
            sizes[q] = np.linalg.norm(outgoing[q])
        lost = np.flatnonzero(partner == p)
        partner[lost] = near[lost].argmin(axis=1)
    return steps


def _common_order(found, orders, judge):
    """All sites' steps, by cost times the site's gain."""
    gains = []
    for steps in orders:
        few = steps[: max(1, len(steps) // PROBE)]
        moved = judge(_plan(found, few)) if few else 0.0
        cost = sum(step.cost for step in few)
        gains.append(moved / cost if cost > 0 and np.isfinite(moved) else 1.0)
    ranked = [(gain * step.cost, step) for gain, steps in zip(gains, orders) for step in steps]
    return [step for _, step in sorted(ranked, key=lambda pair: pair[0])]


def _plan(found, steps):
    """Carry out some steps: what was merged into a unit that goes later goes with it."""
    plan = Plan("bounded")
    at = {(step.site, step.gone): step for step in steps}
    for step in steps:
        q, factor, constant = step.into, step.factor, step.constant
        while q >= 0 and (step.site, q) in at:
            follow = at[step.site, q]
            constant += factor * follow.constant
            q, factor = follow.into, factor * follow.factor
        site = found[step.site]
        into = ((*site.names[q], factor),) if q >= 0 else ()
        plan.removed.append(
            Removal(
                *site.names[step.gone], "near-aligned" if into else "negligible", into, constant
            )
        )
        for reader, positions in site.readers:
            moves = plan.transfers.setdefault(reader.name, [])
            for nth, position in enumerate(positions[step.gone].tolist()):
                if q >= 0:
                    moves.append((position, int(positions[q, nth]), factor))
                if constant:
                    moves.append((position, BIAS, constant))
    return plan
