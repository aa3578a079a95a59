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
SELECT run.id, run.seq, run.unit, run.task_type, run.arm, run.assigned_us, run.reason,
  outcome.run_id AS ended, outcome.received_us, outcome.status, outcome.completed,
  outcome.validated, outcome.escalated, outcome.infra_failure,
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
REOPEN = """
UPDATE incident SET recovery = 'due' WHERE agent = :agent AND environment = :environment
  AND bad_bundle = :bad_bundle AND from_us <= :assigned_us AND to_us >= :assigned_us
  AND recovery <> 'due'
"""

# -- recovery
TAKE_RECOVERY = """
UPDATE incident SET recovery = 'running', recovery_worker = :recovery_worker,
  recovery_until_us = :recovery_until_us
WHERE id = :id AND (recovery_worker IN ('', :recovery_worker) OR recovery_until_us <= :now_us OR :forced = 1)
"""
KEEP_RECOVERY = """
UPDATE incident SET recovery_until_us = :recovery_until_us
WHERE id = :id AND recovery_worker = :recovery_worker
"""
END_RECOVERY = """
UPDATE incident SET recovery = CASE WHEN recovery = 'due' THEN 'due' ELSE :recovery END,
  recovery_worker = '', recovery_until_us = :recovery_until_us
WHERE id = :id AND recovery_worker = :recovery_worker
"""
DUE_RECOVERIES = """
SELECT incident.*,
  (SELECT count(*) FROM compensation WHERE compensation.incident_id = incident.id) AS planned,
  EXISTS (SELECT 1 FROM quarantine_item WHERE quarantine_item.incident_id = incident.id) AS begun
FROM incident WHERE (recovery = 'due' AND (recovery_worker = '' OR recovery_until_us <= :now_us))
  OR (recovery IN ('running', 'waiting') AND recovery_until_us > 0 AND recovery_until_us <= :now_us)
ORDER BY opened_us, id
"""
WINDOW_PAGE = f"""
SELECT run.id, run.seq FROM run WHERE {_WINDOW} AND run.seq > :after ORDER BY run.seq LIMIT :most
"""  # noqa: S608  our own text
#: actions that nothing undoes yet, or that took effect anew since they were undone
UNDONE_ACTIONS = f"""
SELECT action.*, run.unit, compensation.generation AS generation
FROM run JOIN action ON action.run_id = run.id
LEFT JOIN compensation ON compensation.action_id = action.id
WHERE {_WINDOW} AND run.seq > :after AND run.seq <= :last AND (compensation.action_id IS NULL
  OR (compensation.state IN ('done', 'residue') AND (action.reserved_us > compensation.covers_us
    OR (compensation.doubt AND action.state = 'done' AND action.settled_us > compensation.settled_us))))
ORDER BY action.reserved_us, action.id
"""  # noqa: S608  our own text
PLAN_ANEW = """
UPDATE compensation SET generation = :generation, key = :key, incident_id = :incident_id, doubt = :doubt,
  covers_us = :covers_us, handler = :handler, state = :state, cause = :cause, attempts = 0,
  last_error = :last_error, next_try_us = :next_try_us, planned_us = :planned_us, settled_us = :settled_us
WHERE action_id = :action_id AND generation = :generation - 1 AND state IN ('done', 'residue')
"""
PENDING = """
SELECT compensation.*, action.reserved_us, action.undo, action.result, action.tool, action.state AS acted
FROM compensation JOIN action ON action.id = compensation.action_id
WHERE compensation.incident_id = :incident_id AND compensation.state IN ('planned', 'calling')
ORDER BY action.reserved_us DESC, action.id DESC
"""
CLAIM = """
UPDATE compensation SET state = 'calling', attempts = attempts + 1
WHERE action_id = :action_id AND generation = :generation AND state IN ('planned', 'calling')
"""
COMPENSATED = """
UPDATE compensation SET state = 'done', cause = '', last_error = '', settled_us = :settled_us
WHERE action_id = :action_id AND generation = :generation AND state <> 'done'
"""
LEFT_OVER = """
UPDATE compensation SET state = 'residue', cause = :cause, last_error = :last_error, settled_us = :settled_us
WHERE action_id = :action_id AND generation = :generation AND state IN ('planned', 'calling')
"""
TRY_LATER = """
UPDATE compensation SET state = 'planned', last_error = :last_error, next_try_us = :next_try_us
WHERE action_id = :action_id AND generation = :generation AND state = 'calling'
"""
TRY_AGAIN = """
UPDATE compensation SET state = 'planned', cause = '', attempts = 0, handler = :handler,
  next_try_us = :next_try_us, settled_us = NULL
WHERE action_id = :action_id AND generation = :generation AND state = 'residue'
"""
COMPENSATIONS = """
SELECT compensation.*, action.reserved_us, action.undo, action.tool, run.unit
FROM compensation JOIN action ON action.id = compensation.action_id JOIN run ON run.id = compensation.run_id
WHERE compensation.incident_id = :incident_id ORDER BY action.reserved_us DESC, action.id DESC
"""
COMPENSATION_COUNTS = """
SELECT state, kind, count(*) AS n FROM compensation WHERE incident_id = :incident_id GROUP BY state, kind
"""
APPROVALS = "SELECT * FROM recovery_approval WHERE incident_id = :incident_id ORDER BY kind"
APPROVE = """
INSERT INTO recovery_approval (incident_id, kind, actor, reason, actions, at_us)
VALUES (:incident_id, :kind, :actor, :reason, :actions, :at_us) ON CONFLICT (incident_id, kind) DO NOTHING
"""
#: runs of the window that wait to be resumed; an event of this name that an agent reports keeps no outcome
SUSPENDED = f"""
SELECT run.id FROM run WHERE {_WINDOW}
  AND NOT EXISTS (SELECT 1 FROM outcome WHERE outcome.run_id = run.id)
  AND EXISTS (SELECT 1 FROM event WHERE event.run_id = run.id AND event.name = 'suspended'
    AND event.detail LIKE '{{"outcome": {{%')
ORDER BY run.seq LIMIT :most
"""  # noqa: S608  our own text
RESERVATIONS_OF_RELEASE = "SELECT * FROM reservation WHERE release_id = :release_id ORDER BY run_id, cap"

# -- quarantined outputs and memory entries
QUARANTINE_OUTPUTS = f"""
INSERT INTO quarantine_item (incident_id, kind, key, agent, environment, run_id, state, since_us, changed_us,
  actor, reason)
SELECT :incident_id, 'output', run.id, run.agent, run.environment, run.id, 'pending_review', :now_us, :now_us,
  '', '' FROM run WHERE {_WINDOW} AND run.seq > :after AND run.seq <= :last ON CONFLICT DO NOTHING
"""  # noqa: S608  our own text
HELD = "SELECT 1 FROM quarantine_item WHERE key = :key AND state <> 'cleared' LIMIT 1"
HELD_OF_AGENT = """
SELECT 1 FROM quarantine_item WHERE key = :key AND agent = :agent AND environment = :environment
  AND state <> 'cleared' LIMIT 1
"""
ITEMS_OF_KEY = "SELECT * FROM quarantine_item WHERE key = :key ORDER BY incident_id, kind"
MOVE_ITEM = """
UPDATE quarantine_item SET state = :state, changed_us = :changed_us, actor = :actor, reason = :reason
WHERE key = :key AND state <> :state
"""
_ITEMS = """
SELECT quarantine_item.*, run.unit, run.task_type, outcome.output FROM quarantine_item
JOIN run ON run.id = quarantine_item.run_id LEFT JOIN outcome ON outcome.run_id = run.id
"""
ITEMS = f"""
{_ITEMS} WHERE :state IN ('', quarantine_item.state)
ORDER BY quarantine_item.incident_id, quarantine_item.kind, quarantine_item.key LIMIT :most
"""
ITEMS_OF_INCIDENT = f"""
{_ITEMS} WHERE quarantine_item.incident_id = :incident_id AND :state IN ('', quarantine_item.state)
ORDER BY quarantine_item.kind, quarantine_item.key LIMIT :most
"""
ITEM_COUNTS = """
SELECT kind, state, count(*) AS n FROM quarantine_item WHERE incident_id = :incident_id GROUP BY kind, state
"""
#: a person did something that a recovery was waiting for
REDUE = "UPDATE incident SET recovery = 'due' WHERE id = :id AND recovery <> 'due'"
