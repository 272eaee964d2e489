"""A certificate as a text table."""

import math
import textwrap

from keras_l2feat.pruning.certificate import NAMED, Certificate
from keras_l2feat.text import WIDTH, columns, printable

__all__ = ["table"]

LESS = 1.005  # from this ratio on it is shown
COSTS = (  # key, label, form
    ("parameters", "parameters", "{:,}".format),
    ("bytes", "file bytes", "{:,}".format),
    ("flops", "FLOPs per input", "{:,}".format),
    (
        "latency_seconds",
        "latency of {latency_inputs} inputs",
        lambda seconds: f"{1e3 * seconds:.2f} ms",
    ),
)


def table(certificate: Certificate) -> str:
    """What was removed, what it costs before and after, and whether it was verified: lines of
    text."""
    lost = [x for x in certificate.layers if x["units_before"] != x["units_after"]]
    kept = [x for x in certificate.layers if x not in lost]
    lines = [*_removed(lost), *_unchanged(kept), "", *_costs(certificate.costs), ""]
    if certificate.read_as:
        lines += [certificate.read_as, ""]
    for name, reason in certificate.barriers.items():
        lines.append(printable(f"Left alone around {name}: {reason}."))
    if certificate.spared:
        lines += textwrap.wrap(printable(certificate.spared), WIDTH, break_on_hyphens=False)
    lines += [
        *_compared(certificate.evaluations),
        *_measured(certificate.account.measured or {}),
    ]
    if lines[-1]:
        lines.append("")
    if not lost:
        lines.append(_nothing(certificate))
    return "\n".join([*lines, *_shown(certificate)])


def _removed(layers):
    rows = [("layer", "before", "after", "removed")]
    for layer in layers:
        why = ", ".join(f"{count} {reason}" for reason, count in layer["removed"].items())
        rows.append((layer["name"], str(layer["units_before"]), str(layer["units_after"]), why))
    return columns(rows) if layers else []


def _costs(costs):
    rows = [("", "before", "after", "")]
    for key, label, form in COSTS:
        before, after = (costs.get(f"{key}_{when}") for when in ("before", "after"))
        if before is not None:
            ratio = f"{before / after:.2f} times less" if after and before > LESS * after else ""
            rows.append((label.format(**costs), form(before), form(after), ratio))
    return columns(rows)


def _compared(evaluations):
    """How far outputs were apart where both models ran."""
    rows = [("compared on", "max |Δ|", "relative", "bound", "")]
    for e in evaluations:
        bounded = e.bound < math.inf
        verdict = ("ok" if bounded else "") if e.passed else "FAILED"
        bound = f"{e.bound:.2g} ({e.bound_kind})" if bounded else f"none ({e.bound_kind})"
        rows.append(
            (f"{e.inputs} ({e.count})", f"{e.max_abs:.2g}", f"{e.max_rel:.2g}", bound, verdict)
        )
    on_data = [e for e in evaluations if e.source == "data"]
    compared = columns(rows) if evaluations else []
    return compared + [f"Predictions changed: {e.changed} of {e.count}." for e in on_data]


def _shown(certificate):
    """What was proved, or only measured."""
    if not certificate.claim.bounds:
        asked = (f"Asked for: {n} {v:g}. " for n, v in (certificate.account.target or {}).items())
        return ["".join(asked) + "No output is bounded; measured as above."]
    lines = []
    if certificate.proved:
        claim = f"Proved: {certificate.claim.text}, {certificate.verdict}."
        lines = textwrap.wrap(claim, WIDTH)
    verdict = "verified" if certificate.verified else "NOT verified"
    return [*lines, f"Guarantee {certificate.guarantee}: {verdict}."]


def _unchanged(layers):
    """The layers that lost nothing, by the reason."""
    reasons = {}
    for layer in layers:
        reasons.setdefault(layer["kept"], []).append(layer["name"])
    lines = []
    for reason, names in reasons.items():
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        text = f"Unchanged: {', '.join(names[:NAMED])}{more} ({reason})."
        lines += textwrap.wrap(printable(text), WIDTH, break_on_hyphens=False)
    return lines


def _measured(parts):
    """What a change of outputs amounts to on data that were fitted on, and on others."""
    rows = [("measured on", "max |Δ|", "same prediction", "accuracy", "loss")]
    for name, part in parts.items():
        pairs = [
            f"{form(part[f'{key}_before'])} → {form(part[key])}" if key in part else ""
            for key, form in (("accuracy", "{:.2%}".format), ("loss", "{:.5g}".format))
        ]
        same = f"{part['agree']:.2%}" if "agree" in part else ""
        rows.append((f"{name} ({part['points']})", f"{part['max_abs']:.2g}", same, *pairs))
    return ["", *columns(rows)] if parts else []


def _nothing(certificate):
    if certificate.barriers and not any(layer["units_before"] for layer in certificate.layers):
        return "Nothing to prune: no layer is understood well enough."
    return "Nothing to prune: no unit is redundant" + (
        " (at this guarantee)." if certificate.guarantee == "exact" else "."
    )
