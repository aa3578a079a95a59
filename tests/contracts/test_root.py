"""Every entry at the root has its reason in the README, and nothing else stands there."""

import re
import subprocess
from pathlib import Path

HEADING = "## What stands where"


def reasons(readme: str) -> dict[str, str]:
    """The rows of the README's table `| entry | why |`: the entry without its slash, and its reason."""
    section = readme.partition(f"\n{HEADING}\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\|\s*`([^`|]+)`\s*\|\s*([^|]*?)\s*\|\s*$", section, flags=re.MULTILINE)
    return {entry.rstrip("/"): why for entry, why in rows}


def tracked(checkout: Path) -> set[str]:
    """The root's entries that git tracks."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=checkout, check=True, capture_output=True, text=True
    ).stdout
    return {name.partition("/")[0] for name in listed.split("\0") if name}


def test_every_root_entry_has_its_row_in_the_readme_and_every_row_its_entry(checkout: Path) -> None:
    rows = reasons((checkout / "README.md").read_text("utf-8"))
    assert set(rows) == tracked(checkout), f'correct the table under "{HEADING}" in README.md'


def test_every_row_gives_a_reason(checkout: Path) -> None:
    rows = reasons((checkout / "README.md").read_text("utf-8"))
    assert rows
    assert [entry for entry, why in rows.items() if len(why.split()) < 3] == []


def test_only_the_rows_of_its_own_section_are_read() -> None:
    table = "| entry | why |\n|---|---|\n| `a/` | b c |"
    readme = f"# x\n| `no` | not here |\n\n{HEADING}\n\n{table}\n\n## y\n| `z` | z |\n"
    assert reasons(readme) == {"a": "b c"}
