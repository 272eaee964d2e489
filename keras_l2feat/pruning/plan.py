"""What is to be removed, as plain data: the interface between those who find redundancy and those
who act on it.

A *unit* is a channel that a layer computes (a neuron, a filter), named `(layer, index)`; where
several layers must lose a channel together (the branches of a residual sum), it is named after the
first of them. A *reader* is an axis of a kernel that is linear in a tensor's channels; it is named
after its layer (`"dense_2"`; `"block/dense_2"` inside a nested model; `"attention/query"` where a
layer has several), and counts its *positions* along that axis. In a chain of dense layers positions
are the units of the layer before; after `Flatten` every unit has one position per pixel.

A plan holds

    removed     which units go, each with a reason; `into` and `constant` say by what they are
                replaced
    transfers   reader → [(source, target, factor), ...]: kernel row `target` of what is kept
                receives `factor` times the old row `source`. `BIAS` (-1) as a target is the
                reader's bias row: a constant is folded there.

so that with T the matrix of the transfers a reader's kernel becomes `T K`. A kept position that is
no source maps to itself with factor 1; one that is a source maps only as listed (so it can be
rescaled or spread); a removed position that is no source is dropped. Targets must be kept positions
or `BIAS`. `BIAS` as a source says where the old bias row goes; unlisted it stays.

    weights     layer → {index: new weight, in the size of the old one}: where no matrix T says
                what becomes of a kernel, since what stays was fitted anew. Transfers act on these.

Who offers a guarantee writes a function `(graph, **options) -> Plan`; `rewrite` and `certificate`
do the rest. Levels follow each other: every step is planned on the model that the step before left.
"""

import base64
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from keras_l2feat.errors import InputError

__all__ = ["BIAS", "Account", "Plan", "Removal", "load_plans", "removed_units", "save_plans"]

BIAS = -1
FORMAT = "keras-l2feat plan 1"


@dataclass(frozen=True)
class Removal:
    """One unit that goes.

    Attributes:
        layer, unit: its name.
        reason: "aligned", "identical", "mirrored", "dead", "constant", "dependent" (exact), or
            another level's word.
        into: `((layer, unit, factor), ...)`: what computes its value from now on; empty if nothing
            has to.
        constant: what is left for the readers' biases.
    """

    layer: str
    unit: int
    reason: str
    into: tuple = ()
    constant: float = 0.0


@dataclass(frozen=True)
class Account:
    """What those who made a plan tell about it, for reports alone. It stays with them: a plan in a
    file carries none, since nobody could tell whether it is true.

    Attributes:
        points: number of inputs of the data that were looked at; data_sha256: their hash.
        target: `{name: value}` that was asked for.
        tolerance: what outputs may differ by, absolute.
        measured: part of the data → what the change amounts to there.
        curve: list of what could have been had at other sizes, where that was asked for.
        bound: what outputs were allowed to differ by, absolute.
        reduced: layer → how its units were found to depend on each other.
        a_priori_bound: what outputs can differ by in the box; a_priori_domain: `[low, high]` of
            each input there.
        unit_bounds: how the units were bounded in the box, in words.
    """

    points: int | None = None
    data_sha256: str | None = None
    target: dict | None = None
    tolerance: float | None = None
    measured: dict | None = None
    curve: list | None = None
    bound: float | None = None
    reduced: dict | None = None
    a_priori_bound: float | None = None
    a_priori_domain: list | None = None
    unit_bounds: str | None = None

    def to_json(self) -> dict:
        """What there is to tell, as plain data."""
        return {name: value for name, value in vars(self).items() if value is not None}

    def __or__(self, later: "Account") -> "Account":
        """Both, where they disagree the later one."""
        return replace(self, **later.to_json())


@dataclass
class Plan:
    """A set of removals that can be carried out together.

    Attributes:
        guarantee: "exact", "domain", "data" or "bounded".
        removed: list of `Removal`.
        transfers: reader → list of `(source, target, factor)`.
        weights: layer → {index of a weight: its new values, same shape}.
        account: what the guarantee has to tell in the certificate.
        ill_conditioned: `(layer, unit)` of units that are multiples of each other up to rounding,
            and stay: with the weights that read them, taking them for one would move the outputs.
        reached: names of the layers that the guarantee looks at, `None` for all.
    """

    guarantee: str = "exact"
    removed: list = field(default_factory=list)
    transfers: dict = field(default_factory=dict)
    account: Account = Account()
    ill_conditioned: list = field(default_factory=list)
    weights: dict = field(default_factory=dict)
    reached: set | None = None

    def __bool__(self):
        return bool(self.removed or self.transfers or self.weights)

    def counts(self) -> dict:
        """layer → Counter of reasons."""
        counts = {}
        for removal in self.removed:
            counts.setdefault(removal.layer, Counter())[removal.reason] += 1
        return counts

    def to_json(self) -> dict:
        """Plain data."""
        return {
            "format": FORMAT,
            "guarantee": self.guarantee,
            "removed": [
                [r.layer, r.unit, r.reason, [list(i) for i in r.into], r.constant]
                for r in self.removed
            ],
            "transfers": {
                name: [list(move) for move in moves] for name, moves in self.transfers.items()
            },
            "weights": {
                layer: {str(index): _text(array) for index, array in arrays.items()}
                for layer, arrays in self.weights.items()
            },
        }

    @classmethod
    def from_json(cls, value: Any) -> "Plan":
        """The plan of `to_json`.

        Raises:
            InputError: `value` is not a plan.
        """
        try:
            if value["format"] != FORMAT:
                raise InputError(
                    f"A plan has the format {FORMAT!r}. Received: {value['format']!r}."
                )
            plan = cls(str(value["guarantee"]))
            for layer, unit, reason, into, constant in value["removed"]:
                targets = tuple((str(a), int(b), float(f)) for a, b, f in into)
                removal = Removal(str(layer), int(unit), str(reason), targets, float(constant))
                plan.removed.append(removal)
            for reader, moves in value["transfers"].items():
                plan.transfers[str(reader)] = [(int(s), int(t), float(f)) for s, t, f in moves]
            for layer, arrays in value.get("weights", {}).items():
                plan.weights[str(layer)] = {int(i): _array(text) for i, text in arrays.items()}
            return plan
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"Not a plan: {error}.") from error


def _text(array) -> dict:
    """An array as JSON: its shape, and its numbers in base64, float32 or float64."""
    kind = "<f8" if np.asarray(array).dtype == np.float64 else "<f4"
    data = np.ascontiguousarray(array).astype(kind).tobytes()
    return {"type": kind, "shape": list(np.shape(array)), "data": base64.b64encode(data).decode()}


def _array(value):
    """What `_text` wrote; a `ValueError` where sizes do not fit."""
    if value["type"] not in ("<f4", "<f8"):
        raise ValueError(f"weights of type {value['type']!r}")
    flat = np.frombuffer(base64.b64decode(value["data"], validate=True), value["type"])
    return flat.reshape([int(size) for size in value["shape"]])


def save_plans(plans: Sequence, path: str | Path) -> None:
    """Write plans that follow each other to a JSON file."""
    from keras_l2feat.files import write_json

    write_json(path, [plan.to_json() for plan in plans])


def load_plans(path: str | Path) -> list:
    """Read what `save_plans` wrote.

    Raises:
        InputError: no such file, or not a list of plans.
    """
    try:
        with open(path, encoding="utf-8") as stream:
            value = json.load(stream)
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"Cannot read the plan {str(path)!r}: {error}.") from error
    if not isinstance(value, list):
        raise InputError(f"Cannot read the plan {str(path)!r}: a list of plans is expected.")
    return [Plan.from_json(item) for item in value]


def removed_units(plans: Sequence) -> dict:
    """layer → set of units of the first model that go; each plan counts what the one before
    left."""
    gone = {}
    for plan in plans:
        step = {}
        for removal in plan.removed:
            unit = removal.unit
            for lost in sorted(gone.get(removal.layer, ())):
                unit += lost <= unit
            step.setdefault(removal.layer, set()).add(unit)
        for layer, units in step.items():
            gone.setdefault(layer, set()).update(units)
    return gone
