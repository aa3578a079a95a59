"""What a report says to auditors: its rows of the ledger, who decided, and by which evidence."""

from collections.abc import Callable

from lastgood import ledger
from lastgood.audit import Grounds
from lastgood.errors import CorruptRow
from lastgood.store import statements as sql
from lastgood.store.connection import Row, Transaction

#: moves that only keep a release going
_ROUTINE = frozenset({"renew", "takeover"})
#: letters of a digest that are shown
_SHOWN = 16


def section(txn: Transaction, release: Row, escaped: Callable[[str], str], when: Callable[[int], str]) -> str:
    """Return the section of one release, as Markdown."""
    key = {"agent": release["agent"], "environment": release["environment"]}
    rows = txn.all(sql.LEDGER_OF_RELEASE, **key, release_id=release["id"])
    try:
        last, head = ledger.verify_in(txn, **key)
        state = f"The chain holds; its head now is row {last}, `{head}`."
    except CorruptRow as error:
        state = f"**{escaped(str(error))}**"
    bound = (
        f"Candidate `{release['candidate']}`, baseline `{release['baseline']}`, policy "
        f"`{release['policy_digest']}`. {state} `lastgood audit export {release['agent']} -e "
        f"{release['environment']}` has every row, `lastgood verify {release['id']}` recomputes the looks."
    )
    head_line = "| row | when | who | did | on | row's hash |"
    lines = ["## For auditors", "", bound, "", head_line, "|---|---|---|---|---|---|"]
    grounds = Grounds(txn)
    for row in rows:
        if row["action"] not in _ROUTINE:
            cells = (str(row["seq"]), when(row["at_us"]), row["actor"], row["action"], _on(grounds, row))
            lines.append(f"| {' | '.join(map(escaped, cells))} | {row['hash'][:_SHOWN]} |")
    return "\n".join(lines)


def _on(grounds: Grounds, row: Row) -> str:
    """The evidence of one row in words."""
    found = grounds.of(row)
    said = []
    if "look" in found:
        said.append(f"look {found['look']} (verdict {found['verdict'][:_SHOWN]})")
    if "approval" in found:
        answer = found["approval"]
        said.append(
            f"{answer['decision']}, {answer['level']}, by {answer['who']} about evidence "
            f"{answer['evidence'][:_SHOWN]}"
        )
    return "; ".join(said) or "no look yet"


__all__ = ["section"]
