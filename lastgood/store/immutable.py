"""Triggers that refuse an UPDATE or DELETE of rows that nobody may change: for the migrations."""

from alembic import op


def refuse_edits(table: str, *verbs: str, unless: str = "") -> None:
    """Refuse `verbs` (default: UPDATE and DELETE) on `table`, but for rows of which the SQL `unless` is true.

    `unless` speaks of the row as `OLD`.
    """
    for verb in verbs or ("UPDATE", "DELETE"):
        when = f"WHEN (NOT ({unless}))" if unless else ""
        if op.get_bind().dialect.name == "postgresql":
            _refuse_on_postgres(table, verb, unless)
        else:
            op.execute(
                f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} {when} "
                f"BEGIN SELECT RAISE(ABORT, '{table} rows are immutable'); END"
            )


def _refuse_on_postgres(table: str, verb: str, unless: str) -> None:
    # a trigger's own WHEN may hold no subquery there
    _trigger(table, verb, "FOR EACH ROW", f"IF {unless} THEN RETURN OLD; END IF; " if unless else "")
    if verb == "DELETE":
        _trigger(table, "TRUNCATE", "")  # which passes the triggers of rows by


def _trigger(table: str, verb: str, each: str, allowed: str = "") -> None:
    name = f"{table}_no_{verb.lower()}"
    refusal = f"RAISE '{table} rows are immutable' USING ERRCODE = 'integrity_constraint_violation'"
    op.execute(
        f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {allowed}{refusal}; END $$"
    )
    op.execute(f"CREATE TRIGGER {name} BEFORE {verb} ON {table} {each} EXECUTE FUNCTION {name}()")


def allow_edits(table: str, verb: str) -> None:
    """Drop what `refuse_edits` made for one verb."""
    on = f" ON {table}" if op.get_bind().dialect.name == "postgresql" else ""
    for name in (
        f"{table}_no_{verb.lower()}",
        *([f"{table}_no_truncate"] if on and verb == "DELETE" else []),
    ):
        op.execute(f"DROP TRIGGER {name}{on}")
        if on:
            op.execute(f"DROP FUNCTION {name}()")
