"""Text as a terminal can show it: tables of aligned columns; what may come from a file on a line of
its own, without control characters."""

import textwrap
from collections.abc import Collection, Iterable, Sequence

__all__ = ["WIDTH", "columns", "printable"]

WIDTH = 80  # columns of a terminal, into which tables fit
NAME = 31  # columns of a name in a table, as many as the zoo needs; longer ones lose their middle
MOST_FOLDED = 16  # a column is not folded to less


def printable(text: object) -> str:
    """`text` with everything that is no visible character or space as an escape, `\\n` or
    `\\x1b`.

    A layer's name could otherwise forge a line of a result, or give orders to the terminal.
    """
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in str(text)
    )


def columns(rows: Iterable[Sequence], left: Collection[int] | None = None) -> list:
    """Rows of text cells as lines with aligned columns; those of `left` to the left, by default all
    but 1 and 2.

    Names in the first column lose their middle where they are long, and the last column is folded
    where a line would be longer than `WIDTH`.
    """
    rows = [[_short(row[0]), *map(printable, row[1:])] for row in rows]
    left = set(range(3, len(rows[0]))) | {0} if left is None else left
    widths = [max(map(len, column)) for column in zip(*rows)]
    last = len(widths) - 1
    room = max(WIDTH - sum(widths[:-1]) - 2 * last, MOST_FOLDED)
    lines = []
    for row in rows:
        folded = textwrap.wrap(row[-1], room) if last in left and widths[-1] > room else row[-1:]
        for part in [[*row[:-1], *folded[:1]], *([""] * last + [rest] for rest in folded[1:])]:
            cells = (
                cell.ljust(width) if column in left else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(part, widths))
            )
            lines.append("  ".join(cells).rstrip())
    return lines


def _short(name):
    name = printable(name)
    if len(name) <= NAME:
        return name
    return f"{name[: NAME // 2]}…{name[1 - NAME // 2 :]}"
