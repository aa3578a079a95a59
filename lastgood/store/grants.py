"""Postgres roles: what each may read and write, for teams whose agents reach the database themselves.

`lastgood_agent` records its runs, and may put the last known good back, since a trigger reverts in the
transaction that records; it can't promote, start or raise a share, nor write what it has not done into the
ledger. Tables are held by grants. Where one table takes both (the control point, releases, the ledger), a
trigger looks at the row: it is no part of the schema, as roles are the server's and not the database's. A
ledger row has to tell the control point as it is, so that its tail can restore what a hand has edited.
Whoever owns the tables, and `lastgood_service`, may do everything but change what is immutable.
"""

from collections.abc import Iterable

#: what a role is called on the server
PREFIX = "lastgood_"
ROLES = ("observer", "agent", "operator", "releaser", "approver", "auditor", "service")
#: nobody but the service sees whose token or code is whose; an approver uses codes up, by their hashes
_SECRET = ("access_token", "approval_code")

_COUNTS = (
    "conversation", "entry", "block_counter", "cap_use", "tally", "metric_tally", "trigger_state",
    "trigger_count", "refusal",
)  # fmt: skip
_RECORDS = {
    "INSERT": (
        "run", "outcome", "late_report", "event", "action", "unit_seen", "reservation", *_COUNTS,
    ),
    "UPDATE": ("action", *_COUNTS),
    "DELETE": ("reservation",),
}  # fmt: skip
#: what putting the last known good back writes, in one transaction with its incident and its notices
_REVERTS = {
    "INSERT": (
        "ledger", "stage", "control_point", "served", "quarantine", "cooldown", "incident", "notice",
        "trigger_state",
    ),
    "UPDATE": ("control_point", "quarantine", "cooldown", "trigger_state"),
    "UPDATE (state, ended_us, reason, culprits, fence)": ("release",),
    "UPDATE (withdrawn_us, fence)": ("served",),
    "UPDATE (recovery)": ("incident",),
}  # fmt: skip
_STOPS = {"INSERT": ("stop", "refusal"), "UPDATE": ("refusal",)}
_STARTS = {
    "INSERT": ("bundle", "bundle_part", "part", "policy", "release", "regression_case"),
    "UPDATE": ("regression_case",),
    "UPDATE (step, step_since_us, driver, driver_seen_us)": ("release",),
}
#: what ends a stop, a cool-down or an incident
_LIFTS = {
    "DELETE": ("stop", "cooldown"),
    "UPDATE (state, cases, close_reason, closed_by, closed_us)": ("incident",),
}
_APPROVES = {
    "INSERT": ("approval", "policy"),
    "UPDATE": ("approval",),
    "DELETE": ("quarantine",),
    "SELECT (code_hash, release_id, person, used_us, expires_us)": ("approval_code",),
    "UPDATE (used_us)": ("approval_code",),
}
_MAY = {
    "agent": (_RECORDS, _REVERTS),
    "operator": (_REVERTS, _STOPS),
    "releaser": (_REVERTS, _STOPS, _LIFTS, _STARTS),
    "approver": (_REVERTS, _STOPS, _LIFTS, _APPROVES),
}
_AUDITED = (
    "ledger", "ledger_anchor", "control_point", "served", "release", "stage", "look", "approval",
    "quarantine", "bundle", "bundle_part", "part", "policy", "incident", "alembic_version",
)  # fmt: skip
#: rows that each role may write into the ledger; a trigger rolls back what was promoted, as it reverts
_SAFE = ("revert", "rollback", "restore", "refused", "alarm")
_OPERATES = (*_SAFE, "kill", "stop")
_RESUMES = ("clear", "unstop", "cooldown")
_WRITES = {
    "agent": _SAFE,
    "operator": _OPERATES,
    "releaser": (*_OPERATES, "start", "share", "renew", "takeover", *_RESUMES),
    "approver": (*_OPERATES, *_RESUMES, "approve", "promote", "adopt", "readmit"),
}

#: a row of the control point as the ledger tells it (`ControlPoint.to_json`)
_POINT = """jsonb_build_object('agent', {row}.agent, 'environment', {row}.environment,
    'baseline', {row}.baseline, 'standing', {row}.standing, 'candidate', {row}.candidate,
    'release_id', {row}.release_id, 'share_bp', {row}.share_bp, 'epoch', {row}.epoch,
    'lease_seq', {row}.lease_seq, 'driver_term', {row}.driver_term, 'killed', {row}.killed,
    'terms', {row}.terms::jsonb, 'lease', jsonb_build_object('until_us', {row}.lease_until_us,
      'boot_id', {row}.lease_boot_id, 'boot_until_us', {row}.lease_boot_until_us))"""
_GUARD = """
CREATE OR REPLACE FUNCTION lastgood_guard() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  owner oid := (SELECT relowner FROM pg_class WHERE oid = TG_RELID);
  approver boolean := pg_has_role(current_user, 'lastgood_approver', 'usage');
  releaser boolean := pg_has_role(current_user, 'lastgood_releaser', 'usage');
  good boolean;
BEGIN
  IF pg_has_role(current_user, owner, 'usage') OR pg_has_role(current_user, 'lastgood_service', 'usage') THEN
    RETURN NEW;
  END IF;
  IF TG_TABLE_NAME = 'ledger' THEN
    IF NOT ({writes}) THEN
      RAISE insufficient_privilege USING MESSAGE = current_user || ' may not write ' || NEW.action;
    END IF;
    IF NOT EXISTS (SELECT 1 FROM control_point AS held WHERE held.agent = NEW.agent
      AND held.environment = NEW.environment AND {held} = NEW.point::jsonb) THEN
      RAISE insufficient_privilege USING MESSAGE = current_user || ' may not write what is not so';
    END IF;
    RETURN NEW;
  END IF;
  IF approver THEN RETURN NEW; END IF;
  IF TG_TABLE_NAME = 'release' THEN
    good := NEW.state = 'reverted' OR (releaser AND NEW.state <> 'promoted');
    IF TG_OP = 'UPDATE' AND NOT good THEN
      good := NEW.state = OLD.state AND NEW.ended_us IS NOT DISTINCT FROM OLD.ended_us;
    END IF;
  ELSIF TG_TABLE_NAME = 'served' THEN
    good := EXISTS (SELECT 1 FROM served WHERE agent = NEW.agent AND environment = NEW.environment
      AND bundle_id = NEW.bundle_id);
  ELSIF TG_TABLE_NAME = 'quarantine' THEN
    good := NEW.until_us IS NULL OR (OLD.until_us IS NOT NULL AND NEW.until_us >= OLD.until_us);
  ELSIF TG_TABLE_NAME = 'cooldown' THEN
    good := releaser OR NEW.until_us >= OLD.until_us;
  ELSIF TG_OP = 'UPDATE' THEN
    good := NEW.epoch >= OLD.epoch AND NEW.driver_term >= OLD.driver_term AND (
      (releaser AND NEW.baseline = OLD.baseline AND NEW.standing = OLD.standing)
      OR (NEW.candidate IS NULL AND NEW.release_id IS NULL AND NEW.share_bp = 0
        AND (NEW.baseline = OLD.baseline AND NEW.standing = OLD.standing OR EXISTS (
          SELECT 1 FROM served WHERE agent = NEW.agent AND environment = NEW.environment
            AND bundle_id = NEW.baseline AND (standing = NEW.standing OR NEW.standing = 'vouched'))))
      OR (NEW.baseline = OLD.baseline AND NEW.standing = OLD.standing
        AND NEW.candidate IS NOT DISTINCT FROM OLD.candidate
        AND NEW.release_id IS NOT DISTINCT FROM OLD.release_id AND NEW.share_bp <= OLD.share_bp
        AND NEW.lease_until_us <= OLD.lease_until_us AND NEW.terms = OLD.terms
        AND (NEW.killed OR NOT OLD.killed)));
  END IF;
  -- what a hand has edited or deleted comes back as the ledger has it
  IF TG_TABLE_NAME = 'control_point' AND good IS NOT TRUE THEN
    good := (SELECT point::jsonb FROM ledger WHERE agent = NEW.agent AND environment = NEW.environment
      ORDER BY seq DESC LIMIT 1) = {new};
  END IF;
  IF good IS NOT TRUE THEN
    RAISE insufficient_privilege USING MESSAGE = current_user || ' may not move ' || TG_TABLE_NAME || ' so';
  END IF;
  RETURN NEW;
END $$
"""
_GUARDED = {
    "control_point": "INSERT OR UPDATE",
    "release": "INSERT OR UPDATE",
    "served": "INSERT",
    "ledger": "INSERT",
    "quarantine": "UPDATE",
    "cooldown": "UPDATE",
}


def statements(tables: Iterable[str]) -> list[str]:
    """Return the SQL that sets the roles of a database with these tables; again, it changes nothing."""
    every = sorted({*tables, "alembic_version"})
    made = [
        f"DO $$ BEGIN CREATE ROLE {PREFIX}{role} NOLOGIN; "
        "EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$"
        for role in ROLES
    ]
    names = ", ".join(PREFIX + role for role in ROLES)
    made += [f"REVOKE ALL ON {', '.join(every)} FROM {names}", f"GRANT USAGE ON SCHEMA public TO {names}"]
    readable = ", ".join(table for table in every if table not in _SECRET)
    made += [
        f"GRANT SELECT ON {readable} TO {PREFIX}{role}"
        for role in ROLES
        if role not in {"auditor", "service"}
    ]
    made.append(f"GRANT SELECT ON {', '.join(_AUDITED)} TO {PREFIX}auditor")
    made.append(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {', '.join(every)} TO {PREFIX}service")
    made.append(f"REVOKE INSERT, UPDATE, DELETE ON alembic_version FROM {PREFIX}service")
    for role, allowed in _MAY.items():
        made += [
            f"GRANT {verb} ON {', '.join(named)} TO {PREFIX}{role}"
            for some in allowed
            for verb, named in some.items()
        ]
    writers = ", ".join(PREFIX + role for role in (*_MAY, "service"))
    made.append(f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {writers}")
    return made + _guards()


def _guards() -> list[str]:
    """The triggers that look at rows."""
    writes = " OR ".join(
        f"pg_has_role(current_user, '{PREFIX}{role}', 'usage') AND NEW.action IN ({_quoted(actions)})"
        for role, actions in _WRITES.items()
    )
    made = [
        _GUARD.replace("{writes}", writes)
        .replace("{held}", _POINT.format(row="held"))
        .replace("{new}", _POINT.format(row="NEW"))
    ]
    for table, when in _GUARDED.items():
        made.append(f"DROP TRIGGER IF EXISTS lastgood_guard_{table} ON {table}")
        made.append(
            f"CREATE TRIGGER lastgood_guard_{table} BEFORE {when} ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION lastgood_guard()"
        )
    return made


def _quoted(words: Iterable[str]) -> str:
    return ", ".join(f"'{word}'" for word in words)


def member(user: str, role: str) -> str:
    """Return the statement that gives a user of the server a role."""
    name = user.replace('"', '""')
    return f'GRANT {PREFIX}{role} TO "{name}"'
