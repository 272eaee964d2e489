"""What every page is made of: its frame, cards of numbers, and tables."""

import json
from collections.abc import Sequence
from html import escape
from importlib import resources
from typing import Any

import numpy as np

from keras_l2feat.report.drawing import stacked_bar

__all__ = ["cards", "fact", "grid", "layers", "number", "page"]


def page(title: str, sections: Sequence[str], result: dict) -> str:
    """A page of sections, with the whole result as JSON at its end.

    Args:
        title: text; sections: HTML; result: JSON-able.
    """
    style = resources.files("keras_l2feat.report").joinpath("page.css").read_text("utf-8")
    whole = escape(json.dumps(result, indent=2, default=str))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<link rel="icon" href="data:,"><title>{escape(title)}</title><style>{style}</style>'
        f"</head><body><header><h1>{escape(title)}</h1></header>"
        + "".join(sections)
        + "<details><summary>Everything, as "
        f"JSON</summary><pre>{whole}</pre></details></body></html>\n"
    )


def number(value: Any) -> str:
    """A number, a truth value or nothing, as pages show it."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "–"}[value]
    if isinstance(value, int):
        return f"{value:,}".replace(",", "\u202f")  # narrow, not broken
    if isinstance(value, float):
        return f"{value:.3g}"
    return str(value)


def _ratio(before, after):
    if before == after:
        return "as before"
    ratio = f"{before / after:.2f}" if after else "1.00"
    return f"{ratio} times less" if float(ratio) > 1 else ""


def cards(numbers: Sequence[tuple[str, float, float]]) -> str:
    """`[(what is counted, before, after), …]` side by side."""
    shown = "".join(
        f'<div class="card"><b>{number(a)} → {number(b)}</b>{escape(text)}'
        f'<div class="soft">{_ratio(a, b)}</div></div>'
        for text, a, b in numbers
    )
    return f'<div class="cards">{shown}</div>'


def layers(rows: Sequence[tuple[str, int, int, str]]) -> str:
    """`[(name, units before, units after, why), …]`, a bar each."""
    scale = max([1] + [before for _, before, _, _ in rows])
    found = []
    for name, before, after, why in rows:
        parts = [
            ("kept", after, f"{after} kept"),
            ("gone", before - after, f"{before - after} removed"),
        ]
        bar = stacked_bar(parts, before, scale, f"{name}: {before} units before, {after} after")
        found.append(
            f'<div class="layer"><div class="name">{escape(name)}</div><div>{bar}</div>'
            f'<div class="why soft">{before} → {after}{why and ": "}{escape(why)}</div></div>'
        )
    return "".join(found)


def grid(title: str, names: Sequence[str], rows: Sequence[Sequence]) -> str:
    """A table of numbers and texts; nothing where there are no rows."""
    if not rows:
        return ""
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(number(c))}</td>' for c in row)}</tr>" for row in rows
    )
    return (
        f"<h3>{escape(title)}</h3>"
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(title)}">'
        f'<table class="grid"><tr>{head}</tr>{body}</table></div>'
    )


def fact(value: Any) -> str:
    """A fact in words; long lists by what they range over."""
    if isinstance(value, dict):
        return "; ".join(f"{k}: {fact(v)}" for k, v in value.items()) or "–"
    if isinstance(value, (list, tuple)):
        flat = np.ravel(np.asarray(value, dtype=object))
        if len(flat) > 8 and all(isinstance(v, (int, float)) for v in flat):
            return f"{len(flat)} numbers from {min(flat):.3g} to {max(flat):.3g}"
        return ", ".join(fact(v) for v in flat)
    return number(value)
