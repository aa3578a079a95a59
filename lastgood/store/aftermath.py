"""The named statements of incidents and recovery, portable as those of `lastgood.store.statements`."""

# -- incidents
INCIDENT = "SELECT * FROM incident WHERE id = :id"
INCIDENTS = "SELECT * FROM incident ORDER BY opened_us DESC, id DESC LIMIT :most"
INCIDENTS_OF_AGENT = """
SELECT * FROM incident WHERE agent = :agent AND environment = :environment
  ORDER BY opened_us DESC, id DESC LIMIT :most
"""
OPEN_INCIDENTS = """
SELECT * FROM incident WHERE agent = :agent AND environment = :environment AND state = 'open'
  ORDER BY opened_us, id
"""
CLOSE_INCIDENT = """
UPDATE incident SET state = 'closed', cases = :cases, close_reason = :close_reason, closed_by = :closed_by,
  closed_us = :closed_us WHERE id = :id AND state = 'open'
"""
ADD_CASE = "UPDATE incident SET cases = :cases WHERE id = :id"
SET_WATCH = "UPDATE incident SET watch = :watch WHERE id = :id"
NEWEST_RELEASE_OF_BUNDLE = """
SELECT * FROM release WHERE agent = :agent AND environment = :environment AND candidate = :bundle_id
  ORDER BY started_us DESC, id DESC LIMIT 1
"""

# -- the runs of an incident's window
_WINDOW = """
run.agent = :agent AND run.environment = :environment AND run.bundle_id = :bad_bundle
  AND run.assigned_us >= :from_us AND run.assigned_us <= :to_us
"""
WINDOW_RUNS = f"""
SELECT run.id, run.seq, run.unit, run.task_type, run.arm, run.assigned_us, outcome.run_id AS ended,
  outcome.status, outcome.completed, outcome.validated, outcome.escalated, outcome.infra_failure,
  outcome.incidents, outcome.operator_edits, outcome.cost_usd, outcome.latency_s, outcome.error,
  outcome.error_text, outcome.parts_read, outcome.usage, outcome.metrics
FROM run LEFT JOIN outcome ON outcome.run_id = run.id
WHERE {_WINDOW} AND run.seq > :after ORDER BY run.seq LIMIT :most
"""  # noqa: S608  our own text
WINDOW_COUNT = f"SELECT count(*) AS n FROM run WHERE {_WINDOW}"  # noqa: S608  our own text
PARTS_READ = f"""
SELECT outcome.parts_read, count(*) AS n FROM run JOIN outcome ON outcome.run_id = run.id
WHERE {_WINDOW} AND outcome.parts_read IS NOT NULL GROUP BY outcome.parts_read
"""  # noqa: S608  our own text
EVENTS_AMONG = "SELECT run_id, name FROM event WHERE run_id IN (:among) ORDER BY seq"
FAILED_TOOLS_AMONG = """
SELECT run_id, tool, kind FROM action WHERE run_id IN (:among) AND state = 'failed' ORDER BY reserved_us, id
"""
#: the place of the run after which the newest begin
WINDOW_SEQ = f"SELECT run.seq FROM run WHERE {_WINDOW} ORDER BY run.seq LIMIT 1 OFFSET :skip"  # noqa: S608  our own text
