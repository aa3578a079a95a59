"""Parts of a suite that is spread over workers: each leaves its report here."""

from lastgood.store import casing
from lastgood.store.connection import Store


def put(store: Store, suite_id: str, part: int, report: str) -> None:
    """Keep the report (JSON) of one part; the same part again replaces it."""
    with store.transaction() as txn:
        txn.run(casing.SET_PART, suite_id=suite_id, part=part, report=report, at_us=txn.now_us)


def read(store: Store, suite_id: str) -> dict[int, str]:
    """Return the reports that are there, by number of the part."""
    with store.reading() as txn:
        return {row["part"]: row["report"] for row in txn.all(casing.PARTS, suite_id=suite_id)}


def drop(store: Store, suite_id: str) -> None:
    """Forget the parts of a suite that is whole."""
    with store.transaction() as txn:
        txn.run(casing.DROP_PARTS, suite_id=suite_id)


__all__ = ["drop", "put", "read"]
