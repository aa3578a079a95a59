"""The named statements that the agent side speaks; a contract test holds each to the schema.

Portable SQL with `:name` parameters. Column lists of inserts come from the caller's own mapping keys,
never from input.
"""

from collections.abc import Sequence
from functools import cache

SCHEMA_VERSION = "SELECT version_num FROM alembic_version"

# -- bundles
BUNDLE = "SELECT * FROM bundle WHERE id = :id"
BUNDLE_BY_NAME = "SELECT * FROM bundle WHERE name = :name"
BUNDLES_BY_PREFIX = "SELECT * FROM bundle WHERE id >= :low AND id < :high ORDER BY id LIMIT 3"
BUNDLES_OF_AGENT = "SELECT * FROM bundle WHERE agent = :agent ORDER BY created_us DESC, name DESC"
BUNDLES = "SELECT * FROM bundle ORDER BY created_us DESC, name DESC"
NEWEST_BUNDLES = "SELECT * FROM bundle ORDER BY created_us DESC, name DESC LIMIT :most"
BUNDLE_NAMES = "SELECT name FROM bundle WHERE name >= :low AND name < :high"
BUNDLE_PARTS = """
SELECT bundle_part.kind, bundle_part.version, bundle_part.digest, part.body
FROM bundle_part LEFT JOIN part ON part.digest = bundle_part.digest WHERE bundle_id = :id
  ORDER BY bundle_part.kind
"""
PART_EXISTS = "SELECT 1 FROM part WHERE digest = :digest"

# -- the control point
POINT = "SELECT * FROM control_point WHERE agent = :agent AND environment = :environment"
POINTS = "SELECT * FROM control_point ORDER BY agent, environment"
MOVE_POINT = """
UPDATE control_point SET baseline = :baseline, standing = :standing, candidate = :candidate,
  release_id = :release_id, share_bp = :share_bp, epoch = :epoch, lease_seq = :lease_seq,
  lease_until_us = :lease_until_us, lease_boot_id = :lease_boot_id,
  lease_boot_until_us = :lease_boot_until_us,
  driver_term = :driver_term, killed = :killed, terms = :terms, changed_us = :changed_us, seal = :seal
WHERE agent = :agent AND environment = :environment AND epoch = :was_epoch AND driver_term = :was_term
"""
LEDGER_TAIL = """
SELECT * FROM ledger WHERE agent = :agent AND environment = :environment ORDER BY seq DESC LIMIT 1
"""
LEDGER = "SELECT * FROM ledger WHERE agent = :agent AND environment = :environment ORDER BY seq"
LEDGER_PAGE = """
SELECT * FROM ledger WHERE agent = :agent AND environment = :environment AND seq > :after
  ORDER BY seq LIMIT :most
"""
LEDGER_OF_RELEASE = """
SELECT * FROM ledger WHERE agent = :agent AND environment = :environment
  AND release_id = :release_id ORDER BY seq
"""
WITHDRAW = """
UPDATE served SET withdrawn_us = :now_us
WHERE agent = :agent AND environment = :environment AND bundle_id = :bundle_id AND withdrawn_us IS NULL
"""
HAS_SERVED = """
SELECT 1 FROM served WHERE agent = :agent AND environment = :environment AND bundle_id = :bundle_id LIMIT 1
"""
GOOD_BUNDLES = """
SELECT served.* FROM served
LEFT JOIN quarantine ON quarantine.agent = served.agent AND quarantine.environment = served.environment
  AND quarantine.bundle_id = served.bundle_id
  AND (quarantine.until_us IS NULL OR quarantine.until_us > :now_us)
WHERE served.agent = :agent AND served.environment = :environment AND served.withdrawn_us IS NULL
  AND quarantine.bundle_id IS NULL
ORDER BY served.epoch DESC
"""
QUARANTINE = """
SELECT * FROM quarantine WHERE agent = :agent AND environment = :environment AND bundle_id = :bundle_id
  AND (until_us IS NULL OR until_us > :now_us)
"""
SET_QUARANTINE = """
INSERT INTO quarantine (agent, environment, bundle_id, since_us, until_us, reason, release_id)
VALUES (:agent, :environment, :bundle_id, :since_us, :until_us, :reason, :release_id)
ON CONFLICT (agent, environment, bundle_id) DO UPDATE SET since_us = excluded.since_us,
  until_us = CASE WHEN quarantine.until_us IS NULL OR quarantine.until_us > excluded.until_us
    THEN quarantine.until_us ELSE excluded.until_us END,
  reason = excluded.reason, release_id = excluded.release_id
"""
READMIT = """
DELETE FROM quarantine WHERE agent = :agent AND environment = :environment AND bundle_id = :bundle_id
"""

# -- releases
RELEASE = "SELECT * FROM release WHERE id = :id"
LIVE_RELEASE = """
SELECT * FROM release WHERE agent = :agent AND environment = :environment AND ended_us IS NULL
"""
LIVE_RELEASES = "SELECT * FROM release WHERE ended_us IS NULL ORDER BY started_us, id"
RELEASES = """
SELECT * FROM release WHERE agent = :agent AND environment = :environment
  ORDER BY started_us DESC, id DESC LIMIT :most
"""
MOVE_RELEASE = """
UPDATE release SET state = :state, step = :step, step_since_us = :step_since_us
WHERE id = :id AND ended_us IS NULL
"""
END_RELEASE = """
UPDATE release SET state = :state, ended_us = :now_us, reason = :reason, culprits = :culprits
WHERE id = :id AND ended_us IS NULL
"""
DRIVE_RELEASE = (
    "UPDATE release SET driver = :driver, driver_seen_us = :now_us WHERE id = :id AND ended_us IS NULL"
)
INVALID_SINCE = "UPDATE release SET invalid_since_us = :since_us WHERE id = :id AND ended_us IS NULL"
STAGE = "SELECT * FROM stage WHERE release_id = :release_id AND key = :key"

# -- runs
FIRST_OF_UNIT = "INSERT INTO unit_seen (release_id, unit) VALUES (:release_id, :unit) ON CONFLICT DO NOTHING"
NEXT_BLOCK = """
INSERT INTO block_counter (release_id, stratum, block, size, epoch, opened_us)
VALUES (:release_id, :stratum, 0, 1, :epoch, :now_us)
ON CONFLICT (release_id, stratum) DO UPDATE SET
  block = CASE WHEN block_counter.size >= :size OR block_counter.epoch <> :epoch
    OR block_counter.opened_us <= :now_us - :time_us
      THEN block_counter.block + 1 ELSE block_counter.block END,
  size = CASE WHEN block_counter.size >= :size OR block_counter.epoch <> :epoch
    OR block_counter.opened_us <= :now_us - :time_us THEN 1 ELSE block_counter.size + 1 END,
  opened_us = CASE WHEN block_counter.size >= :size OR block_counter.epoch <> :epoch
    OR block_counter.opened_us <= :now_us - :time_us THEN :now_us ELSE block_counter.opened_us END,
  epoch = :epoch
RETURNING block
"""
CONVERSATION = """
SELECT * FROM conversation WHERE agent = :agent AND environment = :environment
  AND conversation = :conversation
"""
KEEP_CONVERSATION = """
INSERT INTO conversation (agent, environment, conversation, bundle_id, release_id, arm, since_us)
VALUES (:agent, :environment, :conversation, :bundle_id, :release_id, :arm, :since_us)
ON CONFLICT (agent, environment, conversation) DO UPDATE SET bundle_id = excluded.bundle_id,
  release_id = excluded.release_id, arm = excluded.arm, since_us = excluded.since_us
"""
RUN = "SELECT * FROM run WHERE id = :id"
OPEN_ENTRY = """
SELECT run.* FROM entry JOIN run ON run.id = entry.run_id
LEFT JOIN outcome ON outcome.run_id = run.id
WHERE entry.agent = :agent AND entry.environment = :environment AND entry.entry = :entry
  AND outcome.run_id IS NULL AND run.assigned_us > :since_us
"""
ENTRY = """
SELECT run.* FROM entry JOIN run ON run.id = entry.run_id
WHERE entry.agent = :agent AND entry.environment = :environment AND entry.entry = :entry
"""
ENTER = """
INSERT INTO entry (agent, environment, entry, run_id) VALUES (:agent, :environment, :entry, :run_id)
ON CONFLICT (agent, environment, entry) DO UPDATE SET run_id = excluded.run_id
"""
OUTCOME = "SELECT * FROM outcome WHERE run_id = :run_id"
LATE_REPORTS = "SELECT * FROM late_report WHERE run_id = :run_id ORDER BY seq"
EVENTS = "SELECT * FROM event WHERE run_id = :run_id ORDER BY seq"
ACTIONS = "SELECT * FROM action WHERE run_id = :run_id ORDER BY reserved_us, id"
ACTION_COUNT = (
    "SELECT count(*) AS n FROM action WHERE run_id = :run_id AND kind = :kind AND state <> 'failed'"
)

# -- caps
RESERVE = """
INSERT INTO cap_use (release_id, cap, window_us, used, reserved)
SELECT :release_id, :cap, :window_us, 0, :amount WHERE :amount <= :ceiling
ON CONFLICT (release_id, cap, window_us) DO UPDATE SET reserved = cap_use.reserved + :amount
WHERE cap_use.used + cap_use.reserved + :amount <= :ceiling
"""
CAP_USE = "SELECT * FROM cap_use WHERE release_id = :release_id AND cap = :cap AND window_us = :window_us"
CAPS_USED = "SELECT * FROM cap_use WHERE release_id = :release_id ORDER BY cap, window_us"
SETTLE_CAP = """
UPDATE cap_use SET used = used + :spent, reserved = reserved - :amount
WHERE release_id = :release_id AND cap = :cap AND window_us = :window_us
"""
ADD_USE = """
INSERT INTO cap_use (release_id, cap, window_us, used, reserved)
  VALUES (:release_id, :cap, :window_us, :spent, 0)
ON CONFLICT (release_id, cap, window_us) DO UPDATE SET used = cap_use.used + :spent
"""
EXPIRED_RESERVATIONS = "SELECT * FROM reservation WHERE release_id = :release_id AND expires_us <= :now_us"
DROP_RESERVATION = "DELETE FROM reservation WHERE run_id = :run_id AND cap = :cap"

# -- evidence
SCORED_RUNS = """
SELECT run.seq, run.task_type, run.block, run.arm, run.share_bp, run.assigned_us, run.id AS run_id,
  run.unit, run.reason,
  outcome.received_us, outcome.status, outcome.completed, outcome.validated, outcome.escalated,
  outcome.incidents,
  outcome.cost_usd, outcome.operator_edits, outcome.latency_s, outcome.infra_failure, outcome.metrics
FROM run LEFT JOIN outcome ON outcome.run_id = run.id
WHERE run.release_id = :release_id AND run.block IS NOT NULL AND run.seq > :after ORDER BY run.seq
"""
LATE_OF_RELEASE = """
SELECT late_report.run_id, late_report.received_us, late_report.fields FROM late_report
JOIN run ON run.id = late_report.run_id
WHERE run.release_id = :release_id AND run.block IS NOT NULL AND run.seq > :after ORDER BY late_report.seq
"""
BASELINE_RUNS = """
SELECT run.seq, run.task_type, run.unit, run.assigned_us, run.id AS run_id,
  outcome.received_us, outcome.status, outcome.completed, outcome.validated, outcome.escalated,
  outcome.incidents,
  outcome.cost_usd, outcome.operator_edits, outcome.latency_s, outcome.infra_failure, outcome.metrics,
    run.risk
FROM run LEFT JOIN outcome ON outcome.run_id = run.id
WHERE run.bundle_id = :bundle_id AND run.agent = :agent AND run.environment = :environment
  AND run.assigned_us <= :before AND run.reason <> 'telemetry' ORDER BY run.seq DESC LIMIT :most
"""
LATE_OF_BUNDLE = """
SELECT late_report.run_id, late_report.received_us, late_report.fields FROM late_report
JOIN run ON run.id = late_report.run_id
WHERE run.bundle_id = :bundle_id AND run.agent = :agent AND run.environment = :environment
  ORDER BY late_report.seq
"""
RECENT_RISKS = """
SELECT risk, count(*) AS n, min(assigned_us) AS first_us FROM run
WHERE agent = :agent AND environment = :environment AND assigned_us > :since AND reason <> 'telemetry'
GROUP BY risk ORDER BY risk
"""
BLOCK_COUNTERS = "SELECT * FROM block_counter WHERE release_id = :release_id"
EVIDENCE = "SELECT * FROM evidence WHERE release_id = :release_id"
SAVE_EVIDENCE = """
INSERT INTO evidence (release_id, state, sealed, looks) VALUES (:release_id, :state, :sealed, :looks)
ON CONFLICT (release_id) DO UPDATE
  SET state = excluded.state, sealed = excluded.sealed, looks = excluded.looks
"""
BLOCKS = "SELECT * FROM block WHERE release_id = :release_id ORDER BY guardrail, stratum, block"
LOOKS = "SELECT * FROM look WHERE release_id = :release_id ORDER BY seq"
LAST_LOOK = "SELECT * FROM look WHERE release_id = :release_id ORDER BY seq DESC LIMIT 1"

# -- policies
POLICY = "SELECT * FROM policy WHERE digest = :digest"
POLICY_BY_NAME = "SELECT * FROM policy WHERE name = :name ORDER BY created_us DESC, digest LIMIT 1"
POLICIES = "SELECT * FROM policy ORDER BY name, created_us DESC"


@cache
def insert(table: str, columns: tuple[str, ...]) -> str:
    """Return the insert of one row into `table`; a row that is there already is an error."""
    names = ", ".join(columns)
    return f"INSERT INTO {table} ({names}) VALUES ({', '.join(':' + c for c in columns)})"  # noqa: S608  our own names


@cache
def insert_new(table: str, columns: tuple[str, ...]) -> str:
    """Return the insert of one row into `table`; a row that is there already is left alone."""
    return insert(table, columns) + " ON CONFLICT DO NOTHING"


# -- containment: sums, triggers, keyed actions, stops, refusals
#: the sums of a cell, in the order in which `lastgood.tallies` has them
SUMS = (
    *("runs", "failed", "disconnected", "completed_n", "completed", "validated_n", "validated"),
    *("escalated_n", "escalated", "infra_failure_n", "infra_failure", "incidents_n", "incidents"),
    *("operator_edits_n", "operator_edits", "cost_n", "cost_micro", "latency_n", "latency_us"),
)
_cell = "release_id, task_type, block, arm"
_cell_values = ":release_id, :task_type, :block, :arm"
_sums, _sum_values = ", ".join(SUMS), ", ".join(f":{name}" for name in SUMS)
ADD_TALLY = (
    f"INSERT INTO tally ({_cell}, {_sums}) VALUES ({_cell_values}, {_sum_values}) "  # noqa: S608  our own names
    f"ON CONFLICT ({_cell}) DO UPDATE SET {', '.join(f'{s} = tally.{s} + excluded.{s}' for s in SUMS)}"
)
ADD_METRIC_TALLY = """
INSERT INTO metric_tally (release_id, task_type, block, arm, metric, n, total_micro)
VALUES (:release_id, :task_type, :block, :arm, :metric, :n, :total_micro)
ON CONFLICT (release_id, task_type, block, arm, metric) DO UPDATE
  SET n = metric_tally.n + excluded.n, total_micro = metric_tally.total_micro + excluded.total_micro
"""
UNSEALED_TALLIES = "SELECT * FROM tally WHERE release_id = :release_id AND block >= :least"
SEAL_TALLY = (
    f"INSERT INTO sealed_tally ({_cell}, {_sums}) VALUES ({_cell_values}, {_sum_values}) "  # noqa: S608  our own names
    "ON CONFLICT DO NOTHING"
)
LATE_BY_KEY = "SELECT 1 FROM late_report WHERE run_id = :run_id AND key = :key"
TRIGGER_STATE = "SELECT state FROM trigger_state WHERE release_id = :release_id AND name = :name"
SET_TRIGGER_STATE = """
INSERT INTO trigger_state (release_id, name, state) VALUES (:release_id, :name, :state)
ON CONFLICT (release_id, name) DO UPDATE SET state = excluded.state
"""
ADD_TRIGGER_COUNT = """
INSERT INTO trigger_count (release_id, metric, n, bad) VALUES (:release_id, :metric, :n, :bad)
ON CONFLICT (release_id, metric) DO UPDATE SET n = trigger_count.n + :n, bad = trigger_count.bad + :bad
RETURNING n, bad
"""
RIPE_RUNS = """
SELECT run.seq, run.assigned_us, outcome.received_us FROM run LEFT JOIN outcome ON outcome.run_id = run.id
WHERE run.release_id = :release_id AND run.arm = 'candidate' AND run.seq > :after
  AND run.assigned_us <= :before_us ORDER BY run.seq LIMIT :most
"""
RECENT_ERRORS = """
SELECT run.seq, outcome.error, outcome.status, outcome.infra_failure FROM run
JOIN outcome ON outcome.run_id = run.id
WHERE run.bundle_id = :bundle_id AND run.agent = :agent AND run.environment = :environment
  AND run.assigned_us >= :since_us AND run.reason <> 'telemetry' ORDER BY run.seq DESC LIMIT :most
"""
SAME_ERROR_ELSEWHERE = """
SELECT 1 FROM run JOIN outcome ON outcome.run_id = run.id
WHERE run.agent = :agent AND run.environment = :environment AND run.bundle_id <> :bundle_id
  AND run.seq >= :seq AND run.reason <> 'telemetry' AND outcome.error = :error LIMIT 1
"""
SERVED_TAIL = """
SELECT * FROM served WHERE agent = :agent AND environment = :environment ORDER BY epoch DESC LIMIT 1
"""
SERVED_OF_BUNDLE = """
SELECT * FROM served WHERE agent = :agent AND environment = :environment AND bundle_id = :bundle_id
ORDER BY epoch DESC LIMIT 1
"""
WITHDRAWN_SINCE = """
SELECT * FROM served WHERE agent = :agent AND environment = :environment AND bundle_id = :bundle_id
  AND withdrawn_us >= :since_us ORDER BY epoch DESC LIMIT 1
"""
FENCE_RELEASE = "UPDATE release SET fence = :fence WHERE id = :id"
FENCE_SERVED = """
UPDATE served SET fence = :fence
WHERE agent = :agent AND environment = :environment AND bundle_id = :bundle_id AND withdrawn_us = :now_us
"""
ACTION_BY_KEY = "SELECT * FROM action WHERE run_id = :run_id AND key = :key"
REPEAT_ACTION = """
UPDATE action SET state = 'reserved', reserved_us = :now_us, settled_us = NULL, epoch = :epoch, late = :late
WHERE id = :id
"""
FINISH_ACTION = """
UPDATE action SET state = :state, settled_us = :now_us, result = :result
WHERE id = :id AND state = 'reserved'
"""
ACTION = "SELECT * FROM action WHERE id = :id"
PLACE_OF_ACTION = (
    "SELECT run.agent, run.environment FROM action JOIN run ON run.id = action.run_id WHERE action.id = :id"
)
STOP = "SELECT * FROM stop WHERE agent = :agent AND environment = :environment"
SET_STOP = """
INSERT INTO stop (agent, environment, since_us, actor, reason)
VALUES (:agent, :environment, :since_us, :actor, :reason) ON CONFLICT (agent, environment) DO NOTHING
"""
CLEAR_STOP = "DELETE FROM stop WHERE agent = :agent AND environment = :environment"
COUNT_REFUSAL = """
INSERT INTO refusal (agent, environment, reason, n, last_us)
VALUES (:agent, :environment, :reason, :times, :now_us)
ON CONFLICT (agent, environment, reason) DO UPDATE SET n = refusal.n + :times, last_us = excluded.last_us
"""
REFUSALS = "SELECT * FROM refusal WHERE agent = :agent AND environment = :environment ORDER BY reason"


def padded(values: Sequence[str]) -> list[str]:
    """Return values, at least one, filled up to a power of two with the last, so that texts are few."""
    size = 1 << (len(values) - 1).bit_length()
    return [*values, *[values[-1]] * (size - len(values))]


@cache
def among_places(statement: str, size: int) -> str:
    """Return a statement with `IN (:among)` spelled out for so many values by their places, for sqlite3."""
    return statement.replace(":among", ", ".join("?" * size))


@cache
def _among(statement: str, size: int) -> str:
    return statement.replace(":among", ", ".join(f":among{place}" for place in range(size)))


def among(statement: str, values: Sequence[str]) -> tuple[str, dict[str, str]]:
    """Return a statement with `IN (:among)` spelled out for values, at least one, and its parameters."""
    filled = padded(values)
    return _among(statement, len(filled)), {f"among{place}": value for place, value in enumerate(filled)}


#: what the recording of an outcome needs of its run, and whether it has one already
RUNS_AMONG = """
SELECT run.id, run.agent, run.environment, run.release_id, run.task_type, run.block, run.arm, run.bundle_id,
  run.epoch, run.assigned_us, outcome.run_id AS ended
FROM run LEFT JOIN outcome ON outcome.run_id = run.id WHERE run.id IN (:among)
"""
LATE_AMONG = "SELECT run_id, fields FROM late_report WHERE run_id IN (:among) ORDER BY seq"
RESERVATIONS_AMONG = "SELECT * FROM reservation WHERE run_id IN (:among) ORDER BY run_id"


@cache
def insert_tuples(
    table: str, columns: tuple[str, ...], rows: int, literals: tuple[tuple[str, str], ...] = ()
) -> str:
    """Return `insert_new` of several rows, the values of each in the order of `columns`, for sqlite3.

    `literals` are further columns, with one SQL literal of our own for all rows.
    """
    head, _, _ = insert(table, (*columns, *(name for name, _ in literals))).partition(" VALUES ")
    one = ", ".join((*"?" * len(columns), *(literal for _, literal in literals)))
    return f"{head} VALUES {', '.join([f'({one})'] * rows)} ON CONFLICT DO NOTHING"
