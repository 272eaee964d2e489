"""The least loss known of each data set at each λ, whatever the width: `best.json`.

The losses of all models are compared with it. It began with the least that descents and growth
found; `build.ship` lowers it where a model goes below.
"""

import json

from keras_l2feat import files
from keras_l2feat.zoo import registry

__all__ = ["compare", "least", "lower"]


def _table() -> dict:
    return json.loads((registry.FOLDER / "best.json").read_text(encoding="utf-8"))


def least(data: str, lam: float) -> float | None:
    """The least loss known, `None` where there is none to compare with.

    Args:
        data: name of a data set.
        lam: λ.
    """
    return _table().get(data, {}).get(f"{lam:g}")


def compare(facts: dict, best: float | None) -> None:
    """Put into a model's facts the least loss known, and by which part its own is above it."""
    if best is not None:
        loss = facts["metrics"]["train_loss"]
        best = min(best, loss)
        facts["plateau"] = facts.get("plateau", {}) | {"best": best, "above": loss / best - 1}


def lower(found: list[dict]) -> None:
    """Lower the least losses to those of models with these facts, and compare all with them."""
    table = _table()
    for facts in found:
        losses, lam = table.get(facts["data"], {}), f"{facts['lam']:g}"
        if lam in losses:
            losses[lam] = min(losses[lam], facts["metrics"]["train_loss"])
    for facts in found:
        compare(facts, table.get(facts["data"], {}).get(f"{facts['lam']:g}"))
    files.write_json(registry.FOLDER / "best.json", table)
