"""The gallery: one static page with a table to sort, and for each pair of models their pictures,
side by side in one plane, and their cards; it requests nothing."""

import itertools
import math
from collections.abc import Sequence
from html import escape
from importlib import resources
from pathlib import Path

import numpy as np

from keras_l2feat import files
from keras_l2feat.zoo.cards import FIELDS, fact, shown
from keras_l2feat.zoo.models import load_entry
from keras_l2feat.zoo.registry import Entry

__all__ = ["gallery_page", "write_gallery"]

COLUMNS = (  # heading, where the fact lies, whether it is a number
    ("Role", "role", False),
    ("Data", "data", False),
    ("λ", "lam", True),
    ("Widths", "widths", False),
    ("Parameters", "parameters", True),
    ("Times smaller", "reduction", True),
    ("Training loss", "metrics.train_loss", True),
    ("Test accuracy", "metrics.test_accuracy", True),
)
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 320, 180, 52, 10, 14, 34  # of the curve, in SVG units


def write_gallery(path: str | Path, entries: Sequence[Entry]) -> None:
    """Write `gallery_page` to a file, whole or not at all."""
    files.write_text(path, gallery_page(entries))


def gallery_page(entries: Sequence[Entry]) -> str:
    """The page of these models. Their files are fetched, for the pictures of their rays.

    Args:
        entries: of the registry.

    Returns: HTML, complete in itself.
    """
    head = "".join(
        f'<th scope="col" aria-sort="none"><button type="button">{escape(label)}</button></th>'
        for label in ("Model", *(label for label, *_ in COLUMNS))
    )
    pairs = _pairs(entries)
    body = "".join(_row(one, pair[0]) for pair in pairs for one in pair)
    cards = "".join(map(_pair, pairs))
    style, script = (_part(name) for name in ("gallery.css", "gallery.js"))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<link rel="icon" href="data:,"><title>keras_l2feat '
        f"zoo</title><style>{style}</style></head><body><header><h1>keras_l2feat "
        "zoo</h1><p>Networks that L2 regularization made narrow, each beside the wide parent that "
        "it equals. Choose a heading to sort the table, a name to see the card. In the pictures "
        "each line is a neuron, the vector of its outputs on 256 random inputs; rings are neurons "
        "on the ray of another, or dead.</p></header><main>"
        '<div class="scroll" tabindex="0" role="region" aria-label="All models"><table id="models">'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>{cards}"
        '</main><p id="status" role="status" '
        f'aria-live="polite"></p><script>{script}</script></body></html>\n'
    )


def _part(name) -> str:
    return resources.files("keras_l2feat.zoo").joinpath(name).read_text(encoding="utf-8")


def _pairs(entries) -> list:
    """The entries in groups: each parent, then those that were pruned from it."""
    groups = {}
    for one in entries:
        groups.setdefault(fact(one.facts, "parent") or one.name, []).append(one)
    return [sorted(group, key=lambda one: one.name != parent) for parent, group in groups.items()]


def _row(one, parent) -> str:
    facts = {**one.facts, "reduction": _reduction(one, parent)}
    cells = [f'<th scope="row"><a href="#{escape(one.name)}">{escape(one.name)}</a></th>']
    for _, key, numeric in COLUMNS:
        value = fact(facts, key)
        text = "–" if value is None else _figure(value)
        order = f' data-order="{"" if value is None else float(value)!r}"' if numeric else ""
        kind = ' class="number"' if numeric else ""
        cells.append(f"<td{kind}{order}>{escape(text)}</td>")
    return f"<tr>{''.join(cells)}</tr>"


def _reduction(one, parent):
    """How many times fewer parameters than its parent a model has, `None` for the parent."""
    counts = [fact(entry.facts, "parameters") for entry in (parent, one)]
    return None if one is parent or None in counts else round(counts[0] / counts[1], 2)


def _figure(value) -> str:
    """A fact as `shown`, whole numbers in groups of three digits."""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}".replace(",", "\u202f")  # narrow, not broken
    return shown(value)


def _pair(pair) -> str:
    """A parent and what was pruned from it, in columns."""
    pictures = _rays(pair)
    columns = "".join(_card(one, pictures[one.name]) for one in pair)
    stem = pair[0].name.removesuffix(f"-{fact(pair[0].facts, 'role')}")
    title = pair[-1].facts.get("title", "")
    curve = next(filter(None, map(_curve, pair)), "")
    return (
        f'<section class="pair"><h2>{escape(stem)}</h2><p>{escape(title)}</p>'
        f'<div class="pictures">{curve}</div><div class="models">{columns}</div></section>'
    )


def _card(one, pictures) -> str:
    snippet = f'from keras_l2feat import zoo; model = zoo.load("{one.name}")'
    tables = []
    for heading, fields in FIELDS.items():
        pairs = [(label, fact(one.facts, key)) for key, label in fields.items()]
        rows = "".join(
            f'<tr><th scope="row">{escape(label)}</th><td>{escape(_figure(value))}</td></tr>'
            for label, value in pairs
            if value is not None
        )
        if rows:
            tables.append(f"<h4>{escape(heading)}</h4><table>{rows}</table>")
    size = f"{one.size / 1000:,.0f} kB"
    facts = [_figure(one.facts[key]) for key in ("widths", "parameters") if key in one.facts]
    summary = ": ".join(facts) + " parameters" if len(facts) == 2 else ""
    return (
        f'<article class="card" id="{escape(one.name)}" aria-labelledby="{escape(one.name)}-name">'
        f'<h3 id="{escape(one.name)}-name">{escape(one.name)}</h3><p>{escape(summary)}</p>'
        f'<div class="pictures">{pictures}</div>'
        f'<div class="snippet"><code>{escape(snippet)}</code>'
        '<button type="button" class="copy" '
        f'aria-label="Copy the line that loads {escape(one.name)}">Copy</button></div>'
        f"<details><summary>Card</summary>{''.join(tables)}<p>File {escape(one.file)}, {size}, "
        f"SHA-256 <code>{one.sha256}</code></p></details></article>"
    )


def _curve(one) -> str:
    """Loss against the number of hidden neurons, with the start of the plateau at each ε."""
    best = {}
    for widths, loss in (fact(one.facts, "plateau.curve") or {}).items():
        width = sum(map(int, widths.split("-")))
        best[width] = min(loss, best.get(width, math.inf))
    if len(best) < 2:
        return ""
    widths = sorted(best)
    for narrow, wide in itertools.pairwise(widths):
        # loss never rises with width [Jacot et al. 2022, Prop. 6]
        best[wide] = min(best[wide], best[narrow])
    least, most = min(best.values()), max(best.values())

    def across(width):
        return LEFT + (WIDTH - LEFT - RIGHT) * (width - widths[0]) / max(widths[-1] - widths[0], 1)

    def down(loss):
        # from 0, so that a fall of a few percent looks like one
        return TOP + (HEIGHT - TOP - BOTTOM) * (1 - loss / (most or 1.0))

    line = " ".join(f"{across(width):.1f},{down(best[width]):.1f}" for width in widths)
    dots = "".join(
        f'<circle cx="{across(width):.1f}" cy="{down(best[width]):.1f}" r="3">'
        f"<title>{width} neurons: loss {best[width]:.6g}</title></circle>"
        for width in widths
    )
    marks = ""
    for epsilon, start in (fact(one.facts, "plateau.start") or {}).items():
        x = across(sum(start))
        marks += (
            f'<path class="mark" d="M{x:.1f} {TOP}V{HEIGHT - BOTTOM}"><title>within '
            f"{float(epsilon):.1%} of the least loss from widths {shown(start)} on</title></path>"
        )
    label = f"{one.name}: training loss against hidden neurons, from {most:.4g} to {least:.4g}"
    axes = (
        f'<path class="axis" d="M{LEFT} {TOP}V{HEIGHT - BOTTOM}H{WIDTH - RIGHT}"/>'
        f'<text x="{LEFT - 4}" y="{TOP + 4}" text-anchor="end">{most:.4g}</text>'
        f'<text x="{LEFT - 4}" y="{HEIGHT - BOTTOM}" text-anchor="end">0</text>'
        f'<text x="{LEFT}" y="{HEIGHT - BOTTOM + 13}">{widths[0]}</text>'
        f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - BOTTOM + 13}" '
        f'text-anchor="end">{widths[-1]}</text>'
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 6}" text-anchor="middle">'
        "hidden neurons on distinct rays</text>"
    )
    return (
        f'<figure><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(label)}" class="curve">'
        f'{marks}{axes}<polyline points="{line}"/>{dots}</svg><figcaption>Least training '
        "loss up to each width, as neurons joined rays; dashed: where the plateau starts, at each "
        "ε.</figcaption></figure>"
    )


def _rays(pair) -> dict:
    """Name → pictures of the model's hidden layers: the outputs of their neurons on random inputs,
    of all models of the pair in the plane of the first one's two principal directions."""
    from keras_l2feat.plots.rays import gaussian_inputs, responses
    from keras_l2feat.report import directions, drawing

    models = {one.name: load_entry(one) for one in pair}
    weights = {name: directions.of_model(model) for name, model in models.items()}
    layers = list(weights[pair[0].name])[:-1]
    vectors = {
        name: responses(model, layers, gaussian_inputs(model)) for name, model in models.items()
    }
    pictures = dict.fromkeys(models, "")
    for layer in layers:
        basis, share = directions.plane(vectors[pair[0].name][layer])
        points = {name: vectors[name][layer] @ basis for name in models}
        extent = max(np.abs(one).max(initial=0.0) for one in points.values())
        for name, ends in points.items():
            found = weights[name][layer]
            first = _first_on_ray(found.vectors)
            label = f"{name}, {layer}: neurons on rays"
            drawn = drawing.rays(ends[found.units], first, label, extent)
            count = f"{found.total} neurons on {int(first.sum())} rays"
            pictures[name] += (
                f"<figure>{drawn}<figcaption>{escape(layer)}: {count} ({share:.0%} of the size "
                "shown)</figcaption></figure>"
            )
    return pictures


def _first_on_ray(vectors):
    """Which vectors are the first of their direction, `(k,)` bool; zero vectors are none."""
    norms = np.linalg.norm(vectors, axis=1)
    unit = np.round(vectors / np.where(norms > 0, norms, 1.0)[:, None], 4) + 0.0
    first = np.zeros(len(vectors), dtype=bool)
    first[np.unique(unit, axis=0, return_index=True)[1]] = True
    return first & (norms > 0)
