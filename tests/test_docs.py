"""The pages under docs/ and the README name only what is there."""

import re
from pathlib import Path

import click
import pytest

from lastgood import cli

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
LINK = re.compile(r"\]\(([^)\s]+)\)")
#: a command where it is told as one: in code
COMMAND = re.compile(r"(?:`|^|&& |exec )lastgood ([a-z][a-z -]*[a-z])", re.MULTILINE)


def prose(page):
    """The text of a page without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)


def anchors(page):
    """What links may name within a page, as GitHub makes it of headings."""
    heads = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def commands(words):
    """The command that words name; None where there is none."""
    found, context = cli.main, click.Context(cli.main)
    for word in words:
        if not isinstance(found, click.Group):
            return found
        found = found.get_command(context, word)
        if found is None:
            return None
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page):
    dead = []
    for link in LINK.findall(prose(page)):
        path, _, anchor = link.partition("#")
        if path.startswith(("http://", "https://")):
            continue
        there = (page.parent / path).resolve() if path else page
        if not there.exists() or (anchor and there.suffix == ".md" and anchor not in anchors(there)):
            dead.append(link)
    assert dead == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_exists(page):
    named = {tuple(found.split()) for found in COMMAND.findall(page.read_text("utf-8"))}
    assert sorted(" ".join(words) for words in named if commands(words[:1]) is None) == []
    groups = [words for words in named if isinstance(commands(words[:1]), click.Group) and len(words) > 1]
    assert sorted(" ".join(words) for words in groups if commands(words[:2]) is None) == []


def test_every_cell_of_the_comparison_has_its_source_or_says_that_none_was_found():
    page = (ROOT / "docs" / "comparison.md").read_text("utf-8")
    rows = [
        [cell.strip() for cell in row.strip("|").split("|")]
        for row in re.findall(r"^\|.*\|$", page, re.MULTILINE)
    ]
    names = next(row for row in rows if "Kayenta" in row)
    told = [row for row in rows if row != names and not row[1].startswith("---")]
    assert len(told) > 15
    bare = [
        (what, name, cell)
        for what, *cells in told
        for name, cell in zip(names[1:], cells, strict=True)
        if cell != "-" and not LINK.search(cell) and name != "lastgood"
    ]
    assert bare == []
