"""The named statements of the watch, portable as those of `lastgood.store.statements`."""

WATCH = "SELECT * FROM watch WHERE id = :id"
WATCH_OF = "SELECT * FROM watch WHERE subject = :subject"
WATCHES = """
SELECT * FROM watch WHERE agent = :agent AND environment = :environment
ORDER BY at_us DESC, id DESC LIMIT :most
"""
OPEN_WATCHES = "SELECT * FROM watch WHERE ended_us IS NULL ORDER BY at_us, id"
#: promotions since a time that are not watched yet
PROMOTED_UNWATCHED = """
SELECT release.id FROM release LEFT JOIN watch ON watch.subject = release.id
WHERE release.state = 'promoted' AND release.ended_us >= :since AND watch.id IS NULL
ORDER BY release.ended_us, release.id
"""
#: incidents since a time whose watch nobody has begun
DUE_INCIDENTS = "SELECT * FROM incident WHERE watch = 'due' AND opened_us >= :since ORDER BY opened_us, id"
INCIDENT_OF_RELEASE = """
SELECT * FROM incident WHERE release_id = :release_id ORDER BY opened_us DESC, id DESC LIMIT 1
"""
HAS_RUN = """
SELECT 1 FROM run WHERE bundle_id = :bad_bundle AND agent = :agent AND environment = :environment
  AND assigned_us >= :from_us AND assigned_us <= :to_us LIMIT 1
"""
SAY_FAST = """
UPDATE watch SET state = 'fast', fast = :verdict, fast_us = :now_us WHERE id = :id AND fast IS NULL
"""
SAY_FINAL = """
UPDATE watch SET state = 'ended', final = :verdict, ended_us = :now_us WHERE id = :id AND ended_us IS NULL
"""
_MINE = """
run.bundle_id = :bundle_id AND run.agent = :agent AND run.environment = :environment
  AND run.seq > :after AND run.seq <= :last
"""
#: the newest runs of a bundle between two places
RUNS = f"""
SELECT run.seq, run.id AS run_id, run.task_type, run.block, run.assigned_us, run.release_id, run.arm,
  outcome.received_us, outcome.status, outcome.completed, outcome.validated, outcome.escalated,
  outcome.incidents, outcome.cost_usd, outcome.infra_failure, outcome.usage
FROM run LEFT JOIN outcome ON outcome.run_id = run.id WHERE {_MINE} ORDER BY run.seq DESC LIMIT :most
"""  # noqa: S608  our own names
LATE = f"""
SELECT late_report.run_id, late_report.fields FROM late_report JOIN run ON run.id = late_report.run_id
WHERE {_MINE} ORDER BY late_report.seq
"""  # noqa: S608
EVENTS = f"SELECT event.run_id, event.name FROM event JOIN run ON run.id = event.run_id WHERE {_MINE}"  # noqa: S608
CALLS = f"""
SELECT action.tool, action.state, count(*) AS n FROM action JOIN run ON run.id = action.run_id
WHERE {_MINE} AND action.tool IS NOT NULL AND action.state <> 'reserved' GROUP BY action.tool, action.state
"""  # noqa: S608
