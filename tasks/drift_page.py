"""The page of what changed underneath the bundles of an agent, as an artifact."""

from lastgood.shown import short, when
from lastgood.store import upkeep
from lastgood.store.connection import Store
from tasks import publishing, report

#: newest changes that it shows
_MOST = 50


def publish(store: Store, agent: str, environment: str) -> None:
    """Bring the page up to date."""
    with store.reading() as txn:
        rows = txn.all(upkeep.DRIFTS, agent=agent, environment=environment, most=_MOST)
    lines = [f"# What changed underneath {agent} in {environment}", ""]
    lines += ["Nobody released these: see the provider, the tools and the data first.", ""]
    lines += ["| when | bundle | what | run |", "|---|---|---|---|"]
    for row in rows:
        at = when(row["at_us"], seconds=False)
        cells = (at, short(row["bundle_id"]), row["detail"], row["run_id"])
        lines.append(f"| {' | '.join(report.escaped(each) for each in cells)} |")
    headline = rows[0]["detail"] if rows else "nothing"
    key = f"drift-{agent}-{environment}".lower().replace("_", "-").replace(".", "-")
    publishing.put_page(key, "\n".join(lines) + "\n", headline)


__all__ = ["publish"]
