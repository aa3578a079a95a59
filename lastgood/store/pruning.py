"""The named statements of retention, portable as those of `lastgood.store.statements`."""

from functools import cache

PLACES = "SELECT agent, environment, baseline, candidate FROM control_point ORDER BY agent, environment"
RUN_FROM = "SELECT seq, assigned_us FROM run WHERE seq >= :seq ORDER BY seq LIMIT 1"
RUN_LAST = "SELECT seq, assigned_us FROM run ORDER BY seq DESC LIMIT 1"
#: the place of the newest run of a bundle that no new release would read as the bundle's history
BEYOND_HISTORY = """
SELECT seq FROM run WHERE bundle_id = :bundle_id AND environment = :environment AND agent = :agent
  ORDER BY seq DESC LIMIT 1 OFFSET :most
"""
_PRUNABLE = """
FROM run WHERE run.agent = :agent AND run.environment = :environment AND run.assigned_us < :before_us
  AND NOT (run.bundle_id = :baseline AND run.seq > :baseline_seq)
  AND NOT (run.bundle_id = :candidate AND run.seq > :candidate_seq)
  AND NOT EXISTS (SELECT 1 FROM release WHERE release.id = run.release_id AND release.ended_us IS NULL)
  AND NOT EXISTS (SELECT 1 FROM reservation WHERE reservation.run_id = run.id)
  AND NOT EXISTS (SELECT 1 FROM action WHERE action.run_id = run.id AND action.state = 'reserved')
  AND NOT EXISTS (SELECT 1 FROM quarantine_item
    WHERE quarantine_item.run_id = run.id AND quarantine_item.state = 'recalled')
  AND NOT EXISTS (SELECT 1 FROM incident WHERE incident.bad_bundle = run.bundle_id
    AND incident.environment = run.environment AND incident.agent = run.agent
    AND run.assigned_us >= incident.from_us AND run.assigned_us <= incident.to_us
    AND incident.state = 'open')
"""
PRUNABLE_RUNS = f"""
SELECT run.id, run.seq {_PRUNABLE} AND run.seq > :after AND run.seq <= :last ORDER BY run.seq LIMIT :most
"""
COUNT_PRUNABLE = f"SELECT count(*) AS n {_PRUNABLE} AND run.seq <= :last"
PRUNABLE_AMONG = f"SELECT run.id {_PRUNABLE} AND run.id IN (:among)"
_ENDED = (
    "SELECT id FROM release WHERE agent = :agent AND environment = :environment AND ended_us < :before_us"
)
_UNRESERVED = "NOT EXISTS (SELECT 1 FROM reservation WHERE reservation.release_id = release.id)"
#: no bundle that serves now became the last known good by it
_LEFT = """
NOT EXISTS (SELECT 1 FROM served WHERE served.release_id = release.id
  AND served.agent = release.agent AND served.environment = release.environment
  AND served.bundle_id IN (:baseline, :candidate))
"""
#: releases that ended before a time, and hold no reservation
ENDED_RELEASES = f"{_ENDED} AND {_UNRESERVED} ORDER BY id"
#: of these the ones that no trigger is charged to any more
UNCHARGED_RELEASES = f"{_ENDED} AND {_UNRESERVED} AND {_LEFT} ORDER BY id"
#: releases that ended before a time, and whose evidence proves nobody who serves now
PRUNABLE_EVIDENCE = f"{_ENDED} AND pruned_us IS NULL AND {_LEFT} ORDER BY id"
MARK_PRUNED = "UPDATE release SET pruned_us = :now_us WHERE id = :id AND ended_us IS NOT NULL"
#: releases whose evidence was begun to be pruned
MARKED_RELEASES = """
SELECT id FROM release WHERE agent = :agent AND environment = :environment AND pruned_us IS NOT NULL
  ORDER BY id
"""
COUNT_OLD_CONVERSATIONS = """
SELECT count(*) AS n FROM conversation
WHERE agent = :agent AND environment = :environment AND since_us < :before_us
"""
#: the first row of a chain that has to stay: too young, or of the live release
LEDGER_NEEDED = """
SELECT min(seq) AS seq FROM ledger WHERE agent = :agent AND environment = :environment
  AND (at_us >= :before_us OR release_id = :release_id)
"""
LEDGER_ROW = "SELECT * FROM ledger WHERE agent = :agent AND environment = :environment AND seq = :seq"
LEDGER_ANCHOR = "SELECT * FROM ledger_anchor WHERE agent = :agent AND environment = :environment"
SET_LEDGER_ANCHOR = """
INSERT INTO ledger_anchor (agent, environment, seq, hash) VALUES (:agent, :environment, :seq, :hash)
ON CONFLICT (agent, environment) DO UPDATE SET seq = excluded.seq, hash = excluded.hash
"""

_old_notices = "agent = :agent AND environment = :environment AND at_us < :before_us"
#: conditions of `delete_some`
OLD_DELIVERIES = f"state IN ('sent', 'dead') AND notice_id IN (SELECT id FROM notice WHERE {_old_notices})"  # noqa: S608  our own names
OLD_NOTICES = f"{_old_notices} AND state <> 'new' AND id NOT IN (SELECT notice_id FROM delivery)"  # noqa: S608  our own names


@cache
def with_rows(releases: str, table: str) -> str:
    """Return the query of those among `releases` (a query of theirs) that have rows in `table` still."""
    having = f"EXISTS (SELECT 1 FROM {table} WHERE {table}.release_id = found.id)"  # noqa: S608  our own names
    return f"SELECT found.id FROM ({releases}) AS found WHERE {having} ORDER BY found.id"  # noqa: S608  our own names


@cache
def delete_among(table: str, column: str) -> str:
    """Return the delete of the rows of `table` whose `column` is one of `:among` (see `among`)."""
    return f"DELETE FROM {table} WHERE {column} IN (:among)"  # noqa: S608  our own names


@cache
def delete_some(table: str, where: str, row_id: str) -> str:
    """Return the delete of at most `:most` rows of `table` that `where` fits."""
    return f"DELETE FROM {table} WHERE {row_id} IN (SELECT {row_id} FROM {table} WHERE {where} LIMIT :most)"  # noqa: S608  our own names
