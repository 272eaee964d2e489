"""docs/theory.md and the code point at each other: files, sections and propositions exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
THEORY = (ROOT / "docs" / "theory.md").read_text(encoding="utf-8")
SOURCES = [
    path
    for folder in ("keras_l2feat", "zoo", "cli", "tests", "benchmarks")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if path != Path(__file__)
]


def sections():
    return set(re.findall(r"^#+ (\d+(?:\.\d+)?)\.? ", THEORY, re.MULTILINE))


def anchors():
    """The anchors of the headings, as Markdown renderers make them."""
    headings = re.findall(r"^#+ (.+)$", THEORY, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def table():
    return [line.split("|")[1:-1] for line in THEORY.splitlines() if line.startswith("| ")][1:]


@pytest.mark.parametrize("row", table(), ids=lambda row: row[1].strip())
def test_each_statement_leads_to_its_section_and_to_files_that_exist(row):
    _, _, section, code = row
    number, anchor = re.fullmatch(r" \[§([\d.]+)\]\(#(.+)\) ", section).groups()
    assert number in sections()
    assert anchor in anchors()
    files = re.findall(r"`([^`]+)`", code)
    assert files
    for file in files:
        assert (ROOT / "keras_l2feat" / file).is_file(), file


def test_every_path_named_in_the_text_exists():
    for path in re.findall(r"`([\w/]+(?:\.py|/))`", THEORY):
        assert any((ROOT / base / path).exists() for base in ("", "keras_l2feat")), path


def test_every_citation_in_the_code_names_a_section():
    cited = {
        (path.relative_to(ROOT).as_posix(), number)
        for path in SOURCES
        for number in re.findall(r"theory(?:\.md)? §(\d+(?:\.\d+)?)", path.read_text("utf-8"))
    }
    assert len(cited) >= 4
    assert {number for _, number in cited} <= sections(), cited


def test_every_proposition_that_the_code_cites_is_in_the_table():
    known = {"".join(found.split()) for row in table() for found in _statements(row[0])}
    for path in SOURCES:
        for found in _statements(path.read_text("utf-8")):
            assert found in known, (path, found)


def _statements(text):
    """ "Prop. 7, 8, Cor. 9" names three statements."""
    for kind, numbers in re.findall(r"\b(Prop|Lemma|Cor|Fig)\.?\s(\d+(?:,\s\d+)*)", text):
        for number in re.split(r",\s", numbers):
            yield f"{kind}{number}"
