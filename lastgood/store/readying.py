"""The named statements of readiness, portable as those of `lastgood.store.statements`."""

NEWEST_BUNDLES = """
SELECT bundle_id, count(*) AS n FROM (
  SELECT bundle_id FROM run WHERE agent = :agent AND environment = :environment ORDER BY seq DESC LIMIT :most
) AS newest GROUP BY bundle_id ORDER BY bundle_id
"""
NEWEST_OUTPUTS = """
SELECT count(*) AS n, count(kept) AS kept FROM (
  SELECT outcome.output AS kept FROM run JOIN outcome ON outcome.run_id = run.id
  WHERE run.agent = :agent AND run.environment = :environment ORDER BY run.seq DESC LIMIT :most
) AS newest
"""
#: kinds of actions of the newest runs
NEWEST_KINDS = """
SELECT action.kind, count(*) AS n FROM action JOIN run ON run.id = action.run_id
WHERE run.agent = :agent AND run.environment = :environment AND run.seq > (
  SELECT coalesce(max(seq), 0) - :most FROM run
) GROUP BY action.kind ORDER BY action.kind
"""
INCIDENTS_SEEN = """
SELECT count(*) AS n FROM incident WHERE agent = :agent AND environment = :environment
"""
