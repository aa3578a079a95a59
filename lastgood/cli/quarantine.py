"""`lastgood quarantine list | clear | recall | export`: outputs and memory entries of a bad window."""

import csv
import io
import json
from typing import Any

import click

from lastgood import isolation
from lastgood.cli.common import actor_option, reason_option, store, table, when
from lastgood.isolation import Held
from lastgood.store.connection import Row

_STATES = click.Choice([str(state) for state in Held])
_COLUMNS = (
    *("kind", "key", "state", "incident", "agent", "environment", "run", "unit", "task_type", "since"),
    *("changed", "actor", "reason", "output"),
)
incident_option = click.option("--incident", default=None, metavar="INCIDENT", help="Of this incident alone.")
state_option = click.option("--state", type=_STATES, default=None, help="In this state alone.")


@click.group()
def quarantine() -> None:
    """Look at what the runs of a bad window made: nothing of it is to be used until it is cleared."""


@quarantine.command("list")
@incident_option
@state_option
def list_(incident: str | None, state: str | None) -> None:
    """List outputs, by their run's id, and memory entries, by their key."""
    with store().reading() as txn:
        rows = isolation.listed(txn, incident, state=Held(state) if state else None)
    if not rows:
        click.echo("nothing is quarantined")
        return
    header = ("kind", "key", "state", "incident", "unit", "since")
    table([tuple(str(_facts(row)[name]) for name in header) for row in rows], header)
    if len(rows) == isolation.SHOWN:
        click.echo(f"the first {isolation.SHOWN}; `lastgood quarantine export` has all")


def _facts(row: Row) -> dict[str, Any]:
    return {
        "kind": row["kind"],
        "key": row["key"],
        "state": row["state"],
        "incident": row["incident_id"],
        "agent": row["agent"],
        "environment": row["environment"],
        "run": row["run_id"],
        "unit": row["unit"],
        "task_type": row["task_type"],
        "since": when(row["since_us"]),
        "changed": when(row["changed_us"]),
        "actor": row["actor"],
        "reason": row["reason"],
        "output": row["output"] if row["kind"] == isolation.OUTPUT else None,
    }


@quarantine.command()
@click.argument("key")
@actor_option
@reason_option
def clear(key: str, actor: str, reason: str) -> None:
    """Let KEY, a run's id or a memory entry's key, be used again; --reason says what was looked at."""
    changed = isolation.move(store(), key, Held.CLEARED, actor=actor, reason=reason)
    click.echo(f"{key} is cleared{'' if changed else ' already'}")


@quarantine.command()
@click.argument("key")
@actor_option
@reason_option
def recall(key: str, actor: str, reason: str) -> None:
    """Record that KEY was taken back from where it went; it stays out of use."""
    changed = isolation.move(store(), key, Held.RECALLED, actor=actor, reason=reason)
    click.echo(f"{key} is recalled{'' if changed else ' already'}")


@quarantine.command()
@incident_option
@state_option
@click.option("--format", "form", type=click.Choice(["csv", "json"]), default="csv", show_default=True)
def export(incident: str | None, state: str | None, form: str) -> None:
    """Print all that is held, with the outputs as they are kept, as CSV or JSON."""
    with store().reading() as txn:
        rows = isolation.listed(txn, incident, state=Held(state) if state else None, most=isolation.MOST)
    facts = [_facts(row) for row in rows]
    if form == "json":
        click.echo(json.dumps(facts, indent=2, ensure_ascii=False))
        return
    text = io.StringIO()
    writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in row.items()} for row in facts)
    click.echo(text.getvalue(), nl=False)


def _cell(value: Any) -> Any:
    """A text that a spreadsheet would take for a formula is kept a text."""
    risky = isinstance(value, str) and value[:1] in {"=", "+", "-", "@", "\t", "\r"}
    return f"'{value}" if risky else value
