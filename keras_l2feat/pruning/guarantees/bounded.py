"""The plan within a tolerance, or down to a size: units go, and all that stay take over what they
did.

The engine is in `pruning.takeover`. Here: which data are fitted on and which are only measured on,
what is asked for, and the search for the longest prefix of the common order that keeps it.
"""

import numpy as np

from keras_l2feat.errors import InputError, bad_argument
from keras_l2feat.progress import bar
from keras_l2feat.pruning.balance import balance_units
from keras_l2feat.pruning.channels.graph import Source
from keras_l2feat.pruning.channels.read import read
from keras_l2feat.pruning.evaluate import outputs, precise
from keras_l2feat.pruning.guarantees.on_data import data_sha256
from keras_l2feat.pruning.guarantees.targets import Target, harm, measured
from keras_l2feat.pruning.guarantees.within_box import box_plan
from keras_l2feat.pruning.plan import Plan, Removal
from keras_l2feat.pruning.rewrite import rewrite
from keras_l2feat.pruning.takeover.engine import Takeover
from keras_l2feat.pruning.takeover.sizes import SIZES, Sizes

__all__ = ["bounded_plan", "cheapest_plan", "plan_of"]

POINTS = 10_000  # of the data, spread evenly: kernels have fewer rows than these have places
MEMORY = 4 << 30  # bytes that activations may take
HELD_OUT = 5  # every fifth point is only measured on
CURVE = 16  # points of the trade-off
STEP_BACK = 0.98  # of the removals are kept where the result, rounded and balanced, is off


def bounded_plan(
    graph,
    *,
    inputs=None,
    data=None,
    test=None,
    input_range=None,
    per=None,
    curve=False,
    balanced=True,
    quiet=True,
    **options,
):
    """Remove what is not needed for the target.

    Args:
        graph: the model's `Graph`.
        inputs: data, one array per model input. Four fifths of them are fitted on; the target is
            measured on all of them where it bounds outputs, and on the fifth that the fit did not
            see where it is about predictions, accuracy or loss.
        data: the `data.Dataset` that `inputs` are the training points of, for its labels.
        test: `(inputs, labels or None)`: measured in the end, for the record.
        input_range: `(low, high)`: without data, a tolerance is held by a bound in this box.
        per: what a removal is weighed against: "units", "flops" or "parameters"; by default what
            the target asks for, or units.
        curve: whether to measure the whole trade-off.
        balanced: measure the end as if units were balanced afterwards, which rounds once more.
        quiet: no progress bar.
        **options: one of `targets.TARGETS`.

    Returns: a `Plan` with guarantee "bounded". Its facts say what was asked for, and what was
        measured on which part of the data.

    Raises:
        InputError: no target, or one that needs data, labels or classes that are not there.
    """
    target = Target.of(options)
    if inputs is None:
        if input_range is None or target.name != "tolerance":
            raise InputError(
                "The guarantee 'bounded' needs data to measure on, "
                "or input_range=(low, high) and a tolerance for its bound."
            )
        return box_plan(graph, tolerance=target.value, input_range=input_range, quiet=quiet)
    if per not in (None, *SIZES):
        raise bad_argument("per", f"one of {', '.join(SIZES)}", per)
    search = _Search(graph, inputs, _labels(data, inputs), target, per, quiet)
    cut = search.longest()
    plan, parts = search.settle(cut, balanced)
    plan.facts = {
        "target": {target.name: target.value},
        "measured": parts,
        "only": "data",
        "points": len(inputs[0]),
        "data_sha256": data_sha256(inputs),
    }
    if target.bounds:
        plan.facts["tolerance"] = target.value * (
            1.0 if target.name == "tolerance" else float(np.abs(search.before).max())
        )
    if test is not None:
        small = outputs(precise(rewrite(graph, plan)), test[0])
        before = outputs(precise(graph.model), test[0])
        parts["test"] = measured(before, small, test[1], **search.kind)
    if curve:
        plan.facts["curve"] = search.curve()
    return plan


def cheapest_plan(graph, inputs, share) -> Plan:
    """The cheapest removals as measured on data, a share of all units that can go, and at least
    one.

    Args:
        graph: the model's `Graph`; inputs: data, one array per model input; share: in (0, 1].

    Returns: a `Plan` with guarantee "bounded", empty if nothing can go.
    """
    search = _Search(graph, inputs, None, Target("units", 0.0), None, True)
    if not search.steps:
        return Plan("bounded")
    return search.settle(max(1, int(share * len(search.steps))), False)[0]


def plan_of(engine, gone) -> Plan:
    """What stays takes over from what is gone, as a plan.

    Args:
        engine: a `Takeover`; gone: (units,) bool, units of its sites.
    """
    plan = Plan("bounded")
    if not gone.any():
        return plan
    for site in engine.sites:
        for index in np.flatnonzero(gone[site.units]).tolist():
            plan.removed.append(Removal(*site.names[index], "taken over"))
    new, _ = engine.hand_over(gone)
    for layer, arrays in new.items():
        old = engine.weights[layer]
        plan.weights[layer] = {
            index: np.asarray(array).astype("float64" if b.dtype == np.float64 else "float32")
            for index, (array, b) in enumerate(zip(arrays, old))
            if array is not b
        }
    return plan


class _Search:
    """The common order of all removals on some data, and how much of it the target allows."""

    def __init__(self, graph, inputs, labels, target, per, quiet):
        self.graph, self.target, self.quiet = graph, target, quiet
        chosen = _spread(len(inputs[0]), min(POINTS, MEMORY // _bytes(graph)))
        held = np.zeros(len(chosen), dtype=bool)
        if len(chosen) >= HELD_OUT:
            held[HELD_OUT - 1 :: HELD_OUT] = True
        fit, check = chosen[~held], chosen[held] if held.any() else chosen
        self.kind = _kind(graph, labels)
        if target.name == "agree" and graph.outputs[0].shape[1:] and not self.kind["classes"]:
            self.kind["classes"] = len(graph.outputs) == 1 and len(graph.outputs[0].shape) == 2
        _check(target, self.kind, labels)
        self.parts = {  # rows of what the engine answers, and the points that they are
            "fitted": (slice(len(fit)), fit),
            "held out": (slice(len(fit), None), check),
        }
        self.inputs, self.labels = inputs, labels
        self.engine = Takeover(graph, [x[fit] for x in inputs], [x[check] for x in inputs])
        self.before = self.engine.before
        self.sizes = Sizes(graph)
        saved = self.sizes.saved(per or (target.name if target.sized else "units"))
        counts = {} if target.bounds else self.kind  # a bound is on outputs, whatever they mean
        self.steps = self.engine.order(harm(**counts), saved)
        self.done = {}

    def gone(self, cut):
        """(units,) bool after the first `cut` steps."""
        gone = np.zeros(len(self.graph.pinned), dtype=bool)
        for step in self.steps[:cut]:
            gone[self.engine.sites[step.site].units[step.index]] = True
        return gone

    def at(self, cut):
        """What is measured after the first `cut` steps."""
        if cut not in self.done:
            _, after = self.engine.hand_over(self.gone(cut))
            self.done[cut] = self._measured(self.before, after, self.parts)
        return self.done[cut]

    def _measured(self, before, after, parts):
        found = {}
        for name, (rows, points) in parts.items():
            labels = None if self.labels is None else self.labels[points]
            found[name] = measured(before[rows], after[rows], labels, **self.kind)
        return found

    def longest(self, target=None):
        """The most steps that a target allows, by bisection; by default the one asked for."""
        target = target or self.target
        if self.target.sized:
            whole = self.sizes.of(~self.gone(0))[self.target.name]
            small = lambda cut: self.size(cut)[self.target.name] <= self.target.value * whole  # noqa: E731
            return _first(small, 0, len(self.steps))
        with bar(description="bounded", quiet=self.quiet, unit="trial") as progress:

            def misses(cut):
                progress.update()
                return not target.reached(self.at(cut))

            return _first(misses, 1, len(self.steps) + 1) - 1

    def size(self, cut):
        """The sizes after the first `cut` steps."""
        return self.sizes.of(~self.gone(cut))

    def settle(self, cut, balanced):
        """The plan for the first `cut` steps, or some fewer: rounded to what is stored, measured in
        float64; a bound is on all points.

        Returns: the `Plan`, and what is measured on each part of the data.
        """
        parts, target = self.parts, self.target
        chosen = np.concatenate([points for _, points in parts.values()])
        given = [x[chosen] for x in self.inputs]
        if target.bounds:
            given, fit = self.inputs, parts["fitted"][1]
            rest = np.setdiff1d(np.arange(len(given[0])), fit)
            rest = rest if len(rest) else fit
            parts = {"fitted": (fit, fit), "held out": (rest, rest)}
        before = outputs(precise(self.graph.model), given)
        while True:
            plan = plan_of(self.engine, self.gone(cut))
            model = rewrite(self.graph, plan)
            if balanced and plan:
                balance_units(read(model))
            found = self._measured(before, outputs(precise(model), given), parts)
            if self.target.sized or not plan or self.target.reached(found):
                return plan, found
            if target.bounds:
                target = target.stricter(found)
                cut = min(cut - 1, self.longest(target))
            else:
                cut = min(cut - 1, int(STEP_BACK * cut))

    def curve(self):
        """The trade-off: for some cuts, spread evenly over the size, the sizes and what is measured
        on points that the fit did not see."""
        cuts = np.unique(np.linspace(0, len(self.steps), CURVE).round().astype(int))
        return [{**self.size(int(cut)), **self.at(int(cut))["held out"]} for cut in cuts]


def _first(holds, low, high):
    """The first number in [low, high] for which something holds that goes on to hold; `high` if it
    never does before."""
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return low


def _labels(data, inputs):
    labels = getattr(data, "y_train", None)
    return labels if labels is not None and len(labels) == len(inputs[0]) else None


def _kind(graph, labels):
    """Whether outputs are of classes, and probabilities."""
    last = next((op for op in graph.ops if op.out is graph.outputs[0]), None)
    probabilities = isinstance(last, Source) and last.lipschitz is not None
    one = len(graph.outputs) == 1 and len(graph.outputs[0].shape) == 2
    classes = one and (probabilities or (labels is not None and np.ndim(labels) == 1))
    return {"classes": classes, "probabilities": probabilities}


def _check(target, kind, labels):
    if target.labelled and labels is None:
        raise InputError(f"Target {target.name!r} needs data with labels: a data.Dataset.")
    if target.name in ("agree", "keep_accuracy") and not kind["classes"]:
        raise InputError(f"Target {target.name!r} needs a model with one output of classes.")


def _spread(count, wanted):
    """At most `wanted` of `count` points, evenly."""
    return np.arange(count) if count <= wanted else np.linspace(0, count - 1, wanted).astype(int)


def _bytes(graph):
    """What the walk holds of one point, about: the two largest neighbours, of both networks."""
    sizes = [
        int(np.prod([size or 1 for size in op.out.shape[1:]], dtype=np.int64)) for op in graph.ops
    ]
    return max(1, 4 * 2 * 3 * max(sizes, default=1))
