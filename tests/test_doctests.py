"""The examples in docstrings run as they are written, module by module."""

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = {"keras_l2feat": "keras_l2feat", "zoo": "keras_l2feat.zoo", "cli": "keras_l2feat.cli"}


def modules_with_examples():
    """The names of the modules whose docstrings have examples."""
    for folder, package in FOLDERS.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            if ">>> " in path.read_text(encoding="utf-8"):
                inside = path.relative_to(ROOT / folder).with_suffix("").parts
                yield ".".join([package, *(part for part in inside if part != "__init__")])


@pytest.mark.parametrize("name", list(modules_with_examples()))
def test_examples_run_as_written(name, tmp_path, monkeypatch, registered):
    monkeypatch.chdir(tmp_path)  # an example that writes, writes there
    failed, tried = doctest.testmod(importlib.import_module(name))
    assert tried > 0
    assert failed == 0
