"""What shrinking did, as one HTML file that needs nothing else."""

from html import escape
from pathlib import Path

from keras_l2feat.report.drawing import line
from keras_l2feat.report.html import cards, grid, layers, page

__all__ = ["shrinking_page", "write_shrinking_page"]

COLUMNS = {  # title → key in a record
    "round": "round",
    "epochs": "epochs",
    "units": "units",
    "parameters": "parameters",
    "FLOPs": "flops",
    "inputs read": "inputs",
    "loss": "loss",
    "accuracy": "accuracy",
    "loss before training": "cut_loss",
    "seconds": "seconds",
    "kept": "kept",
}


def shrinking_page(result: dict, *, title: str | None = None) -> str:
    """The page of one shrinking.

    Args:
        result: what `l2feat shrink --json` writes: target, curve, seconds …
        title: of the page; the source's name otherwise.

    Returns: HTML, complete in itself.
    """
    title = title or f"Shrinking of {Path(str(result.get('source', 'a model'))).name}"
    first, last = result["curve"][0], _last(result["curve"])
    wanted = "; ".join(f"{name} {value:g}" for name, value in result["target"].items())
    numbers = [(n, first[n], last[n]) for n in ("units", "parameters", "flops")]
    for key, shown in (("inputs", "inputs read"), ("loss", "loss"), ("accuracy", "accuracy")):
        if last[key] is not None:
            numbers.append((shown, first[key], last[key]))
    widths = [(name, n, last["widths"][name], "") for name, n in first["widths"].items()]
    taken = f"{result['training_seconds']:.1f} s of training"
    if result.get("original_seconds"):
        taken += f"; as many epochs of the original take {result['original_seconds']:.1f} s"
    sections = [
        f"<p>Asked for: <b>{escape(wanted)}</b>. {escape(taken)}.</p>{cards(numbers)}",
        _curve(result["curve"]),
        f"<h2>Layers</h2>{layers(widths)}",
        grid("Rounds", list(COLUMNS), [[r[k] for k in COLUMNS.values()] for r in result["curve"]]),
    ]
    return page(title, sections, result)


def write_shrinking_page(path: str | Path, result: dict, *, title: str | None = None) -> None:
    """Write `shrinking_page` to a file, whole or not at all."""
    from keras_l2feat.files import write_text

    write_text(path, shrinking_page(result, title=title))


def _last(curve):
    return [record for record in curve if record["kept"]][-1]


def _curve(curve):
    key = next((k for k in ("accuracy", "loss") if curve[0][k] is not None), None)
    if key is None:
        return ""
    points = [(r["flops"] / curve[0]["flops"], r[key], r["kept"]) for r in curve]
    text = f"{key} on points held out, against the share of the operations that is left"
    return f'<h2>All rounds</h2><p class="soft">{escape(text)}</p>{line(points, text)}'
