"""Progress bars on long work: on stderr, and only where a person is looking."""

import sys
from collections.abc import Iterable
from typing import Any

__all__ = ["bar"]


def bar(
    iterable: Iterable | None = None,
    *,
    total: int | None = None,
    description: str = "",
    quiet: bool = False,
    unit: str = "it",
) -> Any:
    """A `tqdm` bar over `iterable` (or to be advanced by hand), silent if `quiet` or stderr is no
    terminal."""
    from tqdm import tqdm

    return tqdm(
        iterable,
        total=total,
        desc=description,
        unit=unit,
        disable=quiet or not sys.stderr.isatty(),
        leave=False,
        dynamic_ncols=True,
    )
