"""Is a pruned chain of dense layers the original, for every input, up to roundings of its weights?

    python check_chain.py ORIGINAL.keras PRUNED.keras CERTIFICATE.json

This says what `l2feat check --exact` says, in Python's integers: weights are integers times powers
of two. docs/certificate.md has the claim and its proof: each channel of the original is shown to be
a row, a sum of factors times channels of the pruned model, plus a constant (in float64). Layer by
layer, weights W (original) and W' (pruned) satisfy W M_in = M_out W', each entry up to LIMIT
roundoffs of |W| |M_in| + |M_out| |W'|. The certificate only says which rows to try.

Exit code: 0 equal, 1 not shown to be equal, 2 not a question that this program can answer.
"""

import io
import json
import math
import sys
import zipfile
from collections import namedtuple
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import h5py
import numpy as np

LIMIT = 16  # roundoffs by which an entry may differ: merging, storing and balancing explain 11
AMPLIFIED = 256  # roundoffs by which merged units may move a sum, of what it adds up afterwards
SETTINGS = "name", "batch_shape", "activation", "use_bias"  # what a function depends on
SNAP = 4  # roundoffs from ±1 within which a factor is ±1
POSITIVE, ODD = {"relu"}, {"tanh"}  # f(t z) = t f(z): for t > 0, for t = ±1
FUNCTIONS = {  # of constants; in front of any other activation nothing may have changed
    "linear": lambda z: z,
    "relu": lambda z: max(z, 0.0),
    "tanh": math.tanh,
    "sigmoid": lambda z: 0.5 * (1 + math.tanh(z / 2)),
    "gelu": lambda z: z * 0.5 * (1 + math.erf(z / math.sqrt(2))),
}
Layer = namedtuple("Layer", "name activation kernel bias")  # kernel: (inputs, units)


class Unequal(Exception):
    """A reason why the models are not shown to be equal."""


class Exact:
    """ints · 2^exponent: an object array of Python's integers, and one exponent."""

    def __init__(self, ints, exponent):
        self.ints, self.exponent = ints, exponent

    @classmethod
    def of(cls, array):
        mantissa, exponent = np.frexp(np.asarray(array, dtype=np.float64))
        ints = (mantissa * 2.0**53).astype(np.int64).astype(object)
        least = int(exponent.min(initial=0))
        return cls(np.asarray(ints << (exponent - least).astype(object), object), least - 53)

    def __getitem__(self, key):
        return Exact(self.ints[key], self.exponent)

    def __mul__(self, number):
        number = Fraction(number)
        places = number.denominator.bit_length() - 1
        return Exact(self.ints * number.numerator, self.exponent - places)

    def __add__(self, other):
        least = min(self.exponent, other.exponent)
        return Exact(self.aligned(least) + other.aligned(least), least)

    def aligned(self, exponent):
        return self.ints << (self.exponent - exponent)

    def floats(self):
        return np.array([float(part * Fraction(2) ** self.exponent) for part in self.ints.tolist()])


@dataclass(frozen=True)
class Row:
    """The sum of entries[c] times channel c of the pruned model, or behind those a lost one."""

    entries: dict
    constant: float = 0.0
    error: float = 0.0  # roundoffs that it is off by

    def settled(self, fixed):
        """The same where some pruned channels are known to be constants."""
        constant = self.constant + sum(f * fixed.get(c, 0.0) for c, f in self.entries.items())
        return Row({c: f for c, f in self.entries.items() if c not in fixed}, constant, self.error)


def product(layer, rows, height):
    """W M: values and sizes of terms, both (height + 1, units); the last row is of the constant."""
    entries = [(p, c, f) for p, row in enumerate(rows) for c, f in row.entries.items()]
    entries += [(p, height, row.constant) for p, row in enumerate(rows) if row.constant]
    p, c = (np.array([entry[k] for entry in entries], dtype=int) for k in (0, 1))
    weight, factor = Exact.of(layer.kernel[p]), Exact.of([f for *_, f in entries])
    weighted, exponent = weight.ints * factor.ints[:, None], weight.exponent + factor.exponent
    both = []
    for size in (lambda array: array, np.abs):
        total, bias = (np.zeros((height + 1, len(layer.bias)), dtype=t) for t in (object, float))
        np.add.at(total, c, size(weighted))
        bias[height] = size(layer.bias)
        both.append(Exact(total, exponent) + Exact.of(bias))
    return both


class Check:
    """One walk over two chains: rows of the original's channels and which of them are kept; the
    pruned model's width, constants and sizes; changes so far, (roundoffs, layer, unit)."""

    def __init__(self, original, pruned, maps):
        self.layers, self.maps, self.changes = list(zip(original, pruned)), maps, []
        self.width = len(original[0].kernel)
        self.kept, self.sizes = {p: p for p in range(self.width)}, np.ones(self.width)
        self.rows, self.fixed = [Row({p: 1.0}) for p in self.kept], {}

    def run(self):
        """The largest change of a layer; raises Unequal unless the models are shown to be equal."""
        for layer, other in self.layers:
            self.compute(layer, other)
            self.activate(layer)
        self.same(layer)
        return max(self.changes)

    def same(self, layer):
        """Each channel is the pruned one of its number."""
        for p, row in enumerate(self.rows):
            same = row.constant == (0.0 if row.entries == {p: 1.0} else self.fixed.get(p))
            if self.width != len(self.rows) or not same or row.entries not in ({}, {p: 1.0}):
                raise Unequal(f"layer {layer.name!r}, unit {p}: it is not the same")

    def compute(self, layer, other):
        """Rows of what a layer writes: of kept units as is claimed, the others are looked for."""
        info = np.finfo(layer.kernel.dtype)
        self.unit, self.tiny = float(info.eps) / 2, 2 * Fraction(float(info.smallest_subnormal))
        units, gone = range(layer.kernel.shape[1]), set(self.maps["removed"].get(layer.name, []))
        kept = {p: nth for nth, p in enumerate(p for p in units if p not in gone)}
        shapes = (len(self.rows), len(units)), (self.width, len(kept))
        if not gone <= set(units) or (layer.kernel.shape, other.kernel.shape) != shapes:
            raise Unequal(f"layer {layer.name!r} has another number of units")
        told = self.maps["scale"].get(layer.name, [])
        scale = dict.fromkeys(kept, 1.0) | {p: 1.0 / factor for p, factor in told}
        if not all(0 < factor < math.inf for factor in scale.values()):
            raise Unequal("a unit is scaled by a number that is not positive")
        sizes = np.abs(other.kernel.astype(np.float64)).T @ self.sizes
        self.amplification(layer, sizes, kept, scale)
        height = 1 + max([self.width, *(c for row in self.rows for c in row.entries)])
        ours = product(layer, self.rows, height)
        theirs = [Row({q: 1.0}).settled(self.fixed) for q in range(self.width)]
        theirs = product(other, theirs, height)
        found, lost, told = {}, [], self.maps.get("constants", {}).get(layer.name, [])
        self.constants = {p: [*constants, 0.0] for p, *constants in told}
        sources = {p: choices for p, *choices in self.maps["sources"].get(layer.name, [])}
        for p in units:
            found[p] = self.row(ours, theirs, p, {kept[p]: scale[p]} if p in kept else {})
            if p in kept:
                if not found[p] or found[p].constant:
                    raise Unequal(f"layer {layer.name!r}, unit {p}: its weights are off")
            for choice in sources.get(p, []):
                near = [(q, f) for q, f, *at in choice if at in ([], [layer.name]) and q in kept]
                if not found[p] and 0 < len(near) == len(choice):
                    factors = {kept[q]: f * scale[q] for q, f in near}
                    found[p] = self.expressed(ours, theirs, p, factors)
            if not found[p]:
                found[p] = self.among_lost(ours, p, lost, len(kept))
        errors = [(found[p].error, layer.name, p) for p in kept]
        self.changes.append(max(errors, key=lambda change: change[0]))
        moved = theirs[1].ints[:-1].any(axis=0)
        self.fixed = {q: theirs[0][-1:, q].floats()[0] for q in np.flatnonzero(~moved).tolist()}
        self.rows = [found[p].settled(self.fixed) for p in units]
        self.width, self.kept, self.sizes = len(kept), kept, sizes / max(sizes.max(), 1e-300)

    def row(self, ours, theirs, p, factors):
        """Unit p as a sum of factors times pruned units, and a constant, if the weights agree."""
        rest, terms = (part[:, p] for part in ours)
        for column, factor in factors.items():
            rest = rest + theirs[0][:, column] * -factor
            terms = terms + theirs[1][:, column] * abs(factor)
        least = min(rest.exponent, terms.exponent)
        tiny, sizes = self.tiny / Fraction(2) ** least, terms.aligned(least)[:-1]
        tiny *= tiny <= Fraction(LIMIT * self.unit) * max(sizes)  # storing tiny numbers is no error
        off = (abs(r) / t for r, t in zip(rest.aligned(least), sizes) if abs(r) > tiny)
        error = max(off, default=0.0) / self.unit
        constant, size = (float(part[-1:].floats()[0]) for part in (rest, terms))
        if len(factors) > 1:  # where terms cancel, the unit's own row is what counts
            own = [ours[0][:-1, p], *(theirs[0][:-1, column] for column in factors)]
            own = np.abs([part.floats() for part in own])
            scale = own.max(axis=0) + (own == 0).all(axis=0)
            share, part = ((abs(row) / scale).max() for row in (rest.floats()[:-1], own[0]))
            error = error if share <= AMPLIFIED * self.unit * part else math.inf
            size = max(float(ours[1][-1:, p].floats()[0]), 1e-300)
        for goal in self.constants.get(p, [0.0]):  # a constant is as told, up to roundings
            away = abs(constant - goal) / size / self.unit if constant != goal else 0.0
            if away <= LIMIT:
                return Row(factors, goal, max(error, away)) if error <= LIMIT else None
        return Row(factors, constant, error) if error <= LIMIT else None

    def expressed(self, ours, theirs, p, told):
        """The row of a unit that is gone, if the weights agree: as told, or by least squares."""
        if all(told.values()) and (row := self.row(ours, theirs, p, told)):
            return row
        target = ours[0][:-1, p].floats()
        basis = np.stack([theirs[0][:-1, c].floats() for c in told], axis=1)
        size = np.abs(basis).max(axis=1) + np.abs(target)
        norm = 1.0 / np.where(size > 0, size, 1.0)
        found = np.linalg.lstsq(basis * norm[:, None], target * norm, rcond=None)[0].tolist()
        return self.row(ours, theirs, p, dict(zip(told, found))) if all(found) else None

    def among_lost(self, ours, p, lost, width):
        """A unit that nothing kept expresses is its own, or a multiple of another such one."""
        for q in lost:
            row = self.expressed(ours, ours, p, {q: 0.0})
            if row and not row.constant:
                return Row({width + q: row.entries[q]}, error=row.error)
        lost.append(p)
        return Row({width + p: 1.0})

    def amplification(self, layer, sizes, kept, scale):
        """What was merged may not move a sum by much more than it adds up to afterwards."""
        effect = np.zeros(layer.kernel.shape[1])
        for p, row in enumerate(self.rows):
            for column, factor in row.entries.items() if p not in self.kept else ():
                size = self.sizes[column] if column < self.width else 1.0
                effect += np.abs(layer.kernel[p]) * (abs(factor) * row.error * size)
        for p, column in kept.items():
            if effect[p] > AMPLIFIED * sizes[column] * scale[p]:
                raise Unequal(f"layer {layer.name!r}, unit {p}: merged units move a sum")

    def activate(self, layer):
        """A row passes an activation that it commutes with; what does not pass is lost."""
        name, rows = layer.activation, []
        if name not in FUNCTIONS:
            self.same(layer)
            self.fixed = {}
        if name not in FUNCTIONS or name == "linear":
            return
        for p, row in enumerate(self.rows):
            if not row.entries:
                rows.append(Row({}, FUNCTIONS[name](row.constant), row.error))
                continue
            (column, factor), *more = row.entries.items()
            away = abs(abs(factor) - 1) / self.unit
            factor, away = (math.copysign(1.0, factor), away) if away <= SNAP else (factor, 0.0)
            commuting = POSITIVE if factor > 0 else ODD if factor == -1 else ()
            passes = (factor == 1 or name in commuting) and not more and not row.constant
            own = Row({self.width + p: 1.0})
            rows.append(Row({column: factor}, error=row.error + away) if passes else own)
        self.rows = rows
        self.fixed = {q: FUNCTIONS[name](value) for q, value in self.fixed.items()}


def chain(path):
    """A .keras file's settings without sizes, and its list of `Layer`."""
    with zipfile.ZipFile(path) as archive:
        config = json.loads(archive.read("config.json"))
        weights = h5py.File(io.BytesIO(archive.read("model.weights.h5")), "r")
    kinds = {config["class_name"], *(entry["class_name"] for entry in config["config"]["layers"])}
    if kinds - {"InputLayer", "Dense"} != {"Sequential"}:
        raise ValueError(f"{path} is not a Sequential model of Dense layers, but of {kinds}")
    settings, layers = [], []
    for kind, inner in ((e["class_name"], e["config"]) for e in config["config"]["layers"]):
        settings.append([kind, *(inner.get(key) for key in SETTINGS)])
        if kind == "InputLayer":  # its dtype is what inputs are rounded to
            settings[-1].append(inner["dtype"])
            continue
        name = "dense_" * bool(layers) + str(len(layers) or "dense")
        arrays = [v[()] for _, v in sorted(weights["layers"][name]["vars"].items())]
        arrays += [] if inner["use_bias"] else [np.zeros(arrays[0].shape[1:], arrays[0].dtype)]
        if len(arrays) != 2 or arrays[0].shape[1:] != arrays[1].shape:
            raise ValueError(f"layer {inner['name']!r} in {path} is not a Dense layer")
        if not all(np.isfinite(array).all() for array in arrays):
            raise Unequal(f"a weight of {inner['name']!r} in {path} is not a finite number")
        settings[-1] += [array.dtype for array in arrays]
        layers.append(Layer(inner["name"], str(inner["activation"]), *arrays))
    return settings, layers


def main(original, pruned, certificate):
    """What is shown, in words."""
    told = json.loads(Path(certificate).read_text(encoding="utf-8"))
    if told["claim"]["level"] != "exact":
        raise ValueError(f"the claim is {told['claim']['level']!r}, expected: 'exact'")
    (settings, wide), (others, small) = chain(original), chain(pruned)
    if settings != others:
        raise Unequal("the layers have other settings")
    units, layer, worst = Check(wide, small, told["maps"]).run()
    where = f"at most {units:.2g} units in the last place (worst: layer {layer!r}, unit {worst})"
    change = f"with its weights changed by {where}" if units else "weight by weight"
    return f"Shown in integers: for every input, the pruned model equals the given one {change}."


if __name__ == "__main__":
    try:
        print(main(*sys.argv[1:]))
    except Unequal as reason:
        sys.exit(f"Not shown to be equal: {reason}.")
    except (ArithmeticError, OSError, LookupError, TypeError, ValueError) as reason:
        print(f"Cannot say: {reason}", file=sys.stderr)
        sys.exit(2)
