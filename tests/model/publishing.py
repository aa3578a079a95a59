"""docs/model.md: each command replaces the section that it made."""

import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from finding import Found
from planting import Bug

PAGE = Path(__file__).resolve().parents[2] / "docs" / "model.md"
#: headings of the sections: the planted bugs, and the real code
BUGS, UNBROKEN = "Planted bugs", "The code as it is"
_HEAD = """# The model-based test

A plain Python reference, written from the design's words, goes beside the real store: two processes with a
router each, a router on another host that hears nothing, an injected clock, and crashes at any statement,
before COMMIT and after it. Hypothesis draws what happens; after every step the invariants of the design are
looked at. The tests are in tests/model; a short version of both sections below is part of the suite.
"""
_TABLE = """A bug is found when some step does what the reference does not say, or breaks an invariant. An
example is one store from its adoption on: the first {tour} are a fixed tour of short stories, the others are
drawn, up to {most:,} in all. The seconds are of the wall clock, beside other work.

| bug | invariant | found by | examples | steps | seconds | CPU s |
|---|---|---|---|---|---|---|
"""


def _machine() -> str:
    load = os.getloadavg()[0]
    return f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}, load {load:.0f}"


def line(bug: Bug, found: Found) -> str:
    """One row of the table."""
    said = str(found.failure or "**not found**").replace("|", "/").replace("<", "").replace(">", "")
    effort = f"{found.examples} | {found.steps} | {found.seconds:.1f} | {found.cpu_s:.1f}"
    return f"| {bug.name} | {bug.breaks} | {said} | {effort} |"


def table(lines: Sequence[str], missed: int, *, tour: int, most: int) -> str:
    """The section of the planted bugs."""
    count = f"{len(lines) - missed} of {len(lines)} planted bugs were found."
    return f"{count} {_TABLE.format(tour=tour, most=most)}" + "\n".join(lines) + "\n"


def walked(total: Found, workers: int, seconds: float, missing: Sequence[str]) -> str:
    """The section of the real code; `seconds` of the wall clock."""
    said = "no step failed" if total.failure is None else f"**one failed**: {total.failure}"
    speed = f"{seconds:.0f} s, {total.steps / total.cpu_s:.0f} steps a CPU second"
    lines = [
        f"{total.steps:,} steps in {total.examples:,} examples by {workers} processes, {speed}: {said}.",
        f"Never reached: {', '.join(missing)}." if missing else "Every situation was reached; how often:",
        "",
        "| situation | times |\n|---|---|",
        *(f"| {name} | {n:,} |" for name, n in sorted(total.reached.items(), key=lambda pair: pair[1])),
    ]
    return "\n".join(lines) + "\n"


def publish(heading: str, command: str, body: str) -> None:
    """Put one section into the page, with the command that made it; the other one stays as it is."""
    text = PAGE.read_text() if PAGE.exists() else ""
    kept = {part.partition("\n")[0]: part.partition("\n")[2].strip() for part in text.split("\n## ")[1:]}
    made = f"By `{command}` on {datetime.now(UTC):%Y-%m-%d}: {_machine()}.\n\n{body}".strip()
    sections = {**kept, heading: made}
    ordered = [f"## {name}\n{sections[name]}\n" for name in (BUGS, UNBROKEN) if name in sections]
    PAGE.write_text("\n".join([_HEAD, *ordered]))


__all__ = ["BUGS", "UNBROKEN", "line", "publish", "table", "walked"]
