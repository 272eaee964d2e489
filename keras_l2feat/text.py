"""Text that may come from a file, as it can be shown: on a line of its own, without control
characters."""

__all__ = ["printable"]


def printable(text) -> str:
    """`text` with everything that is no visible character or space as an escape, `\\n` or
    `\\x1b`.

    A layer's name could otherwise forge a line of a result, or give orders to the terminal.
    """
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in str(text)
    )
