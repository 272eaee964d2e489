"""The plan within a tolerance, or down to a size: units go, and all that stay take over what they
did.

The engine is in `pruning.takeover`, the search in `guarantees.search`. Here: what is asked for, and
what the plan says of it.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_l2feat.errors import InputError, require
from keras_l2feat.pruning.channels.graph import Graph
from keras_l2feat.pruning.evaluate import outputs, precise
from keras_l2feat.pruning.guarantees.search import Search
from keras_l2feat.pruning.guarantees.targets import Target, measured
from keras_l2feat.pruning.guarantees.within_box import box_plan
from keras_l2feat.pruning.plan import Account, Plan
from keras_l2feat.pruning.rewrite import rewrite
from keras_l2feat.pruning.takeover.sizes import SIZES

__all__ = ["bounded_plan"]


def bounded_plan(
    graph: Graph,
    *,
    inputs: Sequence | None = None,
    data: Any = None,
    test: Any = None,
    input_range: tuple | None = None,
    per: str | None = None,
    curve: bool = False,
    balanced: bool = True,
    quiet: bool = True,
    **options,
) -> Plan:
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

    Returns: a `Plan` with guarantee "bounded". Its account says what was asked for, and what was
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
    require(per in (None, *SIZES), "per", f"one of {', '.join(SIZES)}", per)
    search = Search(graph, inputs, _labels(data, inputs), target, per, quiet)
    plan, parts = search.settle(search.most(), balanced)
    plan.reached = {layer for site in search.engine.sites for layer, _ in site.names}
    if test is not None:
        small = outputs(precise(rewrite(graph, plan)), test[0])
        before = outputs(precise(graph.model), test[0])
        parts["test"] = measured(before, small, test[1], **search.kind)
    size = 1.0 if target.name == "tolerance" else float(np.abs(search.before).max())
    plan.account = Account(
        points=len(inputs[0]),
        target={target.name: target.value},
        tolerance=target.value * size if target.bounds else None,
        measured=parts,
        curve=search.curve() if curve else None,
    )
    return plan


def _labels(data, inputs):
    labels = getattr(data, "y_train", None)
    return labels if labels is not None and len(labels) == len(inputs[0]) else None
