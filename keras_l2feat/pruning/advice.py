"""Why nothing, or little, can go, in terms of what was seen in the model, and what would help."""

import shlex
from collections.abc import Mapping
from typing import Any

from keras_l2feat.pruning.channels.read import read
from keras_l2feat.pruning.inspect import inspect
from keras_l2feat.pruning.plan import Plan
from keras_l2feat.types import Model

__all__ = ["LITTLE", "advice"]

LITTLE = 0.05  # share of the units up to which advice is given
FAR, NEAR = "1e-06", "0.1"  # radians: units on one ray exactly, and those that more training joins


def advice(
    model: Model,
    source: str,
    *,
    data: Any = None,
    guarantee: str = "exact",
    removed: int | None = None,
    seen: Mapping | None = None,
    weights: str | None = None,
) -> list:
    """Sentences about a model of which little can go; none where enough can.

    Args:
        model: a built Keras model.
        source: what the command line calls it.
        data: a `data.Dataset`, whose range of inputs is tried; `None` for none.
        guarantee: the level that was asked for.
        removed: how many units went; by default what would at "exact".
        seen: what `inspect` returned for the model, where it was asked already.
        weights: the file of weights beside `source`, where it is the JSON of an architecture.

    Returns: lines of text, each a sentence or a command.
    """
    if removed is not None and removed > LITTLE * sum(map(len, read(model).writers.values())):
        return []
    # of what would go only the number is told: where that is given, nobody looks again
    layers = (seen or inspect(model, plan=None if removed is None else Plan("exact")))["layers"]
    units = sum(layer["units"] for layer in layers)
    if removed is None:
        removed = sum(sum(layer["would_go"].values()) for layer in layers)
    if not units or removed > LITTLE * units:
        return []
    source = shlex.join([source] if weights is None else [source, "--weights", weights])
    rays, near = (sum(layer["rays"][angle] for layer in layers) for angle in (FAR, NEAR))
    dead = units - sum(layer["alive"] for layer in layers)
    lines = [
        f"{'Little' if removed else 'Nothing'} can go: {units} units lie on {rays} rays "
        f"({near} at {NEAR} radians), {dead or 'none'} of them dead."
    ]
    named = "NAME" if data is None else shlex.quote(data.reference)
    if guarantee == "exact":
        lines += _domain(model, source, data)
    if guarantee != "bounded":
        lines += [
            "If outputs may change a little:",
            f"  l2feat prune {source} --guarantee bounded --data {named} --agree 99.9% "
            "-o OUT.keras",
        ]
    lines += [
        "To make it smaller while it trains on:",
        f"  l2feat shrink {source} --data {named} --flops 50% -o OUT.keras",
        "Training with L2 on all weights, and callbacks.AlignNeurons, makes units redundant; "
        "so does",
        f"  l2feat train {named} --align 0.05 -o OUT.keras",
    ]
    return lines


def _domain(model, source, data):
    """What a bound on the inputs would do."""
    from keras_l2feat.pruning.guarantees.domain import domain_plan

    command = f"  l2feat prune {source} --guarantee domain --input-range"
    if data is None:
        return [
            "On inputs in a known range, units that never switch can go:",
            f"{command} LOW,HIGH -o OUT.keras",
        ]
    low, high = float(data.x_train.min()), float(data.x_train.max())
    stable = len(domain_plan(read(model), input_range=(low, high)).removed)
    if not stable:
        return [f"On inputs from {low:g} to {high:g}, as the data's, every unit is still needed."]
    return [
        f"On inputs from {low:g} to {high:g}, as the data's, {stable} units never switch or are "
        "not needed:",
        f"{command} {low:g},{high:g} -o OUT.keras",
    ]
