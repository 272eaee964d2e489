"""What a pruning did, as one HTML file that needs nothing else: readable on a phone, and
printable."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np

from keras_l2feat.pruning.plan import Plan, removed_units
from keras_l2feat.report import directions
from keras_l2feat.report.drawing import histogram, line, rays
from keras_l2feat.report.html import cards, fact, grid, layers, number, page
from keras_l2feat.types import Model

__all__ = ["pruning_page", "write_pruning_page"]

CARDS = {  # key in the result → what the number counts, and by what it is multiplied
    "parameters": ("parameters", 1),
    "bytes": ("bytes in the file", 1),
    "flops": ("FLOPs for one input", 1),
    "latency_seconds": ("milliseconds for one call", 1000.0),
}
COMPARED = {  # title → key in an evaluation
    "compared on": "inputs",
    "points": "count",
    "max |Δ|": "max_abs",
    "relative": "max_rel",
    "bound": "bound",
    "kind of bound": "bound_kind",
    "predictions changed": "changed",
}
MEASURES = {
    "accuracy": "accuracy",
    "agree": "share of the predictions that stay",
    "max_abs": "largest change of an output, as a power of ten,",
}
PANELS = 24  # layers that are drawn, those that lost most; a page stays light enough for a phone
ANGLES = np.linspace(-8, np.log10(np.pi), 29)
ALIGNED, NEAR = 1e-6, 0.1  # radians: on one ray; so near that a looser guarantee may merge them


def pruning_page(
    result: dict,
    before: Model,
    after: Model,
    plans: Sequence[Plan] = (),
    *,
    title: str | None = None,
) -> str:
    """The page of one pruning.

    Args:
        result: what `l2feat prune --json` writes: layers, parameters, deviation, guarantee, bound,
            barriers …
        before, after: the Keras models.
        plans: the plans that led from one to the other, which say what units went.
        title: of the page; the model's name otherwise.

    Returns: HTML, complete in itself.
    """
    title = title or f"Pruning of {before.name}"
    gone = removed_units(plans)
    sections = [
        _summary(result),
        _layers(result),
        _tradeoff((result.get("facts") or {}).get("curve")),
        _directions(before, after, gone),
        _barriers(result),
        _certificate(result),
    ]
    return page(title, sections, result)


def write_pruning_page(
    path: str | Path,
    result: dict,
    before: Model,
    after: Model,
    plans: Sequence[Plan] = (),
    *,
    title: str | None = None,
) -> None:
    """Write `pruning_page` to a file, whole or not at all."""
    from keras_l2feat.files import write_text

    write_text(path, pruning_page(result, before, after, plans, title=title))


def _summary(result):
    verified = bool(result.get("verified"))
    units = [
        sum(layer[key] for layer in result["layers"]) for key in ("units_before", "units_after")
    ]
    numbers = [("units", *units)]
    for key, (text, factor) in CARDS.items():
        pair = [result.get(f"{key}_{when}") for when in ("before", "after")]
        if None not in pair:
            numbers.append((text, *(factor * value for value in pair)))
    deviation = f"largest deviation {number(result.get('max_abs_deviation'))}"
    bound = result.get("bound")
    bound = f", bound {number(bound)}" if isinstance(bound, (int, float)) else ""
    colour, verdict = ("", "verified") if verified else (" bad", "not verified")
    promise = f"guarantee <b>{escape(str(result.get('guarantee', '–')))}</b>; {deviation}{bound}"
    if verified and units[0] == units[1]:  # true, but no success
        colour, verdict = " fell", "nothing can go"
    hints = "".join(
        f"<pre>{escape(line.strip())}</pre>" if line.startswith(" ") else f"<p>{escape(line)}</p>"
        for line in result.get("advice") or ()
    )
    return f'<p><span class="badge{colour}">{verdict}</span> {promise}.</p>{hints}{cards(numbers)}'


def _layers(result):
    rows = []
    for layer in result["layers"]:
        removed = sorted(layer.get("removed", {}).items())
        why = ", ".join(f"{count} {reason}" for reason, count in removed if count)
        units = layer["units_before"], layer["units_after"]
        rows.append((layer["name"], *units, why or layer.get("kept", "")))
    legend = (
        '<p class="soft"><span class="key kept"></span> kept '
        '<span class="key gone"></span> removed</p>'
    )
    body = layers(rows) or "<p>No layer has units that could be removed.</p>"
    return f"<h2>Layers</h2>{legend}{body}"


def _tradeoff(curve):
    """All sizes that were measured, and how each can be had."""
    if not curve:
        return ""
    key = next(key for key in MEASURES if key in curve[0])
    text = f"{MEASURES[key]} on points held out, against the share of the operations that is left"
    whole = curve[0]["flops"]
    values = [np.log10(r[key]) if key == "max_abs" and r[key] else r[key] for r in curve]
    shown = [
        (r["flops"] / whole, float(value), True)
        for r, value in zip(curve, values)
        if r[key] or key != "max_abs"
    ]
    names = ("units", "parameters", "flops", *(k for k in ("accuracy", "agree") if k in curve[0]))
    rows = [
        [*map(r.get, (*names, "max_abs")), f"--flops {np.ceil(1e4 * r['flops'] / whole) / 100:g}%"]
        for r in curve
    ]
    return (
        f'<h2>All sizes</h2><p class="soft">{escape(text)}</p>{line(shown, text) if shown else ""}'
        + grid("Any of them can be had", [*names, "max |Δ|", "asked for with --per flops"], rows)
    )


def _directions(before, after, gone):
    old = {name: layer for name, layer in directions.of_model(before).items() if layer.total > 1}
    kept = {
        name: layer.units[~np.isin(layer.units, list(gone.get(name, ())))]
        for name, layer in old.items()
    }
    new = directions.of_model(after, {name: _ranks(kept[name], gone.get(name, ())) for name in old})
    # it shrank, and no plan says which units went: nothing can be drawn
    known = [n for n in old if n in new and (n in gone or old[n].total == new[n].total)]
    shown = [name for name in known if name in gone] or known
    most = set(sorted(shown, key=lambda name: new[name].total - old[name].total)[:PANELS])
    panels = "".join(
        _panel(name, old[name], new[name], np.isin(old[name].units, kept[name]))
        for name in shown
        if name in most
    )
    if not panels:
        return ""
    note = (
        '<p class="soft">Incoming weights, bias included, in the plane of their two principal '
        'directions. <span class="key kept"></span> kept, <span class="key gone"></span> removed '
        "(rings). After pruning, the units that were kept also carry the weight of those that lay "
        "on their ray.</p>"
    )
    if len(shown) > PANELS:
        left = len(shown) - PANELS
        note += f'<p class="soft">{left} other layers, which lost less, are not drawn.</p>'
    return f'<h2>Rays and angles</h2>{note}<div class="panels">{panels}</div>'


def _ranks(units, gone):
    """What `units` are called once the units `gone` have left."""
    return units - np.searchsorted(np.sort(np.fromiter(gone, int)), units)


def _panel(name, old, new, keep):
    """One layer: its units before and, where it lost some, after; and how near they are."""
    basis, share = directions.plane(old.vectors)
    points = old.vectors @ basis
    pictures = [(points, keep, f"before: {old.total} units")]
    if not keep.all():
        turned = directions.turned(new.vectors, points[keep])
        pictures.append((turned, np.ones(len(turned), bool), f"after: {new.total} units"))
    extent = max(np.abs(picture[0]).max(initial=0.0) for picture in pictures)
    drawn = "".join(
        f"<figure>{rays(points, kept, f'{name} {caption}', extent)}"
        f"<figcaption>{caption}</figcaption></figure>"
        for points, kept, caption in pictures
    )
    sample = "" if len(old.units) == old.total else f"{len(old.units)} drawn at random. "
    return (
        f'<div class="panel"><h3>{escape(name)}</h3><div class="pair">{drawn}</div>'
        f'<p class="soft">{sample}The plane holds {share:.0%} of their size.</p>'
        f"{_angles(name, old, new)}</div>"
    )


def _angles(name, old, new):
    """How near a layer's units are: in a sentence, and as a histogram where there is a spread."""
    found = [directions.nearest_angles(layer.vectors) for layer in (old, new)]
    aligned = found[0] < ALIGNED
    apart = found[0][~aligned]
    words = [f"{aligned.sum()} units share their ray with another"] if aligned.any() else []
    if apart.size:
        who = "the others" if words else "all units"
        words.append(f"{who} are at least {apart.min():.2g} rad from the nearest")
    text = f'<p class="soft">Before: {"; ".join(words)}.</p>' if words else ""
    if not (apart < NEAR).any():
        return text
    counts = [np.histogram(np.log10(angles), ANGLES)[0].tolist() for angles in found]
    ticks = [(-8, "1e-8"), (-6, "1e-6"), (-4, "1e-4"), (-2, "0.01"), (0, "1 rad")]
    label = f"{name}: angles to the nearest other unit"
    drawn = histogram([("gone", counts[0]), ("kept", counts[1])], ANGLES.tolist(), label, ticks)
    return f"""{text}<p class="soft">Angle of each unit to the nearest other,
<span class="key gone"></span> before, <span class="key kept"></span> after:</p>{drawn}"""


def _barriers(result):
    pairs = (result.get("barriers") or {}).items()
    rows = "".join(f"<tr><th>{escape(str(n))}</th><td>{escape(str(r))}</td></tr>" for n, r in pairs)
    body = f"<table>{rows}</table>" if rows else "<p>None: every layer was understood.</p>"
    return f"<h2>What was left alone, and why</h2>{body}"


def _certificate(result):
    skip = {"layers", "barriers", "removals", "evaluations", "facts"}
    rows = {k: v for k, v in result.items() if k not in skip and not k.startswith(tuple(CARDS))}
    facts = dict(result.get("facts") or {})
    facts.pop("curve", None)
    rows.update(facts)
    lines = "".join(
        f"<tr><th>{escape(key.replace('_', ' '))}</th><td>{escape(fact(value))}</td></tr>"
        for key, value in rows.items()
    )
    page = f"<h2>Certificate</h2><table>{lines}</table>"
    rows = [[e.get(key) for key in COMPARED.values()] for e in result.get("evaluations", ())]
    return page + grid("Comparisons, in float64", list(COMPARED), rows)
