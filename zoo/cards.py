"""The card of a model, as Markdown: made from its registry row alone, never edited by hand."""

import numbers
from typing import Any

from keras_l2feat.zoo.registry import Entry

__all__ = ["CITATION", "FIELDS", "card_text", "fact", "shown"]

CITATION = """\
@inproceedings{jacot2022feature,
  title     = {Feature Learning in {L2}-regularized {DNNs}: Attraction/Repulsion and Sparsity},
  author    = {Jacot, Arthur and Golikov, Eugene and Hongler, Cl{\\'e}ment and Gabriel, Franck},
  booktitle = {Advances in Neural Information Processing Systems},
  year      = {2022}
}"""

# Where a fact lies in `Entry.facts`, and what the card calls it.
FIELDS = {
    "Data": {
        "data": "Data set",
        "data_licence": "Licence of the data",
        "data_source": "Source",
        "data_sha256": "SHA-256 of the arrays",
    },
    "Network": {
        "depth": "Depth L",
        "widths": "Widths n_0 … n_L",
        "activation": "Activation",
        "beta": "Amount of bias β",
        "lam": "λ",
        "cost": "Cost C",
        "dtype": "dtype",
        "parameters": "Parameters",
        "flops": "FLOPs per data point",
        "latency_ms": "Latency in ms (median, a batch of 32 on one CPU)",
    },
    "Figures": {
        "metrics.train_loss": "Training loss C + λ Σ‖W‖²",
        "metrics.train_cost": "Training cost C",
        "metrics.test_cost": "Test cost C",
        "metrics.train_accuracy": "Training accuracy",
        "metrics.test_accuracy": "Test accuracy",
        "metrics.squared_norm": "Σ‖W‖²",
    },
    "Loss against width": {
        "plateau.start": "Narrowest widths within ε of the least loss on the way",
        "plateau.best": "Least loss known of this data at λ, at any width",
        "plateau.above": "Part by which the training loss is above it",
        "plateau.curve": "Loss at each width on the way",
        "certificate.gaps": "Insertion certificate: gap of each hidden layer",
        "certificate.how": "How the gap was found",
        "optimum": "Known optimum",
    },
    "Equivalence": {
        "role": "Role",
        "parent": "Parent",
        "equivalence.guarantee": "Guarantee",
        "equivalence.max_abs_deviation": "Largest deviation of an output",
        "equivalence.max_rel_deviation": "… relative to the largest output",
        "equivalence.bound": "Rounding bound of that deviation",
        "equivalence.changed_predictions": "Predictions that changed on the data",
    },
    "Making": {
        "recipe": "Recipe",
        "recipe_sha256": "SHA-256 of the recipe",
        "seconds": "CPU seconds that it took",
        "seed": "Seed",
        "package_version": "Package version",
        "built": "Date",
    },
}


def card_text(entry: Entry) -> str:
    """The card as Markdown; facts that nobody measured are left out."""
    lines = [
        "<!-- Generated from the registry; edit the recipe and build again instead. -->"
        if "recipe" in entry.facts
        else "<!-- Written with the model, from the figures in its .json. -->",
        f"# {entry.name}",
        "",
        entry.facts.get("title", "A model in the form of the keras_l2feat zoo."),
        "",
        "```python",
        "from keras_l2feat import zoo",
        "",
        f'model = zoo.load("{entry.name}")',
        "```",
        "",
    ]
    for heading, fields in FIELDS.items():
        found = {label: fact(entry.facts, key) for key, label in fields.items()}
        found = {label: value for label, value in found.items() if value is not None}
        if found:
            lines += [f"## {heading}", "", "| | |", "|---|---|"]
            lines += [f"| {label} | {shown(value)} |" for label, value in found.items()]
            lines.append("")
    lines += ["## File", "", "| | |", "|---|---|"]
    lines += [f"| {label} | {shown(value)} |" for label, value in _file(entry).items()]
    lines += ["", "## Cite", "", "```bibtex", CITATION, "```", ""]
    return "\n".join(lines)


def shown(value: object) -> str:
    """A fact as people read it: six digits of a number, lists with commas, tables as
    `key: value`."""
    if isinstance(value, bool) or not isinstance(value, numbers.Number | list | tuple | dict):
        return str(value).replace("|", "\\|").replace("\n", " ")
    if isinstance(value, dict):
        return "; ".join(f"{key}: {shown(inner)}" for key, inner in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(shown, value))
    return f"{value:d}" if isinstance(value, int) else f"{value:.6g}"


def fact(facts: dict, key: str) -> Any:
    """The fact at a dotted key such as "metrics.train_loss", `None` where there is none."""
    found: Any = facts
    for part in key.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def _file(entry) -> dict:
    return {
        "Name": entry.file,
        "Version": entry.version,
        "Bytes": entry.size,
        "SHA-256": entry.sha256,
        "Comes with the package": "yes" if entry.shipped else "no",
    }
