"""The report of a release: verdict first, then each guardrail with its estimate and confidence sequence."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from evaluators import amounts
from evaluators.blindness import blind_spots, hidden
from evaluators.readiness import ASKED
from lastgood import releasing
from lastgood.plural import counted
from lastgood.release import ReleaseState
from lastgood.shown import short, when
from lastgood.store import statements as sql
from lastgood.store.connection import Row, Store, Transaction
from tasks import ahead, audit_section, limits, outside
from tasks.comparison import Frozen, readiness_of

#: newest runs of a release that are looked at for what they report
_LOOKED_AT = 200
_NEWEST = """
SELECT outcome.* FROM run JOIN outcome ON outcome.run_id = run.id WHERE run.release_id = :release_id
ORDER BY run.seq DESC LIMIT :most
"""
#: signs of the bar of a ceiling
_BAR = 10
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


def build(store: Store, release_id: str, images: Mapping[str, str] | None = None) -> Report:
    """Read what stands in the tables and write it out; the figures are those of the last look.

    `images` are the pictures' targets (a file's name, a data URI) by short name: see `tasks.pictures`.
    """
    with store.reading() as txn:
        row = releasing.read(txn, release_id)
        look = txn.one(sql.LAST_LOOK, release_id=release_id)
        verdict = json.loads(look["verdict"]) if look else None
        rows = _guardrails(verdict)
        sections = [
            f"# {row['agent']} in {row['environment']}",
            f"**{escaped(_headline(row, verdict))}**",
            _bundles(txn, row),
            _evidence(verdict, look),
            _table(rows),
            _pictures(images or {}),
            _unseen(txn, row),
            _outside(txn, row),
            _readiness(row),
            _caps(txn, row),
            _timeline(txn, row),
            _next(row, txn),
            audit_section.section(txn, row, escaped, when),
        ]
        return Report(
            key_of(release_id),
            row["state"].capitalize(),
            _headline(row, verdict),
            "\n\n".join(part for part in sections if part) + "\n",
            rows,
        )


def key_of(release_id: str) -> str:
    """The key of a release's report, as Prefect takes one."""
    return f"release-{release_id.replace('_', '-').lower()}"


def _bundles(txn: Transaction, row: Row) -> str:
    names = [txn.one(sql.BUNDLE, id=row[which]) for which in ("baseline", "candidate")]
    old, new = (f"{short(found['id'])} ({found['name']})" if found else "?" for found in names)
    return f"{old} → {new}"


def _headline(row: Row, verdict: dict[str, Any] | None) -> str:
    state = ReleaseState(row["state"])
    if not state.live:
        return f"{state.upper()}: {row['reason']}"
    driver = f"driven by {row['driver'].partition(' (')[0]}" if row["driver"] else "nobody drives it yet"
    if verdict is None:
        return f"{state.upper()}: no look yet; {driver}"
    seen = counted(verdict["candidate_runs"], "candidate run")
    return f"{state.upper()}: {seen}, the evidence says {verdict['decision']}; {driver}"


def _evidence(verdict: dict[str, Any] | None, look: Row | None) -> str:
    if verdict is None or look is None:
        return "No look yet."
    validity = "" if verdict["valid"] else f" The evidence is **invalid**: {verdict['invalid_reason']}."
    return (
        f"Look {look['seq']}: {counted(verdict['assigned'], 'eligible run')}, "
        f"{verdict['candidate_runs']} of them the candidate's. "
        f"Harm e-value of all guardrails together: e^{verdict['log_family']:.2f}; it reverts at "
        f"e^{verdict['log_line']:.2f}.{validity}"
    )


def _guardrails(verdict: dict[str, Any] | None) -> list[dict[str, Any]]:
    return [_figures(found) for found in (verdict or {"guardrails": []})["guardrails"]]


def _figures(found: dict[str, Any]) -> dict[str, Any]:
    digits, proven = 2 if found["unit"] == "points" else 6, _proven(found)
    return {
        "guardrail": found["name"],
        "verdict": found["word"],
        "baseline": amounts.arm(found, "baseline"),
        "candidate": amounts.arm(found, "candidate"),
        "unit": found["unit"],
        "difference": round(found["estimate"], digits),
        "low": round(found["low"], digits),
        "high": round(found["high"], digits),
        "margin": None if found["margin"] is None else round(found["margin"], digits),
        "log_e_harm": round(found["log_e_harm"], 3),
        "log_e_promote": round(found["log_e_promote"], 3),
        "runs_to_pass": found["runs_to_pass"],
        "proven": None if proven is None else round(proven, digits),
        "reason": found["reason"],
    }


def _proven(found: dict[str, Any]) -> float | None:
    """The widest margin proven so far of an undecided guardrail; None where there is none to speak of."""
    if found["word"] != "undecided" or not found["margin"]:
        return None
    return float(found["high"] if found["margin"] > 0.0 else found["low"])


def _table(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return ""
    lines = [
        "| guardrail | verdict | baseline | candidate | difference (confidence) | margin | runs needed |",
        "|---|---|---|---|---|---|---|",
    ]
    for r in rows:
        low, high = (amounts.bare(r[end], r["unit"], signed=True) for end in ("low", "high"))
        difference = f"{_short(r['difference'], r['unit'])} ({low} to {high})"
        margin = "none" if r["margin"] is None else _short(r["margin"], r["unit"])
        needed = "-" if r["runs_to_pass"] is None else f"{r['runs_to_pass']:,}"
        cells = (
            r["guardrail"],
            _WORDS[r["verdict"]],
            r["baseline"],
            r["candidate"],
            difference,
            margin,
            needed,
        )
        lines.append(f"| {' | '.join(escaped(cell, bold=True) for cell in cells)} |")
    lines += ["", *(f"- {r['guardrail']}: {escaped(r['reason'] + _so_far(r))}" for r in rows)]
    return "\n".join(lines)


def _so_far(row: dict[str, Any]) -> str:
    """What a person could vouch on while it is undecided."""
    if row["proven"] is None:
        return ""
    return f"; proven so far: at most {amounts.amount(row['proven'], row['unit'], signed=True)} worse"


def _short(value: float, unit: str) -> str:
    """A difference in its unit; points bare, as the table always has them."""
    return (
        amounts.bare(value, unit, signed=True)
        if unit == "points"
        else amounts.amount(value, unit, signed=True)
    )


def unseen(txn: Transaction, row: Row) -> list[str]:
    """What a release does not see, and the trades that were accepted before it started, a sentence each."""
    frozen = Frozen.of(row)
    spots = blind_spots(frozen.rules, frozen.set_aside, frozen.policy.refereed)
    return [*spots, *hidden(frozen.rules, frozen.history), *_reported_since(txn, row, frozen)]


def _unseen(txn: Transaction, row: Row) -> str:
    lines = [f"- {escaped(line)}" for line in unseen(txn, row)]
    return "\n".join(["## What it does not see", "", *lines]) if lines else ""


def _outside(txn: Transaction, row: Row) -> str:
    """The figures from outside that the policy watches, as they were read last."""
    lines = [
        f"{each.name}: {each.found.said} ({each.found.stand}); beyond its limit it would"
        f" {each.spec.then} the release{' now' if each.beyond else ''}"
        for each in outside.told(txn, row)
    ]
    return (
        "\n".join(["## Figures from outside", "", *(f"- {escaped(line)}" for line in lines)]) if lines else ""
    )


def _reported_since(txn: Transaction, row: Row, frozen: Frozen) -> Iterator[str]:
    """Guardrails that were set aside and that runs of this release report now."""
    if not frozen.set_aside:
        return
    newest = txn.all(_NEWEST, release_id=row["id"], most=_LOOKED_AT)
    columns = {g.name: g.column for g in frozen.policy.rules().guardrails}
    for aside in frozen.set_aside:
        column = columns[aside.name]
        if any(_reports(outcome, column) for outcome in newest):
            yield (
                f"{aside.name}: runs of this release report {column} now; it stays set aside until the next"
                " release, whose history has it"
            )


def _reports(outcome: Row, column: str) -> bool:
    told = dict(outcome)
    return told[column] is not None if column in told else column in json.loads(told["metrics"] or "{}")


def _pictures(images: Mapping[str, str]) -> str:
    return "\n\n".join(f"![{name.replace('-', ' ')} by candidate runs]({to})" for name, to in images.items())


#: characters that would end a cell, open a tag, a link or a code span; entities only stand for themselves
_ENTITIES = {ord(mark): f"&#{ord(mark)};" for mark in "&<>|[]`*~\\"} | {ord(end): " " for end in "\r\n"}


#: underscores that could emphasise; one inside a name is only itself
_UNDERLINE = re.compile(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")


def escaped(text: str, *, bold: bool = False) -> str:
    """Text of runs and people is data: it can't end a cell, open a tag or point anywhere."""
    if bold and text in _WORDS.values():
        return text
    return _UNDERLINE.sub("&#95;", text.translate(_ENTITIES))


def _readiness(row: Row) -> str:
    """What was known before it started, and the share that it allowed."""
    found = readiness_of(row)
    if found is None:
        return ""
    lines = ["## Readiness", "", f"{found.said}.", "", "| question | answer | evidence |", "|---|---|---|"]
    for answer in found.answers:
        said = f"{answer.evidence} ({answer.way_out})" if answer.way_out else answer.evidence
        lines.append(f"| {ASKED[answer.question]} | {'yes' if answer.yes else 'no'} | {escaped(said)} |")
    return "\n".join(lines)


def _caps(txn: Transaction, row: Row) -> str:
    ceilings = limits.ceilings(Frozen.of(row).policy.caps(), limits.used(txn, row["id"]))
    if not ceilings:
        return ""
    lines = ["## Ceilings", "", "| ceiling | used this hour | at most | headroom |", "|---|---|---|---|"]
    lines += [f"| {each.name} | {each.taken} | {each.most} | {_bar(each.left)} |" for each in ceilings]
    return "\n".join(lines)


def _bar(left: float | None) -> str:
    """The free part of a ceiling; a ceiling of each run has none that could be drawn."""
    if left is None:
        return "each run for itself"
    full = round(_BAR * (1.0 - left))
    return f"{'█' * full}{'░' * (_BAR - full)} {left:.0%} left"


def _timeline(txn: Transaction, row: Row) -> str:
    entries = txn.all(
        sql.LEDGER_OF_RELEASE, agent=row["agent"], environment=row["environment"], release_id=row["id"]
    )
    moves = _switches(entries)
    lines = ["## Every switch", "", "| when | epoch | what | why | who |", "|---|---|---|---|---|"]
    for e in moves:
        cells = (when(e["at_us"]), str(e["epoch"]), e["action"], e["reason"], e["actor"])
        lines.append(f"| {' | '.join(escaped(cell) for cell in cells)} |")
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


def _next(row: Row, txn: Transaction) -> str:
    return "\n".join(["## What happens next", "", *(f"- {line}" for line in ahead.lines(txn, row, escaped))])
