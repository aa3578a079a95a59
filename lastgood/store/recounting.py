"""Recounting: the exact sums of releases that an older version recorded, which kept none.

Schema 0002 brought the sums, and only counted what came after it: a release that was under way would have
had sums of a part of its runs, and a late report would have changed sums that its run was never in.
"""

import json
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, text

from lastgood import recorder
from lastgood.store import statements as sql
from lastgood.tallies import Origin, Tallies, merged

_RELEASES = "SELECT id FROM release ORDER BY id"
_LATE = """
SELECT late_report.run_id, late_report.fields FROM late_report JOIN run ON run.id = late_report.run_id
WHERE run.release_id = :release_id ORDER BY late_report.seq
"""
_RUNS = """
SELECT run.*, outcome.* FROM run JOIN outcome ON outcome.run_id = run.id WHERE run.release_id = :release_id
"""
#: the last schema without sums
BEFORE_SUMS = "0001"


def sum_up(connection: Connection) -> None:
    """Write the live sums of every release, of its outcomes and late reports; there have to be none yet.

    Blocks that were sealed by then get no sealed sums: what they were when they were sealed is not known.
    """
    for (release_id,) in connection.execute(text(_RELEASES)).all():
        _write(connection, _summed(connection, release_id))


def _summed(connection: Connection, release_id: str) -> Tallies:
    late: defaultdict[str, list[Mapping[str, Any]]] = defaultdict(list)
    of_release = {"release_id": release_id}
    for run_id, fields in connection.execute(text(_LATE), of_release):
        late[run_id].append(json.loads(fields))
    found = Tallies()
    for row in connection.execute(text(_RUNS), of_release).mappings():
        cell = Origin.of(row).cell
        assert cell is not None  # noqa: S101  the run is of a release
        found.add(cell, merged(recorder.outcome_of(row), late.get(row["id"], ())))
    return found


def _write(connection: Connection, found: Tallies) -> None:
    for statement, rows in ((sql.ADD_TALLY, found.rows()), (sql.ADD_METRIC_TALLY, found.metric_rows())):
        if rows:
            connection.execute(text(statement), rows)
