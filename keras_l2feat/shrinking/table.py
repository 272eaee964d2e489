"""All rounds, for people: a text table, and rows for a file or a picture."""

from keras_l2feat.shrinking.record import Shrinkage
from keras_l2feat.text import columns

__all__ = ["rows", "table"]

NUMBERS = (
    *("round", "epochs", "share", "units", "flops", "parameters", "inputs"),
    *("loss", "accuracy", "cut_loss", "cut_accuracy", "seconds", "cut_seconds", "kept"),
)


def rows(done: Shrinkage) -> list:
    """What a `Shrinkage` measured, a dict of numbers each, the original first; columns that nobody
    measured are left out, and what was not measured of one is NaN."""
    known = [name for name in NUMBERS if any(r[name] is not None for r in done.curve)]
    return [
        {name: float("nan" if record[name] is None else record[name]) for name in known}
        for record in done.curve
    ]


def table(done: Shrinkage) -> str:
    """Rounds, sizes, what was measured, and how long it took: lines of text."""
    names = ("round", "epochs", "units", "parameters", "FLOPs", "loss", "accuracy", "")
    shown: list[tuple] = [names]
    for record in done.curve:
        what = "original" if not record["round"] else "" if record["kept"] else "taken back"
        sizes = (f"{record[name]:,}" for name in ("units", "parameters", "flops"))
        loss = "" if record["loss"] is None else f"{record['loss']:.4g}"
        accuracy = "" if record["accuracy"] is None else f"{record['accuracy']:.2%}"
        shown.append((record["round"], record["epochs"], *sizes, loss, accuracy, what))
    lines = columns(shown, left={7})
    first, last = (done.curve[n]["inputs"] for n in (0, -1))
    if last is not None and last < first:
        lines.append(f"Of {first} inputs {last} are read: the others never vary in the data.")
    points = f"{done.held_out} points" if done.held_out else "points"
    if done.curve[0]["loss"] is not None:
        lines.append(f"Loss and accuracy are on {points} held out.")
    text = f"Training took {done.training_seconds:.1f} s, choosing and handing over "
    text += f"{done.seconds - done.training_seconds:.1f} s"
    if done.original_seconds:
        text += f"; as many epochs of the original take {done.original_seconds:.1f} s"
    lines.append(f"{text}.")
    return "\n".join(lines)
