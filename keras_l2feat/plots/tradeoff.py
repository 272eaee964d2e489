"""What becomes of accuracy, or of outputs, as a network gets smaller."""

from collections.abc import Sequence
from pathlib import Path

from keras_l2feat.files import write_text
from keras_l2feat.plots.style import canvas, save

__all__ = ["write_tradeoff"]

MEASURES = {
    "accuracy": "accuracy on points held out",
    "agree": "predictions that stay",
    "max_abs": "largest change of an output",
    "loss": "loss on points held out",
    "parameters": "parameters",
}


def write_tradeoff(curve: Sequence[dict], path: str | Path) -> None:
    """Write a trade-off as a table or a picture, in which what is NaN is left out.

    Args:
        curve: list of records with "flops" and one of "accuracy", "agree", "max_abs" and "loss",
            numbers all, the unpruned network first.
        path: of a .csv file, or of a picture.
    """
    if Path(path).suffix == ".csv":
        names = list(curve[0])
        rows = [names, *([f"{record[name]:.8g}" for name in names] for record in curve)]
        write_text(path, "".join(",".join(row) + "\n" for row in rows))
        return
    key = next(key for key in MEASURES if key in curve[0])
    with canvas() as (figure, axes):
        share = [record["flops"] / curve[0]["flops"] for record in curve]
        axes.plot(share, [record[key] for record in curve], marker="o", markersize=3)
        axes.set(xlabel="floating point operations, share that stays", ylabel=MEASURES[key])
        axes.set(xlim=(0, 1.02), yscale="log" if key == "max_abs" else "linear")
        save(figure, path)
