"""One look for all pictures, and one way to write them."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from keras_l2feat.files import atomic_path

__all__ = ["canvas", "save"]


@contextlib.contextmanager
def canvas(
    rows: int = 1, columns: int = 1, *, width: float = 4.2, height: float = 3.4, **options: Any
) -> Iterator[tuple[Any, Any]]:
    """A figure and its axes in the common style, closed at the end.

    Args:
        rows, columns: of axes.
        width, height: of each, in inches.
        **options: for `matplotlib.pyplot.subplots`.

    Yields: `(figure, axes)`, axes as from `subplots`.
    """
    import matplotlib

    matplotlib.use("Agg")
    import seaborn as sns
    from matplotlib import pyplot as plt

    with (
        sns.axes_style("whitegrid"),
        sns.plotting_context("notebook", font_scale=0.85),
        sns.color_palette("colorblind"),
    ):
        figure, axes = plt.subplots(
            rows, columns, figsize=(width * columns, height * rows), layout="constrained", **options
        )
        try:
            yield figure, axes
        finally:
            plt.close(figure)


def save(figure: Any, path: str | Path, dpi: int = 150) -> None:
    """Write a figure to `path` (the suffix says the format), whole or not at all."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=dpi)
