"""docs/laboratory.md: its examples run as written, its pictures and commands exist."""

import doctest
import re
from pathlib import Path

import pytest

from keras_l2feat.cli.reproduce import FIGURES

DOCUMENT = Path(__file__).parents[2] / "docs" / "laboratory.md"


@pytest.mark.slow
def test_examples_run_as_written():
    failed, tried = doctest.testfile(str(DOCUMENT), module_relative=False, encoding="utf-8")
    assert tried > 15
    assert failed == 0


def test_pictures_and_commands_exist():
    text = DOCUMENT.read_text(encoding="utf-8")
    pictures = re.findall(r"!\[[^]]*\]\(([^)]+)\)", text)
    assert len(pictures) >= 6
    for picture in pictures:
        assert (DOCUMENT.parent / picture).is_file(), picture
    commands = re.findall(r"l2feat reproduce (\w+)", text)
    assert set(commands) <= set(FIGURES)
    assert len(commands) >= 7
