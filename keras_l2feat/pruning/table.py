"""A certificate as a text table."""

__all__ = ["table"]

SHOWN_LAYERS = 60  # of a model with more, those that lost nothing are left out


def table(certificate) -> str:
    """What was removed, what it costs before and after, and whether it was verified: lines of text."""
    layers = certificate.layers
    lost = [layer for layer in layers if layer["units_before"] != layer["units_after"]]
    rows = [("layer", "before", "after", "removed")]
    for layer in layers if len(layers) <= SHOWN_LAYERS else lost:
        why = ", ".join(f"{count} {reason}" for reason, count in layer["removed"].items())
        rows.append((layer["name"], str(layer["units_before"]), str(layer["units_after"]), why))
    lines = _aligned(rows)
    if len(layers) > SHOWN_LAYERS:
        lines.append(f"({len(layers) - len(lost)} other layers lose nothing)")
    lines.append("")
    costs = [("", "before", "after", "")]
    for key, label, form in (
        ("parameters", "parameters", _whole),
        ("bytes", "file bytes", _whole),
        ("flops", "FLOPs per input", _whole),
        ("latency_seconds", "latency of 32 inputs", lambda seconds: f"{1e3 * seconds:.2f} ms"),
    ):
        before, after = (certificate.costs.get(f"{key}_{when}") for when in ("before", "after"))
        if before is not None:
            ratio = f"{before / after:.2f} times less" if after and before > after else ""
            costs.append((label, form(before), form(after), ratio))
    lines += _aligned(costs)
    lines.append("")
    for name, reason in certificate.barriers.items():
        lines.append(f"Left alone around {name}: {reason}.")
    checks = [("compared on", "max |Δ|", "relative", "bound", "")]
    for e in certificate.evaluations:
        verdict = "ok" if e.passed else "FAILED"
        bound = f"{e.bound:.2g} ({e.bound_kind})"
        checks.append((f"{e.inputs} ({e.count})", f"{e.max_abs:.2g}", f"{e.max_rel:.2g}", bound, verdict))
    lines += _aligned(checks)
    lines += [f"Predictions changed: {e.changed} of {e.count}." for e in certificate.evaluations if "data" in e.inputs]
    lines.append("")
    if not lost:
        lines.append(_nothing(certificate))
    verdict = "verified" if certificate.verified else "NOT verified"
    lines.append(f"Guarantee {certificate.guarantee}: {verdict}.")
    return "\n".join(lines)


def _nothing(certificate):
    if certificate.barriers and not any(layer["units_before"] for layer in certificate.layers):
        return "Nothing to prune: no layer is understood well enough."
    return "Nothing to prune: no unit is redundant" + (
        " (at this guarantee)." if certificate.guarantee == "exact" else "."
    )


def _whole(number):
    return f"{number:,}"


def _aligned(rows):
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:3], widths[1:3])]
        cells += [cell.ljust(width) for cell, width in zip(row[3:], widths[3:])]
        lines.append("  ".join(cells).rstrip())
    return lines
