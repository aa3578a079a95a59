"""The report of a release: verdict first, then each guardrail with its estimate and confidence sequence."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from lastgood import points, releasing, reserving
from lastgood.release import ReleaseState
from lastgood.store import statements as sql
from lastgood.store.connection import Row, Store, Transaction
from tasks import limits
from tasks.comparison import Frozen

#: what each word says to people
_WORDS = {
    "pass": "pass",
    "fail": "**fail**",
    "undecided": "undecided",
    "no_data": "no data",
    "invalid": "invalid",
}


@dataclass(frozen=True, slots=True)
class Report:
    """A release's report."""

    #: lower-case key that stays the same while the release lives
    key: str
    #: where the release stands, as a Prefect state is named: `Promoted`, `Reverted`, `Compare`, ...
    state: str
    #: one line: where it stands and why
    headline: str
    markdown: str
    #: the guardrails' figures, one row each
    table: list[dict[str, Any]]


def build(store: Store, release_id: str) -> Report:
    """Read what stands in the tables and write it out; the figures are those of the last look."""
    with store.reading() as txn:
        row = releasing.read(txn, release_id)
        look = txn.one(sql.LAST_LOOK, release_id=release_id)
        verdict = json.loads(look["verdict"]) if look else None
        rows = _guardrails(verdict)
        sections = [
            f"# {_title(txn, row)}",
            f"**{_cell(_headline(row, verdict))}**",
            _evidence(verdict, look),
            _table(rows),
            _caps(txn, row),
            _timeline(txn, row),
            _next(row, txn),
        ]
        key = f"release-{release_id.replace('_', '-').lower()}"
        return Report(
            key,
            row["state"].capitalize(),
            _headline(row, verdict),
            "\n\n".join(part for part in sections if part) + "\n",
            rows,
        )


def _title(txn: Transaction, row: Row) -> str:
    names = [txn.one(sql.BUNDLE, id=row[which]) for which in ("baseline", "candidate")]
    old, new = (f"b-{found['id'][:8]} ({found['name']})" if found else "?" for found in names)
    return f"{row['agent']} in {row['environment']}: {old} -> {new}"


def _headline(row: Row, verdict: dict[str, Any] | None) -> str:
    state = ReleaseState(row["state"])
    if not state.live:
        return f"{state.upper()}: {row['reason']}"
    driver = f"driven by {row['driver']}" if row["driver"] else "nobody drives it yet"
    if verdict is None:
        return f"{state.upper()}: no look yet; {driver}"
    seen = f"{verdict['candidate_runs']} candidate runs"
    return f"{state.upper()}: {seen}, the evidence says {verdict['decision']}; {driver}"


def _evidence(verdict: dict[str, Any] | None, look: Row | None) -> str:
    if verdict is None or look is None:
        return "No look yet."
    validity = "" if verdict["valid"] else f" The evidence is **invalid**: {verdict['invalid_reason']}."
    return (
        f"Look {look['seq']}: {verdict['assigned']} eligible runs, "
        f"{verdict['candidate_runs']} of them the candidate's. "
        f"Harm e-value of all guardrails together: e^{verdict['log_family']:.2f}; it reverts at "
        f"e^{verdict['log_line']:.2f}.{validity}"
    )


def _guardrails(verdict: dict[str, Any] | None) -> list[dict[str, Any]]:
    return [_figures(found) for found in (verdict or {"guardrails": []})["guardrails"]]


def _figures(found: dict[str, Any]) -> dict[str, Any]:
    return {
        "guardrail": found["name"],
        "verdict": found["word"],
        "baseline": f"{found['y_b']}/{found['n_b']} bad ({found['baseline_rate']:.1%})",
        "candidate": f"{found['y_c']}/{found['n_c']} bad ({found['candidate_rate']:.1%})",
        "difference_points": round(found["estimate"], 2),
        "low_points": round(found["low"], 2),
        "high_points": round(found["high"], 2),
        "margin_points": None if found["margin"] is None else round(found["margin"], 2),
        "log_e_harm": round(found["log_e_harm"], 3),
        "log_e_promote": round(found["log_e_promote"], 3),
        "reason": found["reason"],
    }


def _table(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return ""
    lines = [
        "| guardrail | verdict | baseline | candidate | difference, points (confidence) | margin |",
        "|---|---|---|---|---|---|",
    ]
    for r in rows:
        difference = f"{r['difference_points']:+.1f} ({r['low_points']:+.1f} to {r['high_points']:+.1f})"
        margin = "none" if r["margin_points"] is None else f"+{r['margin_points']:.1f}"
        cells = (
            r["guardrail"],
            _WORDS[r["verdict"]],
            r["baseline"],
            r["candidate"],
            difference,
            margin,
        )
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", *(f"- {r['guardrail']}: {_cell(r['reason'])}" for r in rows)]
    return "\n".join(lines)


#: characters that would end a cell, open a tag, a link or a code span; entities only stand for themselves
_ENTITIES = {ord(mark): f"&#{ord(mark)};" for mark in "&<>|[]`*\\"} | {ord(end): " " for end in "\r\n"}


def _cell(text: str) -> str:
    """Text of runs and people is data: it can't end a cell, open a tag or point anywhere."""
    return text.translate(_ENTITIES)


def _caps(txn: Transaction, row: Row) -> str:
    used = {
        r["cap"]: r["used"] + r["reserved"]
        for r in txn.all(sql.CAPS_USED, release_id=row["id"])
        if r["window_us"] == reserving.window(txn.now_us)
    }
    lines = limits.describe(Frozen.of(row).policy.caps(), used)
    return "## Ceilings\n\n" + "\n".join(f"- {line}" for line in lines) if lines else ""


def _timeline(txn: Transaction, row: Row) -> str:
    entries = txn.all(
        sql.LEDGER_OF_RELEASE, agent=row["agent"], environment=row["environment"], release_id=row["id"]
    )
    moves = _switches(entries)
    lines = ["## Every switch", "", "| when | epoch | what | why | who |", "|---|---|---|---|---|"]
    for e in moves:
        cells = (_when(e["at_us"]), str(e["epoch"]), e["action"], e["reason"], e["actor"])
        lines.append(f"| {' | '.join(_cell(cell) for cell in cells)} |")
    return "\n".join(lines)


def _switches(entries: list[Row]) -> list[Row]:
    """The ledger without renewals and without takeovers by whoever drove already."""
    found, driver = [], ""
    for entry in entries:
        again = entry["action"] == "takeover" and entry["actor"] == driver
        driver = entry["actor"] if entry["action"] == "takeover" else driver
        if entry["action"] != "renew" and not again:
            found.append(entry)
    return found


def _when(at_us: int) -> str:
    return datetime.fromtimestamp(at_us / 1_000_000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _next(row: Row, txn: Transaction) -> str:
    state = ReleaseState(row["state"])
    if state is ReleaseState.ASKING:
        return (
            f"Next: a person decides: `lastgood promote {row['agent']} --vouch --reason ...` or "
            f"`lastgood rollback {row['agent']}`."
        )
    if state.live:
        point = points.read(txn, row["agent"], row["environment"])
        return f"Next: another look; {point.share_bp / 100:g}% of the eligible runs go to the candidate."
    if state is ReleaseState.REVERTED:
        return "Next: the baseline serves everybody. Find out why before the next candidate."
    return "Next: the candidate is the last known good now."
