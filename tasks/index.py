"""The index: every live release in one table, with a link to each report."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from lastgood import points
from lastgood.errors import LastgoodError
from lastgood.plural import counted
from lastgood.shown import percent, short
from lastgood.store import statements as sql
from lastgood.store.connection import Row, Store, Transaction
from tasks import ahead
from tasks.report import escaped, key_of

#: the artifact's key: it stays for good
KEY = "lastgood-releases"
#: characters of a cell
_CELL = 90
_COLUMNS = ("agent", "environment", "candidate", "stage", "share", "looks", "verdict", "next")


@dataclass(frozen=True, slots=True)
class Index:
    """All live releases, for people and for machines."""

    headline: str
    markdown: str
    #: one row a release
    table: list[dict[str, Any]]


def build(store: Store, pages: Mapping[str, str] = MappingProxyType({})) -> Index:
    """Read the live releases, oldest first; one whose rows a hand damaged is listed with what is wrong.

    `pages` are the ids of the reports' artifacts by key; a report without one is linked by its key.
    """
    with store.reading() as txn:
        found = [_row(txn, row) for row in txn.all(sql.LIVE_RELEASES)]
    headline = counted(len(found), "live release") if found else "no live release"
    return Index(headline, _markdown(headline, found, pages), found)


def _row(txn: Transaction, row: Row) -> dict[str, Any]:
    common = {
        "agent": row["agent"],
        "environment": row["environment"],
        "candidate": short(row["candidate"]),
        "stage": row["state"],
        "release": row["id"],
        "report": key_of(row["id"]),
    }
    try:
        look = txn.one(sql.LAST_LOOK, release_id=row["id"])
        point = points.read(txn, row["agent"], row["environment"])
        return {
            **common,
            "share": percent(point.share_bp),
            "looks": 0 if look is None else look["seq"],
            "verdict": "no look yet" if look is None else json.loads(look["verdict"])["decision"],
            "next": ahead.lines(txn, row)[0],
        }
    except LastgoodError as error:
        return {**common, "share": "?", "looks": 0, "verdict": "?", "next": str(error)}


def _markdown(headline: str, found: list[dict[str, Any]], pages: Mapping[str, str]) -> str:
    if not found:
        return f"# Releases\n\n**{headline}**\n"
    lines = [
        "# Releases",
        "",
        f"**{headline}**",
        "",
        f"| {' | '.join(_COLUMNS)} | report |",
        "|" + "---|" * (len(_COLUMNS) + 1),
    ]
    for each in found:
        cells = [escaped(_plain(str(each[name]))) for name in _COLUMNS]
        # the same path in both UIs, whichever base they are served under
        key = each["report"]
        page = f"../artifact/{pages[key]}" if key in pages else f"../key/{key}"
        lines.append(f"| {' | '.join(cells)} | [report]({page}) |")
    return "\n".join(lines) + "\n"


def _plain(text: str) -> str:
    """A sentence of the report as a cell: without marks, and short; the report has it whole."""
    bare = text.replace("**", "").replace("`", "")
    return bare if len(bare) <= _CELL else f"{bare[: _CELL - 1]}…"


__all__ = ["KEY", "Index", "build"]
