"""The named statements of upkeep, portable as those of `lastgood.store.statements`."""

BEAT = "SELECT * FROM beat WHERE name = :name"
SET_BEAT = """
INSERT INTO beat (name, at_us) VALUES (:name, :at_us)
ON CONFLICT (name) DO UPDATE SET at_us = excluded.at_us
"""

#: releases that ended in a span of time, by what the scheduled evaluation drives and what it does not
ENDED_BETWEEN = """
SELECT * FROM release WHERE ended_us > :since_us AND ended_us <= :until_us ORDER BY ended_us, id
"""

# -- the watch of what serves
DRIFT_WATCH = """
SELECT * FROM drift_watch WHERE agent = :agent AND environment = :environment AND bundle_id = :bundle_id
"""
SET_DRIFT_WATCH = """
INSERT INTO drift_watch (agent, environment, bundle_id, after_seq, state)
VALUES (:agent, :environment, :bundle_id, :after_seq, :state)
ON CONFLICT (agent, environment, bundle_id) DO UPDATE
  SET after_seq = excluded.after_seq, state = excluded.state
"""
DRIFTS = """
SELECT * FROM drift WHERE agent = :agent AND environment = :environment ORDER BY at_us DESC, id LIMIT :most
"""
#: runs of a bundle whose outcome can't be missing any more, in the order of their assignment
SETTLED_RUNS = """
SELECT run.seq, run.id, outcome.received_us, outcome.status, outcome.completed, outcome.validated,
  outcome.escalated, outcome.infra_failure, outcome.usage
FROM run LEFT JOIN outcome ON outcome.run_id = run.id
WHERE run.bundle_id = :bundle_id AND run.environment = :environment AND run.agent = :agent
  AND run.seq > :after AND run.assigned_us <= :before_us ORDER BY run.seq LIMIT :most
"""
#: where the watch of a bundle begins: its newest runs, as many as a release's history
FIRST_WATCHED = """
SELECT run.seq FROM run WHERE run.bundle_id = :bundle_id AND run.environment = :environment
  AND run.agent = :agent ORDER BY run.seq DESC LIMIT 1 OFFSET :most
"""
