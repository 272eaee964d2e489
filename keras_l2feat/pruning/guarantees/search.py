"""How many units of each site may go for a target: from the engine's common order to a plan.

Four fifths of the data are fitted on, the others only measured on. First the longest prefix of the
common order that keeps the target is searched, by bisection; then of each site by itself as many
more as keep it. What is found is rounded to what is stored and measured again, in float64.
"""

from typing import Any

import numpy as np

from keras_l2feat.errors import InputError
from keras_l2feat.progress import bar
from keras_l2feat.pruning.balance import balance_units
from keras_l2feat.pruning.channels.graph import Graph
from keras_l2feat.pruning.channels.operations import Source
from keras_l2feat.pruning.channels.read import read
from keras_l2feat.pruning.evaluate import outputs, precise
from keras_l2feat.pruning.guarantees.targets import Target, harm, measured
from keras_l2feat.pruning.plan import Plan
from keras_l2feat.pruning.rewrite import rewrite
from keras_l2feat.pruning.takeover.cuts import Cuts, first
from keras_l2feat.pruning.takeover.engine import Takeover
from keras_l2feat.pruning.takeover.walk import held

__all__ = ["Search", "plan_of"]

POINTS = 10_000  # of the data, spread evenly: kernels have fewer rows than these have places
MEMORY = 2 << 30  # bytes that activations may take
HELD_OUT = 5  # every fifth point is only measured on
CURVE = 16  # points of the trade-off
EXTENDED = 16  # sites, of which each is tried by itself in the end
STEP_BACK = 0.98  # of the removals are kept where the result, rounded and balanced, is off


def plan_of(engine: Takeover, gone: np.ndarray) -> Plan:
    """What stays takes over from what is gone, as a plan.

    Args:
        engine: a `Takeover`; gone: (units,) bool, units of its sites.
    """
    plan = engine.removals(gone)
    if not plan:
        return plan
    new, _ = engine.hand_over(gone)
    for layer, arrays in new.items():
        old = engine.weights[layer]
        plan.weights[layer] = {
            index: np.asarray(array).astype("float64" if b.dtype == np.float64 else "float32")
            for index, (array, b) in enumerate(zip(arrays, old))
            if array is not b
        }
    return plan


class Search:
    """The common order of all removals on some data, and how much of it the target allows."""

    def __init__(
        self, graph: Graph, inputs: Any, labels: Any, target: Target, per: str | None, quiet: bool
    ) -> None:
        self.graph, self.target, self.quiet = graph, target, quiet
        chosen = _spread(len(inputs[0]), min(POINTS, MEMORY // (4 * held(graph))))
        out = np.zeros(len(chosen), dtype=bool)
        if len(chosen) >= HELD_OUT:
            out[HELD_OUT - 1 :: HELD_OUT] = True
        fit, check = chosen[~out], chosen[out] if out.any() else chosen
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
        counts = {} if target.bounds else self.kind  # a bound is on outputs, whatever they mean
        price = per or (target.name if target.sized else "units")
        self.cuts = Cuts(self.engine, harm(**counts), price)
        self.done = {}

    def at(self, counts: tuple[int, ...]) -> dict:
        """What is measured after so many removals at each site."""
        if counts not in self.done:
            _, after = self.engine.hand_over(self.cuts.gone(counts))
            self.done[counts] = self._measured(self.before, after, self.parts)
        return self.done[counts]

    def _measured(self, before, after, parts):
        found = {}
        for name, (rows, points) in parts.items():
            labels = None if self.labels is None else self.labels[points]
            found[name] = measured(before[rows], after[rows], labels, **self.kind)
        return found

    def most(self, target: Target | None = None) -> tuple[int, ...]:
        """The most removals at each site that a target allows, by bisection; by default the one
        asked for."""
        target = target or self.target
        cuts = self.cuts
        if target.sized:
            return cuts.to_size(target.name, target.value * cuts.size(())[target.name])
        with bar(description="bounded", quiet=self.quiet, unit="trial") as progress:

            def misses(counts):
                progress.update()
                return not target.reached(self.at(counts))

            cut = first(lambda n: misses(cuts.counts(n)), 1, len(cuts.steps) + 1) - 1
            found = cuts.counts(cut)
            if len(cuts.orders) > EXTENDED:
                return found
            for site, order in enumerate(cuts.orders):
                more = lambda n, old=found, site=site: (*old[:site], n, *old[site + 1 :])  # noqa: E731
                fails = lambda n, more=more: misses(more(n))  # noqa: E731
                found = more(first(fails, found[site] + 1, len(order) + 1) - 1)
        return found

    def settle(self, counts: tuple[int, ...], balanced: bool) -> tuple[Plan, dict]:
        """The plan for so many removals at each site, or some fewer: rounded to what is stored,
        measured in float64; a bound is on all points.

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
            plan = plan_of(self.engine, self.cuts.gone(counts))
            model = rewrite(self.graph, plan)
            if balanced and plan:
                balance_units(read(model))
            found = self._measured(before, outputs(precise(model), given), parts)
            if self.target.sized or not plan or self.target.reached(found):
                return plan, found
            fewer = tuple(int(STEP_BACK * count) for count in counts)
            if target.bounds:
                target = target.stricter(found)
                fewer = self.most(target)
            counts = fewer if sum(fewer) < sum(counts) else tuple(max(n - 1, 0) for n in counts)

    def curve(self) -> list:
        """The trade-off: for some cuts, spread evenly over the size, the sizes and what is measured
        on points that the fit did not see."""
        chosen = np.unique(np.linspace(0, len(self.cuts.steps), CURVE).round().astype(int))
        points = [self.cuts.counts(int(cut)) for cut in chosen]
        return [{**self.cuts.size(counts), **self.at(counts)["held out"]} for counts in points]


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
