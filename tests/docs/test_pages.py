"""The pages of the site cover what is public; `make docs` checks names and links."""

import re
from pathlib import Path

from keras_l2feat import _SUBPACKAGES
from keras_l2feat.cli.main import cli

DOCS = Path(__file__).parents[2] / "docs"
PAGES = [page.read_text(encoding="utf-8") for page in DOCS.rglob("*.md")]


def test_every_public_package_has_a_page():
    documented = set(re.findall(r"^::: keras_l2feat\.(\w+)", "\n".join(PAGES), re.MULTILINE))
    assert documented >= _SUBPACKAGES


def test_the_commands_that_the_pages_show_exist():
    shown = set(re.findall(r"\$ l2feat (\w+)", "\n".join(PAGES)))
    assert len(shown) > 5
    assert shown <= set(cli.list_commands(None))
