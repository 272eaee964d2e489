"""A module imports only what stands on a lower floor (CONTRIBUTING.md)."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FLOORS = (  # lowest first
    *(
        "errors",
        "types",
        "version",
        "imports",
        "backend",
        "progress",
        "workers",
        "threads",
        "text",
        "archive",
        "loading",
        "files",
        "costs",
        "activations",
    ),
    *("network", "data", "caratheodory"),
    *(
        "kernels",
        "layers",
        "regularizers",
        "objectives",
        "models",
        "channels",
        "checking",
        "pruning",
        "training",
        "plateau",
        "callbacks",
        "shrinking",
    ),
    *("theory", "plots", "report", "exports", "zoo", "experiments", "cli"),
)
# Imported inside a function, when asked for: the way out to Keras.
ALLOWED = {("network", "models")}


def unit(path):
    parts = path.relative_to(ROOT).parts
    if parts[1:3] == ("pruning", "channels"):
        return "channels"
    return parts[0] if parts[0] in {"zoo", "cli"} else Path(parts[1]).stem


def imported(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (
                alias.name.split(".")[1:2]
                for alias in node.names
                if alias.name.startswith("keras_l2feat.")
            )
        elif (
            isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "keras_l2feat"
        ):
            inside = node.module.removeprefix("keras_l2feat.pruning.channels").split(".")[1:2]
            if node.module.startswith("keras_l2feat.pruning.channels"):
                inside = ["channels"]
            yield from [inside] if inside else ([alias.name] for alias in node.names)


def test_no_module_imports_upward():
    wrong, seen = set(), set()
    for folder in ("keras_l2feat", "zoo", "cli"):
        for path in (ROOT / folder).rglob("*.py"):
            here = unit(path)
            if here == "__init__":
                continue
            seen.add(here)
            for names in imported(ast.parse(path.read_text())):
                for there in names:
                    if (
                        there in FLOORS
                        and FLOORS.index(there) > FLOORS.index(here)
                        and (here, there) not in ALLOWED
                    ):
                        wrong.add(f"{path.relative_to(ROOT)} imports {there}")
    assert seen == set(FLOORS)
    assert not wrong
