"""The named statements of telemetry, portable as those of `lastgood.store.statements`."""

NEW_SPAN = """
INSERT INTO span (scope, trace_id, span_id, parent_id, run_id, body, received_us)
VALUES (:scope, :trace_id, :span_id, :parent_id, :run_id, :body, :received_us) ON CONFLICT DO NOTHING
"""
SPANS_OF_TRACE = "SELECT * FROM span WHERE scope = :scope AND trace_id = :trace_id"
SET_SPAN = """
UPDATE span SET run_id = :run_id, body = :body
WHERE scope = :scope AND trace_id = :trace_id AND span_id = :span_id
"""
#: spans that waited in vain
OVERDUE_SPANS = "SELECT count(*) AS n FROM span WHERE received_us <= :before_us AND body IS NOT NULL"
DROP_SPANS = "DELETE FROM span WHERE received_us <= :before_us"
#: a run that an evaluation made known before its root came
COMPLETE_RUN = """
UPDATE run SET unit = :unit, conversation = :conversation, task_type = :task_type, assigned_us = :assigned_us
WHERE id = :id AND reason = 'telemetry'
"""
COUNT_UNMAPPED = """
INSERT INTO unmapped (agent, environment, kind, n, last_us)
VALUES (:agent, :environment, :kind, :n, :now_us)
ON CONFLICT (agent, environment, kind) DO UPDATE SET n = unmapped.n + :n, last_us = :now_us
"""
KINDS_UNMAPPED = "SELECT kind FROM unmapped WHERE agent = :agent AND environment = :environment"
UNMAPPED = """
SELECT * FROM unmapped WHERE agent IN (:agent, '') AND environment IN (:environment, '')
ORDER BY n DESC, kind LIMIT :most
"""
