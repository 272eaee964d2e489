"""Small pictures as inline SVG: no scripts, no fonts, no files; colours come from the page's style
sheet."""

from collections.abc import Sequence
from html import escape

import numpy as np

__all__ = ["histogram", "line", "rays", "stacked_bar"]


def stacked_bar(parts: Sequence[tuple[str, int, str]], total: int, scale: int, label: str) -> str:
    """One horizontal bar.

    Args:
        parts: `[(class, count, title), ...]` side by side.
        total: what the bar stands for; scale: the count at full width; label: for readers of the
            screen.
    """
    width, x, shapes = 100.0, 0.0, []
    for style, count, title in parts:
        size = width * count / max(scale, 1)
        shapes.append(
            f'<rect class="{escape(style)}" x="{x:.2f}" y="0" width="{size:.2f}" height="10">'
            f"<title>{escape(title)}</title></rect>"
        )
        x += size
    whole = width * total / max(scale, 1)
    shapes.append(f'<rect class="frame" x="0" y="0" width="{whole:.2f}" height="10"/>')
    look = 'class="bar" preserveAspectRatio="none"'
    return _svg(f"0 0 {width:g} 10", label, "".join(shapes), look)


def rays(points: np.ndarray, kept: np.ndarray, label: str, extent: float | None = None) -> str:
    """Vectors from the origin: kept ones solid with a dot at the end, others dashed with a ring.

    Args:
        points: (n, 2) end points; kept: (n,) bool; label: for readers of the screen.
        extent: the largest coordinate that fits, by default that of the points; pictures to be
            compared share one.
    """
    extent = extent or np.abs(points).max(initial=0.0) or 1.0
    ends = [(f"{x:.1f}", f"{-y:.1f}", keep) for (x, y), keep in zip(points / extent * 95, kept)]
    lines = "".join(
        f'<path class="{"kept" if keep else "gone"}" d="M0 0L{x} {y}"/>' for x, y, keep in ends
    )
    # what is kept lies on the lines, what is removed around it: neither hides the other
    dots = "".join(f'<circle class="kept" cx="{x}" cy="{y}" r="2.2"/>' for x, y, k in ends if k)
    rings = "".join(
        f'<circle class="gone" cx="{x}" cy="{y}" r="3.6"/>' for x, y, k in ends if not k
    )
    cross = '<path class="axis" d="M-100 0H100M0 -100V100"/>'
    return _svg("-100 -100 200 200", label, cross + lines + dots + rings, 'class="rays"')


def histogram(
    series: Sequence[tuple[str, Sequence[int]]],
    edges: Sequence[float],
    label: str,
    ticks: Sequence[tuple[float, str]],
) -> str:
    """Counts as steps, one series over the other.

    Args:
        series: `[(class, counts), ...]`, counts (bins,).
        edges: (bins + 1,) ascending; label: for readers of the screen.
        ticks: `[(position, text), ...]` on the axis below.
    """
    top = max([1] + [max(counts, default=0) for _, counts in series])
    span = edges[-1] - edges[0]

    def across(value):
        return 8 + 184 * (value - edges[0]) / span

    shapes = []
    for style, counts in series:
        path = f"M{across(edges[0]):.1f} 90"
        for count, left, right in zip(counts, edges, edges[1:]):
            height = 90 - 80 * count / top
            path += f"L{across(left):.1f} {height:.1f}L{across(right):.1f} {height:.1f}"
        shapes.append(f'<path class="{escape(style)}" d="{path}L{across(edges[-1]):.1f} 90Z"/>')
    axis = '<path class="axis" d="M8 90H192"/>'
    for value, text in ticks:
        axis += f'<text x="{across(value):.1f}" y="102" text-anchor="middle">{escape(text)}</text>'
    axis += f'<text x="8" y="8">{top}</text>'
    return _svg("0 0 200 108", label, "".join(shapes) + axis, 'class="histogram"')


def line(points: Sequence[tuple[float, float, bool]], label: str) -> str:
    """Points joined by a line, from a share of 1 at the right to 0 at the left.

    Args:
        points: `[(share, value, kept), ...]`; rings are what was not kept; label: for readers of
            the screen.
    """
    values = [value for _, value, _ in points]
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    ends = [
        (f"{8 + 184 * share:.1f}", f"{84 - 70 * (value - low) / span:.1f}", kept)
        for share, value, kept in points
    ]
    path = "L".join(f"{x} {y}" for x, y, kept in ends if kept)
    dots = "".join(
        f'<circle class="{"kept" if kept else "gone"}" cx="{x}" cy="{y}" r="2"/>'
        for x, y, kept in ends
    )
    axis = '<path class="axis" d="M8 90H192"/>'
    for share in (0.0, 0.5, 1.0):
        x = 8 + 184 * share
        axis += f'<text x="{x:g}" y="102" text-anchor="middle">{share:.0%}</text>'
    axis += f'<text x="8" y="10">{high:.4g}</text><text x="8" y="88">{low:.4g}</text>'
    drawn = f'{axis}<path class="kept" d="M{path}"/>{dots}'
    return _svg("0 0 200 108", label, drawn, 'class="rays line"')


def _svg(box, label, content, attributes=""):
    return (
        f'<svg viewBox="{box}" role="img" aria-label="{escape(label)}" {attributes}>{content}</svg>'
    )
