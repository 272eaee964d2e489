"""From data to smaller kernels: Gram matrices, the order in which units go, and the handover.

measure     one pass: for each tensor that is read, the Gram matrix of what its readers see
order       each site emptied greedily by the closed forms of `removal`; sites compared by how
            far the outputs move when a part of them is gone
hand_over   for a choice of units, one pass through the original and the changed network side
            by side: each reader is fitted to what it computed in the original, on what the
            already smaller network delivers
"""

from dataclasses import dataclass

import numpy as np

from keras_l2feat.pruning.evaluate import batches
from keras_l2feat.pruning.takeover.readings import readings, sites
from keras_l2feat.pruning.takeover.removal import Problem, fitted, removal_order
from keras_l2feat.pruning.takeover.sums import Sums, best_ridge
from keras_l2feat.pruning.takeover.walk import argument, held, walk

__all__ = ["Step", "Takeover"]

BATCH = 256
ROWS = 4  # places looked at, for each column: a fit on them is off by 1/ROWS of what it leaves
PLACES = 1 << 14  # and at least as many
RIDGE = 1e-10  # relative; only the order and the trials rest on it
DEPTHS = (1 / 8, 1 / 2, 7 / 8)  # parts of a site that are taken away on trial
TRIALS = 10**12  # operations that trials may take


@dataclass(frozen=True)
class Step:
    """Unit `index` of site `site` goes, at an estimated `score`: harm over what it saves."""

    site: int
    index: int
    score: float


class Takeover:
    """The engine for one network and one set of data.

    Args:
        graph: the model's `Graph`.
        fit: data that kernels are fitted on, one array per model input.
        check: data that are only measured on, or `None`. Where the model was built for a size of
            batches, both fill them up.

    Attributes:
        sites: list of `Site`.
        grams: reader name → Gram matrix.
    """

    def __init__(self, graph, fit, check=None):
        self.graph = graph
        given = list(batches(graph.model, fit, BATCH, held(graph)))
        given += list(batches(graph.model, check, BATCH, held(graph))) if check else []
        self.batches, self.counts = [part for part, _ in given], [count for _, count in given]
        self.points = len(fit[0])
        self.fitting = int(np.searchsorted(np.cumsum(self.counts), self.points)) + 1
        self.readings = readings(graph)
        self.sites = sites(graph, self.readings)
        self.weights = {
            name: [np.asarray(w) for w in layer.get_weights()]
            for name, layer in graph.layers.items()
            if layer.weights
        }
        self.layers = {}
        for reading in self.readings.values():
            self.layers.setdefault(reading.layer, []).append(reading)
        self._measure()

    # ---- what is read

    def _measure(self):
        """One pass, batch by batch: no more is held than one batch, and a matrix for each view."""
        wanted = {r.reader.name for site in self.sites for r in site.readings}
        first, sums, answers = {}, {}, []
        for reading in self.readings.values():
            if reading.reader.name in wanted:
                first.setdefault(self._view(reading), reading)
        looked = {reading.reader.name for reading in first.values()}
        seen = dict.fromkeys(looked, 0)

        def visit(name, args, kwargs):
            for reading in self.layers.get(name, ()) if nth < self.fitting else ():
                key = reading.reader.name
                if key in looked:
                    value = _array(argument(reading, args, kwargs).before[0], None)
                    rows, places = self._rows(reading, value[: self.counts[nth]], seen[key])
                    seen[key] += places
                    sums.setdefault(key, Sums(rows.shape[1])).add(rows)

        for nth, part in enumerate(self.batches):
            outs = walk(self.graph, [part], visit)
            answers.append(self._answers(outs, "before", self.counts[nth : nth + 1]))
        self.before = np.concatenate(answers)
        whole = {name: one.total for name, one in sums.items()}
        self.grams = {
            name: whole[first[self._view(self.readings[name])].reader.name] for name in wanted
        }

    def _view(self, reading):
        inputs = tuple(tensor.number for tensor in reading.reader.inputs)
        return inputs, reading.patch, reading.constant is not None

    def _rows(self, reading, value, first):
        """What a reading sees of a batch, and the number of its places; `first`: how many came
        before. As many places are looked at as the columns need."""
        axis = reading.reader.inputs[0].axis
        places = int(np.prod(value.shape)) // value.shape[axis] // max(len(value), 1)
        wanted = max(PLACES, ROWS * len(reading.units))
        share = min(1.0, wanted / max(places * self.points, 1))
        return reading.rows(value, axis, share, first)

    def _answers(self, twins, side, counts=None):
        """Outputs as one float64 row per point, (points, values)."""
        columns = []
        for twin in twins:
            parts = [_array(x)[:n] for x, n in zip(getattr(twin, side), counts or self.counts)]
            columns.append(np.concatenate([p.reshape(len(p), -1) for p in parts]))
        return np.concatenate(columns, axis=1)

    # ---- the order

    def problems(self, site, weights=None):
        """The least squares problems of a site's readers."""
        weights = self.weights if weights is None else weights
        found = []
        for reading in site.readings:
            gram = self.grams[reading.reader.name]
            kernel = reading.kernel(weights)
            scale = float(np.trace(kernel.T @ gram @ kernel)) or 1.0
            columns = np.stack([np.flatnonzero(reading.units == u) for u in site.units])
            weight = 1.0 / scale
            found.append(Problem(gram, kernel, columns, RIDGE, weight))
        return found

    def order(self, harm, price) -> list:
        """All steps, cheapest first. Where even a trial on one point for each site would take too
        long, sites are compared by the share of what their readers compute that is lost.

        Args:
            harm: `(before, after) -> float`, both (points, values): what a change of the outputs
                counts.
            price: (units,) what the removal of each unit saves.
        """
        steps = []
        trials = 2 * len(DEPTHS) * max(len(self.sites), 1) * max(self.graph.flops(), 1)
        probe = [[x[: TRIALS // trials] for x in self.batches[0]]]
        for number, site in enumerate(self.sites):
            indices, costs = removal_order(self.problems(site))
            harms = np.cumsum(costs)
            if len(probe[0][0]):
                harms = self._harms(site, indices, harms, harm, probe)
            saved = price[site.units[indices]]
            scores = np.maximum.accumulate(np.diff(harms, prepend=0.0) / np.maximum(saved, 1e-300))
            steps += [Step(number, int(i), float(s)) for i, s in zip(indices, scores)]
        return sorted(steps, key=lambda step: step.score)

    def _harms(self, site, indices, errors, harm, probe):
        """Harm after each removal of a site's order, from a few that are tried on some data."""
        tried, found = [], []
        for depth in DEPTHS:
            count = max(1, round(depth * len(indices)))
            if count not in tried:
                tried.append(count)
                found.append(self._trial(site, indices[:count], harm, probe))
        at = np.log(np.maximum(errors[np.array(tried) - 1], 1e-300))
        harms = np.log(np.maximum(np.maximum.accumulate(found), 1e-300))
        logs = np.log(np.maximum(errors, 1e-300))
        inside = np.interp(logs, at, harms)
        inside = np.where(logs < at[0], harms[0] + logs - at[0], inside)
        inside = np.where(logs > at[-1], harms[-1] + logs - at[-1], inside)
        return np.maximum.accumulate(np.exp(inside))

    def _trial(self, site, indices, harm, probe):
        """Harm if some units of one site go and its readers take over."""
        gone = np.zeros(len(self.graph.pinned), dtype=bool)
        gone[site.units[indices]] = True
        weights = {}
        for reading in site.readings:
            self._handed(reading, gone, weights)
        outs = walk(self.graph, probe, lambda name, *_: weights.get(name))
        return harm(self._answers(outs, "before"), self._answers(outs, "after"))

    def _handed(self, reading, gone, weights):
        """A reader's new kernel by its Gram matrix in the original alone, put into `weights`."""
        gram, kernel = self.grams[reading.reader.name], reading.kernel(self.weights)
        kept = np.append(~gone[reading.units], [True] * (len(gram) - len(reading.units)))
        self._open(reading, weights)
        new = np.zeros_like(kernel)
        new[kept] = fitted(gram[np.ix_(kept, kept)], gram[kept] @ kernel, kernel[kept], RIDGE)
        reading.store(weights, new)

    def _open(self, reading, weights):
        for layer in {reading.layer, *(reading.constant[:1] if reading.constant else ())}:
            weights.setdefault(layer, list(self.weights[layer]))

    # ---- the handover

    def hand_over(self, gone):
        """Take units away and let all readers take over, front to back.

        Args:
            gone: (units,) bool.

        Returns: layer → its new weights, rows of what is gone zero; and what the network then
            answers, (points, values) float64.
        """
        weights, early = {}, set()
        for reading in self.readings.values():  # read in several calls: cannot be fitted on the way
            if len(reading.reader.inputs) > 1 and gone[reading.units].any():
                self._handed(reading, gone, weights)
                early.add(reading.reader.name)

        def visit(name, args, kwargs):
            for reading in self.layers.get(name, ()):
                if reading.reader.name in early:
                    continue
                twin = argument(reading, args, kwargs)
                if len(reading.reader.inputs) == 1 and (twin.changed or gone[reading.units].any()):
                    self._fit(reading, twin, gone, weights)
            return weights.get(name)

        outs = walk(self.graph, self.batches, visit)
        return weights, self._answers(outs, "after")

    def _fit(self, reading, twin, gone, weights):
        """Fit a reader to what it computed in the original, on what it is now given."""
        self._open(reading, weights)
        kernel = reading.kernel(self.weights)
        kept = np.append(~gone[reading.units], [True] * (len(kernel) - len(reading.units)))
        halves = [Sums(int(kept.sum()), kernel.shape[1]) for _ in range(2)]
        first = 0
        for nth in range(self.fitting):
            both = [
                _array(side[nth], None)[: self.counts[nth]] for side in (twin.after, twin.before)
            ]
            for half in range(min(2, len(both[0]))):
                (rows, places), (old, _) = (self._rows(reading, v[half::2], first) for v in both)
                halves[half].add(rows[:, kept], old @ kernel)
                first += places
        start = kernel[kept]
        ridge = best_ridge(halves, start) if self.points > 1 else RIDGE
        total = halves[0] + halves[1]
        new = np.zeros_like(kernel)
        new[kept] = fitted(total.total, total.cross, start, ridge)
        reading.store(weights, new)


def _array(tensor, dtype=np.float64):
    import keras

    return np.asarray(keras.ops.convert_to_numpy(tensor), dtype=dtype)
