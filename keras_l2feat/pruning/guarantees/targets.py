"""What a smaller network may change, or how large it may stay, and how that is measured."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_l2feat.errors import InputError, bad_argument, require
from keras_l2feat.pruning.takeover.sizes import SIZES

__all__ = ["TARGETS", "Target", "harm", "measured", "share"]

TARGETS = ("tolerance", "relative_tolerance", "agree", "keep_accuracy", "keep_loss", *SIZES)


def share(name: str, value: Any) -> float:
    """`"0.2%"`, `"0.002"` or `0.002` as the number 0.002.

    Raises:
        InputError: none of them, or negative.
    """
    try:
        text = isinstance(value, str) and value.endswith("%")
        number = float(value[:-1]) / 100 if text else float(value)
    except (TypeError, ValueError):
        number = -1.0
    require(0 <= number < math.inf, name, "a part such as 0.2% or 0.002", value)
    return number


@dataclass(frozen=True)
class Target:
    """One thing that is asked for.

    Attributes:
        name: of `TARGETS`: "tolerance" (largest |Δ| of any output), "relative_tolerance" (the same
            over the largest output), "agree" (the share of points with the same prediction),
            "keep_accuracy" (by how much it may fall), "keep_loss" (by which part it may rise), or
            the share of "units", "flops" or "parameters" that may stay.
        value: the number.
    """

    name: str
    value: float

    @classmethod
    def of(cls, options: Mapping) -> "Target":
        """The one target among options.

        Raises:
            InputError: there is none, or several, or its value makes no sense.
        """
        given = {k: options[k] for k in TARGETS if options.get(k) not in (None, False)}
        if len(given) != 1:
            raise InputError(
                f"One target is expected, of {', '.join(TARGETS)}. "
                f"Received: {', '.join(given) or 'none'}."
            )
        ((name, value),) = given.items()
        if name == "tolerance":
            if not (isinstance(value, (int, float)) and 0 < value < np.inf):
                raise bad_argument(name, "a positive number", value)
            return cls(name, float(value))
        number = 0.0 if value is True else share(name, value)
        if name in ("agree", *SIZES) and number > 1:
            raise bad_argument(name, "a share of at most 1 or 100%", value)
        return cls(name, number)

    @property
    def sized(self) -> bool:
        """Whether it is a size."""
        return self.name in SIZES

    @property
    def bounds(self) -> bool:
        """Whether it bounds single outputs."""
        return self.name in ("tolerance", "relative_tolerance")

    @property
    def labelled(self) -> bool:
        """Whether it needs labels."""
        return self.name in ("keep_accuracy", "keep_loss")

    def stricter(self, parts: Mapping) -> "Target":
        """A bound that leaves room for what it was exceeded by."""
        key = {"tolerance": "max_abs", "relative_tolerance": "max_rel"}[self.name]
        return Target(self.name, self.value**2 / max(part[key] for part in parts.values()))

    def reached(self, parts: Mapping) -> bool:
        """Whether the changes are small enough: bounds on outputs on all data, everything else on
        those that the fit did not see.

        Args:
            parts: name → what `measured` says of that part of the data; "held out" among them.
        """
        held = parts["held out"]
        if self.name == "tolerance":
            return max(part["max_abs"] for part in parts.values()) <= self.value
        if self.name == "relative_tolerance":
            return max(part["max_rel"] for part in parts.values()) <= self.value
        if self.name == "agree":
            return held["agree"] >= self.value
        if self.name == "keep_accuracy":
            return held["accuracy_before"] - held["accuracy"] <= self.value
        return held["loss"] <= held["loss_before"] * (1 + self.value)


def measured(
    before: np.ndarray,
    after: np.ndarray,
    labels: np.ndarray | None = None,
    *,
    classes: bool = False,
    probabilities: bool = False,
) -> dict:
    """What a change of the outputs amounts to on some points.

    Args:
        before, after: (points, values) float64.
        labels: (points,) class labels or (points, values) targets, or `None`.
        classes: whether the outputs are of classes; probabilities: or already probabilities.

    Returns: "points", "max_abs", "max_rel"; of classes "agree"; with labels "loss" and
        "loss_before", of classes "accuracy" and "accuracy_before".
    """
    gap = np.abs(after - before).max(initial=0.0)
    reach = np.abs(before).max(initial=0.0)
    found = {
        "points": len(before),
        "max_abs": float(gap) if np.isfinite(gap) else math.inf,
        "max_rel": float(gap / reach) if reach else float(gap),
    }
    if classes:
        found["agree"] = float(np.mean(before.argmax(axis=1) == after.argmax(axis=1)))
    if labels is not None:
        for key, values in (("_before", before), ("", after)):
            if classes:
                found[f"accuracy{key}"] = float(np.mean(values.argmax(axis=1) == labels))
                logs = _log_probabilities(values, probabilities)
                found[f"loss{key}"] = float(-logs[np.arange(len(logs)), labels].mean())
            else:
                found[f"loss{key}"] = float(((values - labels) ** 2).sum(axis=1).mean())
    return found


def harm(classes: bool = False, probabilities: bool = False) -> Callable:
    """How much a change of outputs counts: the mean over points of the divergence of predicted
    classes (to second order the outputs' Hessian of cross-entropy), or of the squared change.

    Returns: `(before, after) -> float`, both (points, values).
    """

    def of_outputs(before, after):
        return float(((after - before) ** 2).sum(axis=1).mean())

    def of_classes(before, after):
        old, new = (_log_probabilities(values, probabilities) for values in (before, after))
        return float((np.exp(old) * (old - new)).sum(axis=1).mean())

    return of_classes if classes else of_outputs


def _log_probabilities(values, probabilities):
    if probabilities:
        return np.log(np.maximum(values, 1e-30))
    top = values.max(axis=1, keepdims=True)
    return values - top - np.log(np.exp(values - top).sum(axis=1, keepdims=True))
