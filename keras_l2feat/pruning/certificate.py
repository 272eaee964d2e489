"""The evidence that a pruned model is what it claims to be.

Both models are built again from their configs in float64 and run on random inputs of several
scales, and on data where there is some; what they disagree by is compared with what rounding, and
the guarantee, allow.
"""

from dataclasses import asdict, dataclass, field

import numpy as np

from keras_l2feat.pruning.bounds import a_priori, sampled
from keras_l2feat.pruning.evaluate import outputs, precise, random_inputs

__all__ = ["Certificate", "Evaluation", "certify", "compare"]

SCALES = (0.01, 1.0, 100.0)
COUNT = 64  # random inputs of each scale, FEW at least: as many as BUDGET operations allow
FEW = 8
BUDGET = 10**10
# an a-priori bound above this part of the outputs would let real differences pass: it is sampled
USEFUL = 1e-5


@dataclass(frozen=True)
class Evaluation:
    """How two models compare on some inputs.

    Attributes:
        inputs: what they are; count: how many.
        max_abs: largest |Δ| of any output; max_rel: the same over the largest output.
        bound: what |Δ| may be; bound_kind: "a priori", "sampled" or a guarantee's own.
        a_priori: the rigorous bound from the weights, whatever its use; infinite where a layer is
            not understood.
        changed: how many predictions (largest output of each point) differ, where the last axis is
            classes.
    """

    inputs: str
    count: int
    max_abs: float
    max_rel: float
    bound: float
    bound_kind: str
    a_priori: float
    changed: int

    @property
    def passed(self) -> bool:
        return self.max_abs <= self.bound


@dataclass
class Certificate:
    """What was removed and why, and how the result compares with the original.

    Attributes:
        guarantee: level.
        layers: list of `{"name", "units_before", "units_after", "removed": {reason: count}}`, in
            order.
        removals: list of `{"layer", "unit", "reason", "into", "constant"}`, one a unit.
        barriers: layer → why nothing next to it was touched.
        evaluations: list of `Evaluation`.
        costs: "parameters", "flops" before and after, and what else was measured.
        facts: what the guarantee has to say.
        verified: whether every evaluation stayed within its bound. Never after polishing, or
            where a size or an accuracy was asked for, which bound no output: `facts["kept"]` and
            `facts["measured"]` say what stayed instead.
        seed: of the random inputs.
        plans: what was carried out, in order.
    """

    guarantee: str
    layers: list
    removals: list
    barriers: dict
    evaluations: list
    costs: dict = field(default_factory=dict)
    facts: dict = field(default_factory=dict)
    seed: int = 0
    plans: list = field(default_factory=list, repr=False)

    @property
    def verified(self) -> bool:
        passed = all(evaluation.passed for evaluation in self.evaluations)
        return passed and not _unbounded(self.facts)

    def worst(self, name) -> float:
        """The largest value of a field of the evaluations; of those on data, where there are
        some."""
        chosen = [e for e in self.evaluations if e.inputs.startswith("data")] or self.evaluations
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

    def to_json(self) -> dict:
        """Plain data, the keys of `l2feat prune --json`."""
        return {
            "guarantee": self.guarantee,
            "verified": self.verified,
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
            "facts": self.facts,
            "removals": self.removals,
            "seed": self.seed,
        }


def _finite(value):
    return None if isinstance(value, float) and not np.isfinite(value) else value


def certify(graph, pruned, plans, *, data=None, seed=0) -> Certificate:
    """Compare a pruned model with the original.

    Args:
        graph: of the original; `graph.model` is the original.
        pruned: the smaller model.
        plans: the plans that led to it, in order. Their `facts` say what the guarantee allows:
            "tolerance": takes the place of the rounding bound; "bound": added to it; "bound_kind":
            its name; "low", "high": the box that inputs are drawn
            from instead of Gaussians; "only": "data" where nothing is promised elsewhere.
        data: `(name, inputs)` with one array per model input, or `None`.
        seed: of the random inputs.

    Returns: a `Certificate`; look at `verified`.
    """
    facts = {}
    for plan in plans:
        facts.update(plan.facts)
    evaluations = compare(graph, pruned, data=data, seed=seed, facts=facts)
    removals = [
        {
            "layer": r.layer,
            "unit": r.unit,
            "reason": r.reason,
            "into": [[layer, unit, factor] for layer, unit, factor in r.into],
            "constant": r.constant,
        }
        for plan in plans
        for r in plan.removed
    ]
    level = plans[-1].guarantee if plans else "exact"
    return Certificate(
        level, [], removals, dict(graph.barriers), evaluations, facts=facts, seed=seed
    )


def compare(graph, pruned, *, data=None, seed=0, facts=None) -> list:
    """Evaluate two models side by side in float64.

    Returns: list of `Evaluation`: on the data, then on random inputs.
    """
    facts = facts or {}
    sets = []
    if data is not None:
        sets.append((f"data {data[0]}", data[1]))
    if facts.get("only") != "data":
        sets += _random_sets(
            graph, seed, {k: np.asarray(facts[k]) for k in ("low", "high") if k in facts}
        )
    before, after = precise(graph.model), precise(pruned)
    old = [outputs(before, inputs) for _, inputs in sets]
    new = [outputs(after, inputs) for _, inputs in sets]
    rigorous = a_priori(graph, [[np.abs(x).max(initial=0.0) for x in inputs] for _, inputs in sets])
    bounds = [(bound, "a priori") for bound in rigorous]
    vague = [k for k, bound in enumerate(rigorous) if not bound <= USEFUL * _reach(old[k])]
    if vague:
        few = [_where_most(sets[k][1], np.abs(new[k] - old[k])) for k in vague]
        for k, bound in zip(vague, sampled(graph, before, few, seed)):
            bounds[k] = (min(bound, rigorous[k]), "sampled")
    if _unbounded(facts):  # nothing is promised about single outputs
        bounds = [(np.inf, "trained on" if "polish" in facts else "measured")] * len(sets)
    elif "tolerance" in facts:
        bounds = [(facts["tolerance"], "tolerance")] * len(sets)
    elif facts.get("bound"):
        bounds = [(bound + facts["bound"], facts.get("bound_kind", kind)) for bound, kind in bounds]
    classes = len(graph.outputs) == 1 and len(graph.outputs[0].shape) == 2
    return [
        _evaluation(label, *rest, classes)
        for (label, _), *rest in zip(
            sets, old, new, [b for b, _ in bounds], [k for _, k in bounds], rigorous
        )
    ]


def _unbounded(facts):
    """Whether something else than a bound on single outputs was asked for."""
    return "polish" in facts or ("target" in facts and "tolerance" not in facts)


def _random_sets(graph, seed, box):
    """Labels and inputs: fewer where a model takes long."""
    count = int(np.clip(BUDGET // max(graph.flops(), 1), FEW, COUNT))
    tokens = all(graph.tokens(tensor) is not None for tensor in graph.inputs)
    if box:
        return [("random in the domain", random_inputs(graph, count, seed, **box))]
    scales = (1.0,) if tokens else SCALES
    return [
        (f"random, scale {scale:g}", random_inputs(graph, count, seed, scale=scale))
        for scale in scales
    ]


def _where_most(inputs, deviation):
    """The inputs on which models differ most: there the bound has to hold."""
    chosen = np.argsort(-np.nan_to_num(deviation).max(axis=1), kind="stable")[:FEW]
    return [x[chosen] for x in inputs]


def _reach(values):
    return float(np.abs(values[np.isfinite(values)]).max(initial=0.0))


def _evaluation(label, old, new, bound, kind, rigorous, classes):
    finite = np.isfinite(old)
    largest = (
        float(np.abs(new - old)[finite].max(initial=0.0))
        if (finite == np.isfinite(new)).all()
        else np.inf
    )
    reach = _reach(old)
    changed = (
        int((old.argmax(axis=1) != new.argmax(axis=1)).sum()) if classes and old.shape[1] > 1 else 0
    )
    relative = largest / reach if reach else largest
    return Evaluation(
        label, len(old), largest, relative, float(bound), kind, float(rigorous), changed
    )
