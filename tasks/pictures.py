"""Pictures of a release, drawn from its stored looks: inside a report, or as files beside one."""

import json
from pathlib import Path
from typing import Any

from lastgood.store import statements as sql
from lastgood.store.connection import Store
from tasks import report
from tasks.report import Report

#: one look by its number
_LOOK = "SELECT verdict FROM look WHERE release_id = :release_id AND seq = :seq"


def drawn(store: Store, release_id: str) -> dict[str, bytes]:
    """PNGs by short name; none before the first look. Reads a few hundred looks at most, however many are."""
    from evaluators import charts  # matplotlib takes half a second to load
    from tasks.png import png

    verdicts = _looks(store, release_id)
    if not verdicts:
        return {}
    return {name: png(figure) for name, figure in charts.pictures(verdicts).items()}


def illustrated(store: Store, release_id: str) -> Report:
    """The report with its pictures inside, as data URIs: what Prefect's artifacts show."""
    from tasks.png import data_uri

    images = {name: data_uri(image) for name, image in drawn(store, release_id).items()}
    return report.build(store, release_id, images)


def write(store: Store, release_id: str, path: Path) -> Report:
    """Write the report to a file and its pictures beside it, `NAME-evidence.png` and so on."""
    images = drawn(store, release_id)
    names = {name: f"{path.stem}-{name}.png" for name in images}
    made = report.build(store, release_id, names)
    for name, image in images.items():
        (path.parent / names[name]).write_bytes(image)
    path.write_text(made.markdown, encoding="utf-8")
    return made


def _looks(store: Store, release_id: str) -> list[dict[str, Any]]:
    """The verdicts of the looks that a picture shows."""
    from evaluators.charts import thinned

    with store.reading() as txn:
        last = txn.one(sql.LAST_LOOK, release_id=release_id)
        if last is None:
            return []
        places = thinned(int(last["seq"])).tolist()
        rows = [txn.one(_LOOK, release_id=release_id, seq=place + 1) for place in places]
    return [json.loads(row["verdict"]) for row in rows if row is not None]


__all__ = ["drawn", "illustrated", "write"]
