"""What a pruning did, as one HTML file that needs nothing else: readable on a phone, and
printable."""

import json
from html import escape

import numpy as np

from keras_l2feat.pruning.guarantees.polish import kept_in_words
from keras_l2feat.report import directions
from keras_l2feat.report.drawing import histogram, rays, stacked_bar

__all__ = ["pruning_page", "write_pruning_page"]

STYLE = """
:root { --ink: #1d2433; --soft: #5b6477; --line: #d9dee8; --paper: #fff; --panel: #f5f7fa; --kept: #1f6f8b;
  --gone: #d1603d; --good: #2e7d4f; --bad: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ef; --soft: #9aa4b8; --line: #39415a; --paper: #151a26;
  --panel: #1d2433; --kept: #5db3d0; --gone: #f08f6b; --good: #6cc493; --bad: #ff8a80; } }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 0 auto;
  max-width: 62rem; padding: 1rem; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.15rem; margin: 2rem 0 .6rem; }
h3 { font-size: 1rem; margin: 0; overflow-wrap: anywhere; }
p { margin: .4rem 0; } .soft { color: var(--soft); font-size: .9rem; }
.badge { display: inline-block; padding: .1rem .6rem; border-radius: 1rem; color: var(--paper); background: var(--good);
  font-weight: 600; } .badge.bad { background: var(--bad); }
.badge.kept { background: var(--kept); } .badge.fell { background: var(--gone); }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .6rem; margin: 1rem 0; }
.card { background: var(--panel); border-radius: .5rem; padding: .6rem .8rem; }
.card b { display: block; font-size: 1.15rem; font-variant-numeric: tabular-nums; }
.layer { display: grid; grid-template-columns: minmax(6rem, 12rem) 1fr; gap: .2rem .8rem; align-items: center;
  padding: .35rem 0; border-top: 1px solid var(--line); }
.layer .name { overflow-wrap: anywhere; } .layer .why { grid-column: 2; }
svg text { font: 8px system-ui, sans-serif; fill: var(--soft); }
.bar { width: 100%; height: .9rem; display: block; } .frame { fill: none; }
rect.kept, .key.kept { fill: var(--kept); background: var(--kept); }
rect.gone, .key.gone { fill: var(--gone); background: var(--gone); }
.key { display: inline-block; width: .8rem; height: .8rem; border-radius: .15rem; vertical-align: -.05rem; }
path.axis { stroke: var(--line); fill: none; stroke-width: .6; }
.rays path.kept { stroke: var(--kept); stroke-width: 1.1; } circle.kept { fill: var(--kept); }
.rays path.gone { stroke: var(--gone); stroke-width: .7; stroke-dasharray: 3 2; } circle.gone { fill: var(--gone); }
.histogram path.kept { fill: var(--kept); fill-opacity: .55; }
.histogram path.gone { fill: var(--gone); fill-opacity: .45; }
.panels { display: grid; grid-template-columns: repeat(auto-fit, minmax(15rem, 1fr)); gap: .8rem; }
.panel { background: var(--panel); border-radius: .5rem; padding: .6rem .8rem; break-inside: avoid; }
.panel .pair { display: grid; grid-template-columns: 1fr 1fr; gap: .4rem; }
table { border-collapse: collapse; width: 100%; } td, th { text-align: left; padding: .3rem .5rem .3rem 0;
  border-top: 1px solid var(--line); vertical-align: top; overflow-wrap: anywhere; }
th { font-weight: 600; width: 40%; }
.scroll { overflow-x: auto; } .grid { font-size: .9rem; } .grid th, .grid td { width: auto; padding-right: .8rem; }
.grid th { overflow-wrap: normal; } h3 { margin-top: 1rem; } .panel h3 { margin-top: 0; }
pre { background: var(--panel); padding: .8rem; border-radius: .5rem; overflow-x: auto; font-size: .8rem; }
@media (max-width: 30rem) { .layer { grid-template-columns: 1fr; } .layer .why { grid-column: 1; } }
@media print { body { max-width: none; padding: 0; font-size: 11pt; } details { display: none; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  h2 { break-after: avoid; } .layer { break-inside: avoid; } }
"""
UNITS = {
    "parameters": "parameters",
    "bytes": "bytes in the file",
    "flops": "FLOPs for one input",
    "latency": "seconds for one call",
}
PANELS = 24  # layers that are drawn, those that lost most; a page stays light enough for a phone
ANGLES = np.linspace(-8, np.log10(np.pi), 29)


def pruning_page(result, before, after, plans=(), *, title=None) -> str:
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
        _directions(before, after, gone),
        _barriers(result),
        _certificate(result),
    ]
    whole = escape(json.dumps(result, indent=2, default=str))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<link rel="icon" href="data:,"><title>{escape(title)}</title><style>{STYLE}</style></head><body>'
        f"<header><h1>{escape(title)}</h1></header>"
        + "".join(sections)
        + f"<details><summary>Everything, as JSON</summary><pre>{whole}</pre></details></body></html>\n"
    )


def write_pruning_page(path, result, before, after, plans=(), *, title=None) -> None:
    """Write `pruning_page` to a file, whole or not at all."""
    from keras_l2feat.files import write_text

    write_text(path, pruning_page(result, before, after, plans, title=title))


def removed_units(plans) -> dict:
    """layer → set of units of the first model that go; each plan counts what the one before
    left."""
    gone = {}
    for plan in plans:
        step = {}
        for removal in plan.removed:
            step.setdefault(removal.layer, set()).add(
                _original(removal.unit, gone.get(removal.layer, ()))
            )
        for layer, units in step.items():
            gone.setdefault(layer, set()).update(units)
    return gone


def _original(unit, gone):
    """The index of the `unit`-th of the units that are not gone."""
    for lost in sorted(gone):
        if lost <= unit:
            unit += 1
    return unit


def _number(value):
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "–"}[value]
    if isinstance(value, int):
        return f"{value:,}".replace(",", "\u202f")  # narrow, not broken
    if isinstance(value, float):
        return f"{value:.3g}"
    return str(value)


def _summary(result):
    verified = bool(result.get("verified"))
    units = [
        sum(layer[key] for layer in result["layers"]) for key in ("units_before", "units_after")
    ]
    cards = [("units", units)]
    for key, text in UNITS.items():
        for suffix in ("", "_seconds"):
            pair = [result.get(f"{key}{suffix}_before"), result.get(f"{key}{suffix}_after")]
            if None not in pair:
                cards.append((text, pair))
    shown = "".join(
        f'<div class="card"><b>{_number(a)} → {_number(b)}</b>{escape(text)}'
        f'<div class="soft">{f"{a / b:.2f} times less" if b and a > b else "as before" if a == b else ""}</div></div>'
        for text, (a, b) in cards
    )
    deviation = f"largest deviation {_number(result.get('max_abs_deviation'))}"
    bound = result.get("bound")
    bound = f", bound {_number(bound)}" if isinstance(bound, (int, float)) else ""
    colour, verdict = ("", "verified") if verified else (" bad", "not verified")
    promise = f"guarantee <b>{escape(str(result.get('guarantee', '–')))}</b>; {deviation}{bound}"
    kept = (result.get("facts") or {}).get("kept")
    if kept:  # trained on: no output is bounded, so nothing is green
        fine, words = kept_in_words(kept)
        colour, verdict = (" kept", "loss kept") if fine else (" fell", "accuracy fell")
        promise = f"trained on, no output is bounded: {escape(words)}; {deviation}"
    return (
        f'<p><span class="badge{colour}">{verdict}</span> {promise}.</p>'
        f'<div class="cards">{shown}</div>'
    )


def _layers(result):
    scale = max([1] + [layer["units_before"] for layer in result["layers"]])
    rows = []
    for layer in result["layers"]:
        before, after = layer["units_before"], layer["units_after"]
        removed = ", ".join(
            f"{count} {reason}"
            for reason, count in sorted(layer.get("removed", {}).items())
            if count
        )
        bar = stacked_bar(
            [
                ("kept", after, f"{after} kept"),
                ("gone", before - after, f"{before - after} removed"),
            ],
            before,
            scale,
            f"{layer['name']}: {before} units before, {after} after",
        )
        rows.append(
            f'<div class="layer"><div class="name">{escape(layer["name"])}</div><div>{bar}</div>'
            f'<div class="why soft">{before} → {after}{": " + escape(removed) if removed else ""}</div></div>'
        )
    legend = '<p class="soft"><span class="key kept"></span> kept <span class="key gone"></span> removed</p>'
    return f"<h2>Layers</h2>{legend}{''.join(rows) or '<p>No layer has units that could be removed.</p>'}"


def _directions(before, after, gone):
    old, new = directions.of_model(before), directions.of_model(after)
    shown = [name for name, layer in old.items() if name in new and len(layer.units) > 1]
    most = set(sorted(shown, key=lambda name: new[name].total - old[name].total)[:PANELS])
    panels = []
    for name in (name for name in shown if name in most):
        layer = old[name]
        lost = np.isin(layer.units, list(gone.get(name, ())))
        if name not in gone and layer.total != new[name].total:
            continue  # it shrank, and no plan says which units went
        basis, share = directions.plane(layer.vectors)
        pictures = [
            rays(directions.project(layer.vectors, basis), ~lost, f"{name} before"),
            rays(
                directions.project(new[name].vectors, basis),
                np.ones(len(new[name].units), dtype=bool),
                f"{name} after",
            ),
        ]
        counts = [
            np.histogram(np.log10(directions.nearest_angles(d.vectors)), ANGLES)[0].tolist()
            for d in (layer, new[name])
        ]
        angles = histogram(
            [("gone", counts[0]), ("kept", counts[1])],
            ANGLES.tolist(),
            f"{name}: angles to the nearest other unit",
            [(-8, "1e-8"), (-6, "1e-6"), (-4, "1e-4"), (-2, "0.01"), (0, "1 rad")],
        )
        sample = "" if len(layer.units) == layer.total else f", {len(layer.units)} drawn at random"
        panels.append(
            f'<div class="panel"><h3>{escape(name)}</h3><div class="pair">{pictures[0]}{pictures[1]}</div>'
            f'<p class="soft">{layer.total} units before (left), {new[name].total} after (right){sample}; '
            f"the plane holds {share:.0%} of their size. Below: angle of each to the nearest other.</p>{angles}</div>"
        )
    if not panels:
        return ""
    note = (
        '<p class="soft">Incoming weights, bias included, in the plane of their two principal directions. '
        '<span class="key kept"></span> kept, after <span class="key gone"></span> removed; in histograms: before.</p>'
    )
    if len(shown) > PANELS:
        note += f'<p class="soft">{len(shown) - PANELS} other layers, which lost less, are not drawn.</p>'
    return f'<h2>Rays and angles</h2>{note}<div class="panels">{"".join(panels)}</div>'


def _barriers(result):
    barriers = result.get("barriers") or {}
    pairs = (
        barriers.items()
        if isinstance(barriers, dict)
        else [(b["name"], b["reason"]) for b in barriers]
    )
    rows = "".join(f"<tr><th>{escape(str(n))}</th><td>{escape(str(r))}</td></tr>" for n, r in pairs)
    body = f"<table>{rows}</table>" if rows else "<p>None: every layer was understood.</p>"
    return f"<h2>What was left alone, and why</h2>{body}"


def _certificate(result):
    skip = {"layers", "barriers", "removals", "evaluations", "facts"}
    rows = {k: v for k, v in result.items() if k not in skip and not k.startswith(tuple(UNITS))}
    facts = dict(result.get("facts") or {})
    polish = facts.pop("polish", None)
    facts.pop("kept", None)
    if polish:
        rows.pop("verified", None)
    rows.update(facts)
    lines = "".join(
        f"<tr><th>{escape(key.replace('_', ' '))}</th><td>{escape(_fact(value))}</td></tr>"
        for key, value in rows.items()
    )
    page = f"<h2>Certificate</h2><table>{lines}</table>"
    keys = ("inputs", "count", "max_abs", "max_rel", "bound", "bound_kind", "changed")
    names = (
        "compared on",
        "points",
        "max |Δ|",
        "relative",
        "bound",
        "kind of bound",
        "predictions changed",
    )
    page += _grid(
        "Comparisons, in float64",
        names,
        [[e.get(k) for k in keys] for e in result.get("evaluations", ())],
    )
    names = ("units", "loss", "accuracy", "on test points", "kept")
    keys = ("loss", "accuracy", "test_accuracy", "kept")
    found = [
        [", ".join(map(str, r["units"].values())), *(r[k] for k in keys)] for r in polish or ()
    ]
    return page + _grid("Polishing", names, found)


def _grid(title, names, rows):
    if not rows:
        return ""
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(_number(c))}</td>' for c in row)}</tr>" for row in rows
    )
    return f'<h3>{escape(title)}</h3><div class="scroll"><table class="grid"><tr>{head}</tr>{body}</table></div>'


def _fact(value):
    """A fact in words; long lists by what they range over."""
    if isinstance(value, dict):
        return "; ".join(f"{k}: {_fact(v)}" for k, v in value.items()) or "–"
    if isinstance(value, (list, tuple)):
        flat = np.ravel(np.asarray(value, dtype=object))
        if len(flat) > 8 and all(isinstance(v, (int, float)) for v in flat):
            return f"{len(flat)} numbers from {min(flat):.3g} to {max(flat):.3g}"
        return ", ".join(_fact(v) for v in flat)
    return _number(value)
