"""The gallery: one static page with a table to sort, a picture and the card of each model; it
requests nothing."""

import itertools
import math
from html import escape
from importlib import resources

import numpy as np

from keras_l2feat import files
from keras_l2feat.zoo.cards import FIELDS, fact, shown
from keras_l2feat.zoo.fetch import fetch

__all__ = ["gallery_page", "write_gallery"]

COLUMNS = (  # heading, where the fact lies, whether it is a number
    ("Role", "role", False),
    ("Data", "data", False),
    ("λ", "lam", True),
    ("Widths", "widths", False),
    ("Parameters", "parameters", True),
    ("Training loss", "metrics.train_loss", True),
    ("Test accuracy", "metrics.test_accuracy", True),
)
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 320, 180, 52, 10, 14, 34  # of the curve, in SVG units


def write_gallery(path, entries) -> None:
    """Write `gallery_page` to a file, whole or not at all."""
    files.write_text(path, gallery_page(entries))


def gallery_page(entries) -> str:
    """The page of these models. Their files are fetched, for the pictures of their rays.

    Args:
        entries: of the registry.

    Returns: HTML, complete in itself.
    """
    head = "".join(
        f'<th scope="col" aria-sort="none"><button type="button">{escape(label)}</button></th>'
        for label in ("Model", *(label for label, *_ in COLUMNS))
    )
    body = "".join(_row(one) for one in entries)
    cards = "".join(_card(one) for one in entries)
    style, script = (_part(name) for name in ("gallery.css", "gallery.js"))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<link rel="icon" href="data:,"><title>keras_l2feat zoo</title><style>{style}</style></head><body>'
        "<header><h1>keras_l2feat zoo</h1><p>Networks that L2 regularization made narrow, each with its wide parent. "
        "Choose a heading to sort the table, a name to see the card.</p></header><main>"
        '<div class="scroll" tabindex="0" role="region" aria-label="All models"><table id="models">'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>{cards}"
        f'</main><p id="status" role="status" aria-live="polite"></p><script>{script}</script></body></html>\n'
    )


def _part(name) -> str:
    return resources.files("keras_l2feat.zoo").joinpath(name).read_text(encoding="utf-8")


def _row(one) -> str:
    cells = [f'<th scope="row"><a href="#{escape(one.name)}">{escape(one.name)}</a></th>']
    for _, key, numeric in COLUMNS:
        value = fact(one.facts, key)
        text = "–" if value is None else shown(value)
        order = f' data-order="{"" if value is None else float(value)!r}"' if numeric else ""
        kind = ' class="number"' if numeric else ""
        cells.append(f"<td{kind}{order}>{escape(text)}</td>")
    return f"<tr>{''.join(cells)}</tr>"


def _card(one) -> str:
    snippet = f'from keras_l2feat import zoo; model = zoo.load("{one.name}")'
    tables = []
    for heading, fields in FIELDS.items():
        pairs = [(label, fact(one.facts, key)) for key, label in fields.items()]
        rows = "".join(
            f'<tr><th scope="row">{escape(label)}</th><td>{escape(shown(value))}</td></tr>'
            for label, value in pairs
            if value is not None
        )
        if rows:
            tables.append(f"<h3>{escape(heading)}</h3><table>{rows}</table>")
    size = f"{one.size / 1000:,.0f} kB"
    return (
        f'<section class="card" id="{escape(one.name)}" aria-labelledby="{escape(one.name)}-name">'
        f'<h2 id="{escape(one.name)}-name">{escape(one.name)}</h2><p>{escape(one.facts.get("title", ""))}</p>'
        f'<div class="snippet"><code>{escape(snippet)}</code>'
        f'<button type="button" class="copy" aria-label="Copy the line that loads {escape(one.name)}">Copy</button>'
        "</div>"
        f'<div class="pictures">{_curve(one)}{_rays(one)}</div>'
        f"<details><summary>Card</summary>{''.join(tables)}"
        f"<p>File {escape(one.file)}, {size}, SHA-256 <code>{one.sha256}</code></p></details></section>"
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
    for narrow, wide in itertools.pairwise(
        widths
    ):  # loss never rises with width [Jacot et al. 2022, Prop. 6]
        best[wide] = min(best[wide], best[narrow])
    least, most = min(best.values()), max(best.values())

    def across(width):
        return LEFT + (WIDTH - LEFT - RIGHT) * (width - widths[0]) / max(widths[-1] - widths[0], 1)

    def down(loss):
        return TOP + (HEIGHT - TOP - BOTTOM) * (1 - (loss - least) / ((most - least) or 1.0))

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
            f'<path class="mark" d="M{x:.1f} {TOP}V{HEIGHT - BOTTOM}"><title>within {float(epsilon):.1%} of the '
            f"least loss from widths {shown(start)} on</title></path>"
        )
    label = f"{one.name}: training loss against hidden neurons, from {least:.4g} to {most:.4g}"
    axes = (
        f'<path class="axis" d="M{LEFT} {TOP}V{HEIGHT - BOTTOM}H{WIDTH - RIGHT}"/>'
        f'<text x="{LEFT - 4}" y="{TOP + 4}" text-anchor="end">{most:.4g}</text>'
        f'<text x="{LEFT - 4}" y="{HEIGHT - BOTTOM}" text-anchor="end">{least:.4g}</text>'
        f'<text x="{LEFT}" y="{HEIGHT - BOTTOM + 13}">{widths[0]}</text>'
        f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - BOTTOM + 13}" text-anchor="end">{widths[-1]}</text>'
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 6}" text-anchor="middle">'
        "hidden neurons on distinct rays</text>"
    )
    return (
        f'<figure><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}" class="curve">'
        f'{marks}{axes}<polyline points="{line}"/>{dots}</svg><figcaption>Least training loss up to each width, as '
        "neurons joined rays; dashed: where the plateau starts, at each ε.</figcaption></figure>"
    )


def _rays(one) -> str:
    """Incoming weights of each hidden layer in the plane of their two principal directions."""
    from keras_l2feat.report import directions, drawing

    model = files.load_model(fetch(one))
    pictures = []
    for name, layer in list(directions.of_model(model).items())[:-1]:
        basis, share = directions.plane(layer.vectors)
        first = _first_on_ray(layer.vectors)
        drawn = drawing.rays(
            directions.project(layer.vectors, basis),
            first,
            f"{one.name}, {name}: rays of the neurons",
        )
        pictures.append(
            f"<figure>{drawn}<figcaption>{escape(name)}: {layer.total} neurons on {int(first.sum())} rays (dashed: on "
            f"the ray of another, or dead); the plane holds {share:.0%} of their size.</figcaption></figure>"
        )
    return "".join(pictures)


def _first_on_ray(vectors):
    """Which vectors are the first of their direction, `(k,)` bool; zero vectors are none."""
    norms = np.linalg.norm(vectors, axis=1)
    unit = np.round(vectors / np.where(norms > 0, norms, 1.0)[:, None], 4) + 0.0
    first = np.zeros(len(vectors), dtype=bool)
    first[np.unique(unit, axis=0, return_index=True)[1]] = True
    return first & (norms > 0)
