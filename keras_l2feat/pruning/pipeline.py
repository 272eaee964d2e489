"""From a model to a smaller one with its certificate: graph → plan → rewrite → certificate, level
after level."""

import dataclasses
import importlib
from collections.abc import Sequence
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Any

import numpy as np

from keras_l2feat.backend import require_keras
from keras_l2feat.errors import CheckFailed, InputError, bad_argument
from keras_l2feat.pruning.balance import balance_units
from keras_l2feat.pruning.certificate import Claim, certify
from keras_l2feat.pruning.channels.read import functional, read
from keras_l2feat.pruning.evaluate import random_inputs
from keras_l2feat.pruning.filters import Filters, hold, kept, matching
from keras_l2feat.pruning.guarantees.on_data import data_sha256, within_norm
from keras_l2feat.pruning.measure import costs
from keras_l2feat.pruning.options import options_of
from keras_l2feat.pruning.plan import Account, Plan
from keras_l2feat.pruning.rewrite import rewrite
from keras_l2feat.pruning.trace import trace
from keras_l2feat.threads import blas_on_one_core
from keras_l2feat.types import Model

__all__ = ["GUARANTEES", "named_inputs", "prune"]

# Plans made in turn, each without what the check of the one before could not follow: of the first
# few without what it failed at first, since that may be all; then without whatever it failed at.
TRIALS, SINGLE = 6, 3

# Each level runs those before it; a planner is called as planner(graph, inputs=..., data=...,
# seed=..., quiet=..., **options), with `inputs` the data as arrays, one a model input, or `None`.
GUARANTEES = {
    "exact": "keras_l2feat.pruning.guarantees.exact:exact_plan",
    "domain": "keras_l2feat.pruning.guarantees.domain:domain_plan",
    "data": "keras_l2feat.pruning.guarantees.on_data:data_plan",
    "bounded": "keras_l2feat.pruning.guarantees.bounded:bounded_plan",
}

GAUSSIAN = 8192  # inputs that stand for data


@blas_on_one_core
def prune(
    model: Model,
    guarantee: str = "exact",
    data: Any = None,
    *,
    plans: Sequence[Plan] | None = None,
    filters: Filters = None,
    balance: bool = True,
    seed: int = 0,
    quiet: bool = True,
    certificate: bool = True,
    input_shape: tuple | None = None,
    test_data: Any = None,
    gaussian: bool = False,
    **options,
) -> tuple:
    """Find the neurons that a model does not need and return an equivalent smaller model.

    Args:
        model: a built Keras model, or the path of a .keras file; it is not changed. A subclassed
            one is read by calling it on symbolic tensors (`channels.symbolic`), and the result is
            Functional.
        guarantee: "exact" (every input), "domain" (inputs in a box), "data" (a data set) or
            "bounded" (a tolerance).
        data: a `data.Dataset`, its name, a pair `(x, y)`, arrays (one, or a list of one per input),
            or a `tf.data.Dataset` of batches `x` or `(x, y)`; evaluated in the certificate, and
            what the level "data" keeps.
        plans: plans to carry out instead of finding them (`plan.load_plans`).
        filters: which layers may lose units, as in Keras' `Model.quantize`: a regular expression
            that is searched in a layer's name, a list of them, or a function of the layer; by
            default all.
        balance: rescale units so that incoming and outgoing weights have equal norm, where the
            model allows it and something was removed.
        seed: of every draw.
        quiet: no progress bars.
        certificate: verify the result; without, the certificate is `None`.
        input_shape: without the batch, of a subclassed model that was not called yet.
        test_data: like `data`: "bounded" measures on them in the end; by default the test points of
            a data set.
        gaussian: instead of data: inputs are taken to be independent and standard normal, and
            this many are drawn, once: `GAUSSIAN`. (Moments in closed form do no better, and few
            layers have them: `results/moments`.)
        **options: of the level: `input_range` (domain); for bounded one of `tolerance`,
            `relative_tolerance`, `agree="99.9%"`, `keep_accuracy="0.2%"`, `keep_loss="1%"`,
            `units=0.5`, `flops=0.5`, `parameters=0.5` (the share that may stay), and `per="flops"`
            (what a removal is weighed against), `curve=True` (see `bounded.bounded_plan`).

    Returns: `(pruned, certificate)`. If nothing is redundant, `pruned` is `model` itself.

    Raises:
        InputError: an argument, or a model that cannot be read.
        CheckFailed: the result deviates by more than the guarantee allows; `error.certificate` says
            by how much.

    Example:
    >>> from keras_l2feat.models import mlp
    >>> model = mlp(4, (6,), 2)
    >>> weights = model.get_weights()
    >>> weights[0][:, 5] = 3 * weights[0][:, 0]
    >>> model.set_weights(weights)
    >>> pruned, certificate = prune(model)
    >>> pruned.layers[0].units, certificate.verified
    (5, True)
    """
    require_keras()
    asked = dataclasses.asdict(options_of(guarantee, options))
    options = {name: value for name, value in asked.items() if value is not None}
    graph = read(model, input_shape)
    chosen, blamed = matching(graph, filters), set()
    hold(graph, chosen)
    data, test = _loaded(data, graph.model), _loaded(test_data, graph.model)
    if gaussian:
        if data is not None:
            raise InputError("Gaussian inputs stand for data. Expected: one of the two.")
        data = random_inputs(graph, GAUSSIAN, seed)
    named = named_inputs(graph.model, data, guarantee)
    test = _held_out(graph.model, data, test)
    given = {"inputs": None if named is None else named[1], "data": data, "test": test}
    given |= {"balanced": balance, "seed": seed, "quiet": quiet, **options}
    bounds = map(options.get, ("input_range", "tolerance", "relative_tolerance"))
    claim = Claim(guarantee, *bounds)
    for trial in range(TRIALS):
        planners = _planners(plans, guarantee, options)
        steps, current, scale = _pruned(graph, chosen, planners, given)
        pruned = model if current is graph else current.model
        if not certificate:
            return pruned, None
        done = [plan for _, plan in steps]
        why = kept(graph, chosen, blamed, claim.text, done[-1] if done else None)
        report = certify(
            graph,
            current,
            claim,
            maps=trace(steps, current, scale) if claim.proved else None,
            data=named,
            seed=seed,
            layers=_layers(graph, current, steps, why),
            removals=[{**vars(r), "into": [*map(list, r.into)]} for p in done for r in p.removed],
            costs=_costs(graph, current),
            account=_account(done, named),
            dataset=getattr(data, "facts", {}),
            read_as=_read_as(graph, model, pruned),
            plans=done,
        )
        if not report.reason or plans is not None:
            break
        fresh = _blamed(graph, report.verdict, 1 if trial < SINGLE else None)
        if not fresh:
            break
        graph.pinned[fresh] = True
        blamed.update(fresh)
    if report.reason:
        error = CheckFailed(report.reason)
        error.certificate = report
        raise error
    return pruned, report


def _blamed(graph, verdict, count):
    """The units that a check could do nothing with, and that may still go, of its first faults that
    have any."""
    found = []
    for names in [] if verdict is None else verdict.blamed:
        fresh = [unit for unit in (graph.unit(*name) for name in names) if not graph.pinned[unit]]
        found += [fresh] if fresh else []
    return [unit for fresh in found[:count] for unit in fresh]


def _pruned(graph, chosen, planners, given):
    """What the planners lead to, with what they are `given`: `(graph, plan)` of each step, the last
    graph, and what its units were multiplied by in the end (`None`: by nothing)."""
    current, steps = graph, []
    for planner in planners:
        plan = planner(current, **given)
        if plan or plan.account != Account() or plan.ill_conditioned:
            steps.append((current, plan))
        if plan:
            current = hold(read(rewrite(current, plan)), chosen)
    scale = None
    if given["balanced"] and any(plan.removed for _, plan in steps):
        scale = balance_units(current)
    return steps, current, scale


def _costs(graph, after):
    return {
        f"{key}_{when}": value
        for when, g in (("before", graph), ("after", after))
        for key, value in costs(g.model, g).items()
    }


def _account(plans, named):
    """What the planners tell, and which data there were."""
    account = reduce(or_, (plan.account for plan in plans), Account())
    return account if named is None else account | Account(data_sha256=data_sha256(named[1]))


def _read_as(graph, model, pruned):
    """How a model was read, in words, where that needs any."""
    if graph.model is model:
        return ""
    which = "The model is subclassed: it was" if functional(model) is None else "Its layers were"
    return f"{which} read by calling on symbolic tensors." + (
        " The result is Functional." if pruned is not model else ""
    )


def _planners(plans, guarantee, options):
    """What makes the plans, each for the model that the one before left."""
    if plans is not None:
        return [lambda graph, plan=plan, **_: plan for plan in plans]
    before = ["exact", "domain"] if options.get("input_range") is not None else ["exact"]
    planners = []
    for level in [*(level for level in before if level != guarantee), guarantee]:
        module, name = GUARANTEES[level].split(":")
        planners.append(getattr(importlib.import_module(module), name))
    if guarantee == "data":
        planners[:-1] = map(within_norm, planners[:-1])
    return planners


def _loaded(data, model):
    """Data by name are loaded, pairs `(x, y)` for a model of one input are a data set, and the
    batches of a `tf.data.Dataset` are put together, with their labels where they have some."""
    from keras_l2feat import data as catalog

    if hasattr(data, "as_numpy_iterator"):
        inputs, labels = catalog.spooled(data)
        if labels is None or len(model.inputs) != 1:
            return inputs
        data = inputs[0], labels
    pair = isinstance(data, tuple) and len(data) == 2 and len(model.inputs) == 1
    return catalog.load(data) if isinstance(data, (str, Path)) or pair else data


def named_inputs(model: Model, data: Any, guarantee: str = "exact") -> Any:
    """`(name, list of arrays)` of whatever stands for data; "data" and "bounded" are promises
    on the training points alone."""
    if data is None:
        return None
    if hasattr(data, "x_train"):
        parts = [data.inputs(model)]
        if data.x_test is not None and guarantee not in ("data", "bounded"):
            parts.append(data.inputs(model, "test"))
        return data.name, [np.concatenate(parts)]
    arrays = [np.asarray(a) for a in (data if isinstance(data, (list, tuple)) else [data])]
    if len(arrays) != len(model.inputs):
        raise InputError(
            f"Model {model.name!r} has {len(model.inputs)} inputs. Received: {len(arrays)} arrays."
        )
    for array, tensor in zip(arrays, model.inputs):
        expected = tuple(tensor.shape[1:])
        if len(array.shape) != len(tensor.shape) or any(
            e not in (None, s) for e, s in zip(expected, array.shape[1:])
        ):
            raise InputError(
                f"Input {tensor.name!r} has the shape {(None, *expected)}. Received: {array.shape}."
            )
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise bad_argument("data", "finite", f"{np.sum(~np.isfinite(array))} values are not")
    return "given", arrays


def _held_out(model, data, test):
    """`(arrays, labels)` to measure on in the end, `None` if there are none."""
    if test is not None:
        return named_inputs(model, test)[1], getattr(test, "y_train", None)
    if getattr(data, "x_test", None) is not None:
        return [data.inputs(model, "test")], data.y_test
    return None


def _reasons(steps):
    """layer → reason → count; a tied unit counts in each layer that computes it."""
    reasons = {}
    for graph, plan in steps:
        why = {graph.unit(removal.layer, removal.unit): removal.reason for removal in plan.removed}
        for layer, units in graph.writers.items():
            for reason in (why[u] for u in units.tolist() if u in why):
                found = reasons.setdefault(layer, {})
                found[reason] = found.get(reason, 0) + 1
    return reasons


def _layers(before, after, steps, why):
    reasons = _reasons(steps)
    return [
        {
            "name": name,
            "units_before": len(units),
            "units_after": len(after.writers[name]),
            "removed": reasons.get(name, {}),
            "kept": why[name],
        }
        for name, units in before.writers.items()
    ]
