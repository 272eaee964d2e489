"""From data to smaller kernels: Gram matrices, the order in which units go, and the handover.

measure     one pass: for each tensor that is read, the Gram matrix of what its readers see, and
            what they compute of it
order       each site emptied greedily by the closed forms of `removal`; sites compared by how
            far the outputs move when a part of them is gone
hand_over   for a choice of units, one pass through the changed network: each reader is fitted to
            what it computed in the original, which is kept, on what the already smaller network
            delivers
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from keras_l2feat.pruning.channels.graph import Graph
from keras_l2feat.pruning.channels.read import read
from keras_l2feat.pruning.channels.sites import Site
from keras_l2feat.pruning.evaluate import batches
from keras_l2feat.pruning.plan import Plan, Removal
from keras_l2feat.pruning.rewrite import rewrite, sliced
from keras_l2feat.pruning.takeover.readings import readings, sites
from keras_l2feat.pruning.takeover.removal import Problem, removal_order
from keras_l2feat.pruning.takeover.sums import Sums, best_ridge
from keras_l2feat.pruning.takeover.walk import argument, held, walk
from keras_l2feat.threads import blas_on_one_core

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
        grams: reader name → `Sums` of what it sees.
    """

    def __init__(self, graph: Graph, fit: Sequence, check: Sequence | None = None) -> None:
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

    @blas_on_one_core
    def _measure(self):
        """One pass, batch by batch: what is held is one batch, a matrix for each view, and what
        each reader computes of the rows that are looked at."""
        wanted = {r.reader.name for site in self.sites for r in site.readers}
        first, sums, answers, self.targets = {}, {}, [], {}
        kernels = {name: self._kernel(reading) for name, reading in self.readings.items()}
        for name in self.readings:
            if name in wanted:
                first.setdefault(self._view(self.readings[name]), name)

        def visit(name, args, kwargs):
            for reading in self.layers.get(name, ()) if nth < self.fitting else ():
                key = reading.reader.name
                for rows in self._rows(reading, argument(reading, args, kwargs).parts[0], nth):
                    if first.get(self._view(reading)) == key:
                        sums.setdefault(key, Sums(rows.shape[1])).add(rows)
                    self.targets.setdefault(key, []).append(rows @ kernels[key])

        for nth, part in enumerate(self.batches):
            outs = walk(self.graph, [part], visit)
            answers.append(self._answers(outs, self.counts[nth : nth + 1]))
        self.before = np.concatenate(answers)
        self.grams = {name: sums[first[self._view(self.readings[name])]] for name in wanted}

    def _kernel(self, reading):
        """As precise as it is stored, float32 at least."""
        stored = self.weights[reading.layer][reading.reader.slot.index].dtype
        return reading.kernel(self.weights).astype(np.result_type(stored, np.float32))

    def _view(self, reading):
        inputs = tuple(tensor.number for tensor in reading.reader.inputs)
        return inputs, reading.patch, reading.constant is not None

    def _rows(self, reading, value, nth):
        """What a reading sees of each half of a batch that is fitted on: of as many places as its
        columns need, the same ones every time."""
        value, axis = _array(value, None)[: self.counts[nth]], reading.reader.inputs[0].axis
        places = int(np.prod(value.shape)) // value.shape[axis] // len(value)
        columns = len(self.readings[reading.reader.name].units)  # in the original
        share = max(PLACES, ROWS * columns) / (places * self.points)
        first = places * sum(self.counts[:nth])
        for half in (value[::2], value[1::2]):
            yield reading.rows(half, axis, share, first)
            first += places * len(half)

    def _answers(self, outs, counts=None):
        """Outputs as one float64 row per point, (points, values)."""
        columns = []
        for out in outs:
            parts = [_array(x)[:n] for x, n in zip(out.parts, counts or self.counts)]
            columns.append(np.concatenate([p.reshape(len(p), -1) for p in parts]))
        return np.concatenate(columns, axis=1)

    # ---- the order

    def problems(self, site: Site) -> list[Problem]:
        """The least squares problems of a site's readers."""
        found = []
        for reading in site.readers:
            gram = self.grams[reading.reader.name]
            kernel = reading.kernel(self.weights)
            scale = sum(float(np.vdot(z, z)) for z in self.targets[reading.reader.name]) or 1.0
            columns = np.stack([np.flatnonzero(reading.units == u) for u in site.units])
            weight = 1.0 / scale
            seen = gram.rows[0] if gram.few else gram.total
            found.append(Problem(seen, kernel, columns, RIDGE, weight))
        return found

    @blas_on_one_core
    def order(self, harm: Callable, price: np.ndarray) -> list[Step]:
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
        before = self._tried({}, probe) if len(probe[0][0]) else None
        for number, site in enumerate(self.sites):
            indices, costs = removal_order(self.problems(site))
            harms = np.cumsum(costs)
            if before is not None:
                change = lambda after: harm(before, after)  # noqa: E731
                harms = self._harms(site, indices, harms, change, probe)
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
        for reading in site.readers:
            self._handed(reading, gone, weights)
        return harm(self._tried(weights, probe))

    def _tried(self, weights, probe):
        """What the network answers with some layers' weights."""
        return self._answers(walk(self.graph, probe, lambda name, *_: weights.get(name)))

    def _handed(self, reading, gone, weights):
        """A reader's new kernel by its Gram matrix in the original alone, put into `weights`."""
        gram, kernel = self.grams[reading.reader.name], reading.kernel(self.weights)
        kept = np.append(~gone[reading.units], [True] * (len(kernel) - len(reading.units)))
        self._open(reading, weights)
        new = np.zeros_like(kernel)
        new[kept] = gram.without(kept, kernel, RIDGE)
        reading.store(weights, new)

    def _open(self, reading, weights):
        for layer in {reading.layer, *(reading.constant[:1] if reading.constant else ())}:
            weights.setdefault(layer, list(self.weights[layer]))

    # ---- the handover

    @blas_on_one_core
    def hand_over(self, gone: np.ndarray) -> tuple[dict, np.ndarray]:
        """Take units away and let all readers take over, front to back.

        Args:
            gone: (units,) bool.

        Returns: layer → its new weights, rows of what is gone zero; and what the network then
            answers, (points, values) float64.
        """
        weights = {}
        for reading in self.readings.values():  # read in several calls: cannot be fitted on the way
            if len(reading.reader.inputs) > 1 and gone[reading.units].any():
                self._handed(reading, gone, weights)

        def visit(name, args, kwargs):
            for reading in self.layers.get(name, ()):
                given = argument(reading, args, kwargs)
                if len(reading.reader.inputs) == 1 and (given.changed or gone[reading.units].any()):
                    rows = partial(self._rows, seen[reading.reader.name])
                    self._fit(reading, map(rows, given.parts, range(self.fitting)), gone, weights)
            return sliced(self.graph, name, weights[name], ~gone) if name in weights else None

        small = read(rewrite(self.graph, self.removals(gone)))
        seen = readings(small)
        return weights, self._answers(walk(small, self.batches, visit))

    def removals(self, gone: np.ndarray) -> Plan:
        """The `Plan` that takes units away, and changes nothing else."""
        plan = Plan("bounded")
        for site in self.sites:
            for index in np.flatnonzero(gone[site.units]).tolist():
                layer, unit = site.names[index]
                plan.removed.append(Removal(layer, unit, "taken over"))
        return plan

    def _fit(self, reading, given, gone, weights):
        """Fit a reader to what it computed in the original, on what it is now given: rows for each
        half of each batch."""
        self._open(reading, weights)
        kernel, targets = reading.kernel(self.weights), iter(self.targets[reading.reader.name])
        kept = np.append(~gone[reading.units], [True] * (len(kernel) - len(reading.units)))
        wanted, written = np.ones(kernel.shape[1], dtype=bool), reading.reader.writes
        if written is not None and len(written.units) == len(wanted):
            wanted = ~gone[written.units]
        halves = [Sums(int(kept.sum()), int(wanted.sum())) for _ in range(2)]
        for both in given:
            for half, rows in zip(halves, both):
                half.add(rows, next(targets)[:, wanted])
        start = kernel[np.ix_(kept, wanted)]
        ridge = best_ridge(halves, start) if self.points > 1 else RIDGE
        total = halves[0] + halves[1]
        kernel[~kept] = 0.0
        kernel[np.ix_(kept, wanted)] = total.fit(start, ridge)
        reading.store(weights, kernel)


def _array(tensor, dtype=np.float64):
    import keras

    return np.asarray(keras.ops.convert_to_numpy(tensor), dtype=dtype)
