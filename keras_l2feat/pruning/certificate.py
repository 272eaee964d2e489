"""What a pruned model is claimed to be, and the evidence for it.

For `exact` and `domain` the evidence is a proof: `checking` reads both models' weights and says by
how many roundings they would have to change for the two to be one function; that is the verdict.
Running both models on data and on a few random inputs is a second witness, in their own dtype. For
`data` and `bounded`, which promise something on given points, running them is the evidence.
"""

import contextlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from keras_l2feat import files
from keras_l2feat.caratheodory import DEVIATION
from keras_l2feat.checking.maps import Maps
from keras_l2feat.checking.numbers import roundoff
from keras_l2feat.checking.schema import expect, numbers, require
from keras_l2feat.checking.verdict import Verdict, check
from keras_l2feat.errors import InputError
from keras_l2feat.pruning.channels.graph import Graph
from keras_l2feat.pruning.channels.operations import Affine, Linear
from keras_l2feat.pruning.evaluate import input_shapes, outputs, precise, random_inputs
from keras_l2feat.pruning.plan import Account

__all__ = [
    "Certificate",
    "Claim",
    "Evaluation",
    "certify",
    "compare",
    "load_certificate",
    "save_certificate",
]

FORMAT = "keras-l2feat certificate 1"


def _box(value):
    pair = isinstance(value, list) and len(value) == 2 and not any(map(numbers, value))
    return "" if value is None or pair else "null, or the least and the largest inputs"


SCHEMA = {
    "format": {FORMAT},
    "claim": {"level": {"exact", "domain"}, "input_range": _box},
    "maps": dict,
}

COUNT = 16  # random inputs of each kind, FEW at least: as many as BUDGET operations allow
FEW = 1
BUDGET = 10**8
PLACES = 96  # along each axis of random inputs, at most, where a proof is there and layers take it
NAMED = 8  # units or layers that a line names
# A witness disagrees if the two models' outputs differ by more than this part of the largest one:
# in float32, with layers between that amplify roundings. `SHARE_OF_DATA` is for float64.
SHARE, SHARE_OF_DATA = 1e-3, 1e-5


@dataclass(frozen=True)
class Claim:
    """What is claimed of a pruned model, by who asked for it.

    Attributes:
        level: "exact", "domain", "data" or "bounded".
        input_range: `(low, high)`, the box of "domain", and of "bounded" without data.
        tolerance: largest |Δ| of any output, of "bounded"; relative: the same over the largest
            output. Where neither is given, nothing is promised of single outputs.
    """

    level: str = "exact"
    input_range: tuple | None = None
    tolerance: float | None = None
    relative: float | None = None

    @property
    def bounds(self) -> bool:
        """Whether anything is promised of single outputs."""
        given = self.tolerance is not None or self.relative is not None
        return self.level != "bounded" or given

    @property
    def proved(self) -> bool:
        """Whether the weights alone can prove it."""
        return self.level in ("exact", "domain")

    def to_json(self) -> dict:
        """Plain data."""
        box = self.input_range
        ends = None if box is None else [np.asarray(end, np.float64).tolist() for end in box]
        return {"level": self.level, "input_range": ends}

    @property
    def text(self) -> str:
        """Where it holds."""
        if self.level == "domain" and self.input_range is not None:
            low, high = np.broadcast_arrays(*self.input_range)
            text = f"for every input between {low.min():g} and {high.max():g}"
            if (low == low.flat[0]).all() and (high == high.flat[0]).all():
                return text
            still = int((low == high).sum())
            fixed = f", {still} of {low.size} at one value" if still else ""
            return f"{text}, each entry in a range of its own{fixed}"
        return "for every input" if self.level == "exact" else "on the data"


@dataclass(frozen=True)
class Evaluation:
    """How two models compare on some inputs.

    Attributes:
        inputs: what they are, in words; count: how many.
        source: "data", "random" or "domain" (random inputs of the box).
        max_abs: largest |Δ| of any output; max_rel: the same over the largest output.
        bound: what |Δ| may be; bound_kind: of what kind that is.
        changed: how many predictions (largest output of each point) differ, where the last axis is
            classes.
        overflowed: how many inputs were left out, on which an output is not finite.
    """

    inputs: str
    count: int
    source: str
    max_abs: float
    max_rel: float
    bound: float
    bound_kind: str
    changed: int
    overflowed: int = 0

    @property
    def passed(self) -> bool:
        return self.max_abs <= self.bound


@dataclass
class Certificate:
    """What was removed and why, and how the result compares with the original.

    Attributes:
        guarantee: level.
        layers: list of `{"name", "units_before", "units_after", "removed": {reason: count},
            "kept": why the others stay}`, in order.
        removals: list of `{"layer", "unit", "reason", "into", "constant"}`, one a unit.
        barriers: layer → why nothing next to it was touched.
        evaluations: list of `Evaluation`.
        costs: "parameters", "flops" before and after, and what else was measured.
        claim: what is claimed.
        verdict: of the check of the weights, where the claim is one that they can prove.
        maps: what that check was told, for others to repeat it.
        account: what the planners tell; nothing rests on it. Where a size or an accuracy was asked
            for, which bound no output, `measured` says what stayed.
        dataset: name and scale of the data.
        read_as: how a model was read that is not Functional, in words.
        seed: of the random inputs.
        plans: what was carried out, in order.
    """

    guarantee: str
    layers: list
    removals: list
    barriers: dict
    evaluations: list
    claim: Claim = Claim()
    verdict: Verdict | None = None
    maps: Maps | None = field(default=None, repr=False)
    costs: dict = field(default_factory=dict)
    account: Account = field(default_factory=Account)
    dataset: dict = field(default_factory=dict)
    read_as: str = ""
    seed: int = 0
    plans: list = field(default_factory=list, repr=False)

    @property
    def proved(self) -> bool:
        """Whether the weights prove the claim."""
        return self.claim.proved and self.verdict is not None and self.verdict.accepted

    @property
    def verified(self) -> bool:
        """Whether the claim was shown: proved from the weights where they can prove it, and no
        evaluation against it. Never where nothing is promised of single outputs."""
        return self.claim.bounds and not self.reason

    @property
    def reason(self) -> str:
        """What speaks against the claim; empty if nothing does."""
        if self.claim.proved and not self.proved:
            return f"the pruned model is {self.verdict or 'not checked'}."
        failed = next((e for e in self.evaluations if not e.passed), None)
        if failed is None:
            return ""
        return (
            f"the pruned model deviates by {failed.max_abs:.3g} ({failed.inputs}), "
            f"more than the bound {failed.bound:.3g}."
        )

    @property
    def ill_conditioned(self) -> list:
        """`(layer, unit)` that the last plan kept for that reason, of the model that it was made
        for."""
        return list(self.plans[-1].ill_conditioned) if self.plans else []

    @property
    def spared(self) -> str:
        """`ill_conditioned` in words; empty if there are none."""
        named = [f"{layer} {unit}" for layer, unit in self.ill_conditioned]
        if not named:
            return ""
        more = f" and {len(named) - NAMED} more" if len(named) > NAMED else ""
        return (
            "Equal up to roundings, but kept, since merging would move what reads them "
            f"(ill-conditioned): {', '.join(named[:NAMED])}{more}."
        )

    def summary(self) -> str:
        """What was shown, in a few lines."""
        before, after = (self.costs.get(f"parameters_{when}") for when in ("before", "after"))
        size = "" if before is None else f"Parameters: {before:,} → {after:,}. "
        gone = sum(row["units_before"] - row["units_after"] for row in self.layers)
        lines = [f"{size}Units removed: {gone}."]
        if self.proved and self.verdict is not None:
            lines.append(f"Proved: {self.claim.text}, {self.verdict}.")
            if self.verdict.amplified > 1:
                lines.append(
                    f"Merging moves no sum by more than {self.verdict.amplified:.2g} "
                    "units in the last place of what it adds up."
                )
        lines += [self.spared] if self.spared else []
        lines += [
            f"Compared on {e.inputs} ({e.count}): largest difference {e.max_abs:.2g} "
            f"({e.max_rel:.2g} of the largest output)."
            for e in self.evaluations
        ]
        if self.claim.bounds:
            verdict = "verified" if self.verified else "NOT verified"
            lines.append(f"Guarantee {self.guarantee}: {verdict}.")
        return "\n".join([*lines, *([self.reason] if self.reason else [])])

    def __str__(self):
        return self.summary()

    def worst(self, name: str) -> float:
        """The largest value of a field of the evaluations; of those on data, where there are
        some."""
        chosen = [e for e in self.evaluations if e.source == "data"] or self.evaluations
        return max((getattr(e, name) for e in chosen), default=0.0)

    @property
    def max_abs_deviation(self) -> float:
        """On the data, where there are some; otherwise on all random inputs."""
        return self.worst("max_abs")

    @property
    def max_rel_deviation(self) -> float:
        """As `max_abs_deviation`, over the largest output."""
        return self.worst("max_rel")

    @property
    def bound(self) -> float:
        """What `max_abs_deviation` was allowed to be."""
        return self.worst("bound")

    def _told(self):
        """All that the certificate tells and that nothing rests on."""
        box = self.claim.to_json()["input_range"]
        return {
            **self.account.to_json(),
            **({} if box is None else dict(zip(("low", "high"), box))),
            **({"read_as": self.read_as} if self.read_as else {}),
            **self.dataset,
        }

    def to_json(self) -> dict:
        """Plain data, the keys of `l2feat prune --json`."""
        return {
            "guarantee": self.guarantee,
            "verified": self.verified,
            "verdict": None if self.verdict is None else self.verdict.to_json(),
            "layers": self.layers,
            **self.costs,
            "max_abs_deviation": self.max_abs_deviation,
            "max_rel_deviation": self.max_rel_deviation,
            "bound": _finite(self.bound),
            "evaluations": [
                {k: _finite(v) for k, v in {**asdict(e), "passed": e.passed}.items()}
                for e in self.evaluations
            ],
            "barriers": self.barriers,
            "ill_conditioned": [list(unit) for unit in self.ill_conditioned],
            "facts": self._told(),
            "removals": self.removals,
            "seed": self.seed,
        }


def save_certificate(certificate: Certificate, path: str | Path) -> None:
    """Write what a checker needs to show the claim again: the claim and the maps.

    Raises:
        InputError: the claim is none that the weights can prove.
    """
    if not certificate.claim.proved or certificate.maps is None:
        raise InputError(f"The guarantee {certificate.guarantee!r} rests on data, not on weights.")
    files.write_text(
        path,
        json.dumps(
            {
                "format": FORMAT,
                "claim": certificate.claim.to_json(),
                "maps": certificate.maps.to_json(),
            },
            separators=(",", ":"),
            allow_nan=False,
        )
        + "\n",
    )


def load_certificate(path: str | Path) -> tuple[Claim, Maps]:
    """What `save_certificate` wrote: a `Claim` and `checking.Maps`. Nothing of it is to be
    believed.

    Raises:
        InputError: no such file, or not a certificate.
    """
    try:
        with open(path, encoding="utf-8") as stream:
            value = json.load(stream)
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"Cannot read the certificate {str(path)!r}: {error}.") from error
    require(value, SCHEMA, f"The certificate {str(path)!r}")
    level, box = value["claim"]["level"], value["claim"]["input_range"]
    place = f"The range of a claim of the level {level!r}"
    expect((box is None) == (level == "exact"), box, place, "null for 'exact' alone")
    if box is not None:
        low, high = (np.asarray(end, dtype=np.float64) for end in box)
        box = low, high
    return Claim(level, box), Maps.from_json(value["maps"])


def _finite(value):
    return None if isinstance(value, float) and not np.isfinite(value) else value


def certify(
    graph: Graph,
    after: Graph,
    claim: Claim,
    *,
    maps: Maps | None = None,
    data: Any = None,
    seed: int = 0,
    **told,
) -> Certificate:
    """Show that a pruned model is what is claimed.

    Args:
        graph, after: channel graphs of the original and of the smaller model.
        claim: a `Claim`.
        maps: `checking.Maps` of how the one came from the other.
        data: `(name, inputs)` with one array per model input, or `None`.
        seed: of the random inputs.
        **told: other fields of the `Certificate`.

    Returns: a `Certificate`; look at `verified`.
    """
    verdict = None
    if claim.proved and maps is not None:
        verdict = check(graph, after, maps, input_range=claim.input_range)
    evaluations = compare(graph, after.model, claim, data=data, seed=seed)
    barriers = dict(graph.barriers)
    return Certificate(
        guarantee=claim.level,
        barriers=barriers,
        evaluations=evaluations,
        claim=claim,
        verdict=verdict,
        maps=maps,
        seed=seed,
        **told,
    )


def compare(
    graph: Graph,
    pruned: Graph,
    claim: Claim = Claim(),
    *,
    data: Any = None,
    seed: int = 0,
    anywhere: bool = False,
) -> list:
    """Run two models side by side: where that is a witness, in their own dtype; where it is the
    evidence, in float64. `anywhere`: on random inputs too, whatever is claimed. A model is not run
    beside itself on random inputs.

    Returns: list of `Evaluation`: on the data, then on random inputs.
    """
    models = graph.model, pruned
    same = pruned is graph.model
    sets = [] if data is None else [("data", f"data {data[0]}", data[1])]
    if not claim.proved:
        models = tuple(precise(model) for model in models)
    share = _share(graph, claim)
    classes = len(graph.outputs) == 1 and len(graph.outputs[0].shape) == 2

    def compared(sets):
        # the inputs of all sets go in one batch
        whole = [np.concatenate(part) for part in zip(*(inputs for *_, inputs in sets))]
        ends = np.cumsum([len(inputs[0]) for *_, inputs in sets])[:-1]
        old = outputs(models[0], whole)
        new = old if same else outputs(models[1], whole)
        return [
            _evaluation(source, label, *answers, claim, share, classes)
            for (source, label, _), *answers in zip(sets, np.split(old, ends), np.split(new, ends))
        ]

    found = compared(sets) if sets else []
    if anywhere or (not same if claim.proved else not sets):
        found += _at_random(graph, claim, seed, compared)
    return found


def _at_random(graph, claim, seed, compared):
    """Evaluations on random inputs; of fewer places than a model was built for, where a proof is
    there besides, all layers take them, and the two agree on them."""
    whole = input_shapes(graph.model)
    fewer = [
        tuple(n if axis == tensor.axis else min(n, PLACES) for axis, n in enumerate(shape, 1))
        for tensor, shape in zip(graph.inputs, whole)
    ]
    if claim.proved and fewer != whole:
        with contextlib.suppress(Exception):  # layers raise whatever they like
            found = compared(_random_sets(graph, seed, claim.input_range, fewer, whole))
            if all(e.passed and not e.overflowed for e in found):
                return found
    return compared(_random_sets(graph, seed, claim.input_range, whole, whole))


def _share(graph, claim):
    """What part of the largest output two models may differ by."""
    layers = {layer for layer, *_ in graph.slots}
    dtypes = {graph.dtype(layer) for layer in layers}  # of weights; those of sums may be coarser
    dtypes |= {str(graph.layers[layer].compute_dtype) for layer in layers}
    unit = max(map(roundoff, dtypes), default=0.0)
    return max(SHARE, 64 * unit) if claim.proved else max(SHARE_OF_DATA, 64 * unit, DEVIATION)


def _random_sets(graph, seed, box, shapes, whole):
    """Sources, labels and inputs of such shapes, of the whole or fewer places: fewer inputs where a
    model takes long."""
    share = min(np.prod(fewer) / np.prod(shape) for fewer, shape in zip(shapes, whole))
    count = int(np.clip(BUDGET / max(graph.flops() * share, 1), FEW, COUNT))
    place = "" if shapes == whole else f", size {PLACES}"
    if box is not None:
        low, high = (np.asarray(end) for end in box)
        return [
            (
                "domain",
                f"random in the domain{place}",
                random_inputs(graph, count, seed, low=low, high=high, shapes=shapes),
            )
        ]
    sets = [("random", f"random, scale 1{place}", random_inputs(graph, count, seed, shapes=shapes))]
    if all(graph.tokens(tensor) is not None for tensor in graph.inputs):
        return sets
    fitted = random_inputs(graph, count, seed + 1, shapes=shapes)
    scales = [_expected(graph, tensor) for tensor in graph.inputs]
    for array, tensor, (center, size) in zip(fitted, graph.inputs, scales):
        if array.dtype.kind == "f":
            along = [-1 if axis == tensor.axis else 1 for axis in range(array.ndim)]
            array *= size.reshape(along).astype(array.dtype)
            array += center.reshape(along).astype(array.dtype)
    if any(center.any() or (size != 1).any() for center, size in scales):
        sets.append(("random", f"random, fitted scale{place}", fitted))
    return sets


def _expected(graph, tensor):
    """Center and size of each channel of an input, by what reads it first: the statistics of a
    normalization, the kinks of biased neurons, or 1 / the weights."""
    count = len(tensor.units)
    center, size = np.zeros(count), np.ones(count)
    for op in graph.ops:
        if tensor not in op.inputs:
            continue
        layer = graph.layers.get(op.layer)
        if isinstance(op, Affine):
            scale, shift, _ = op.coefficients()
            alive = scale != 0
            size[alive] = 1 / np.abs(scale[alive])
            center[alive] = -shift[alive] / scale[alive]
        elif type(layer).__name__ == "Normalization" and layer.mean is not None:
            found = [np.asarray(getattr(layer, name)).reshape(-1) for name in ("mean", "variance")]
            if all(len(array) in (1, count) for array in found):
                center, size = (np.resize(a, count) for a in (found[0], np.sqrt(found[1])))
        elif isinstance(op, Linear) and op.reader is not None:
            weight = np.abs(op.kernel()).max(axis=0)  # (inputs, outputs)
            largest = weight.max(axis=1)
            alive = largest > 0
            size[alive] = 1 / largest[alive]
            if op.bias is not None and (bias := np.abs(op.bias())).any():
                with np.errstate(divide="ignore", invalid="ignore"):
                    kinks = np.where((weight > 0) & (bias > 0), bias / weight, np.nan)
                found = ~np.isnan(kinks).all(axis=1)
                size[found] = np.nanmedian(kinks[found], axis=1)
        size = np.where(np.isfinite(size) & (size > 0) & (size < 1e30), size, 1.0)
        center = np.where(np.isfinite(center) & (np.abs(center) < 1e30), center, 0.0)
        break
    return center, size


def _evaluation(source, label, old, new, claim, share, classes):
    finite = (np.isfinite(old) & np.isfinite(new)).all(axis=1)
    with np.errstate(invalid="ignore"):
        gap = np.abs(new - old)[finite]
    largest, reach = float(gap.max(initial=0.0)), float(np.abs(old[finite]).max(initial=0.0))
    changed = (
        int((old.argmax(axis=1) != new.argmax(axis=1)).sum()) if classes and old.shape[1] > 1 else 0
    )
    bound, kind = share * reach, "share"
    if not claim.bounds:  # nothing is promised about single outputs
        bound, kind = np.inf, "measured"
    elif claim.tolerance is not None:
        bound, kind = float(claim.tolerance), "tolerance"
    elif claim.relative is not None:
        bound, kind = claim.relative * reach, "relative tolerance"
    if not claim.proved and not finite.all():
        largest = np.inf
    relative = largest / reach if reach else largest
    return Evaluation(
        label, len(old), source, largest, relative, bound, kind, changed, int((~finite).sum())
    )
