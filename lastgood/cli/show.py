"""`lastgood status` and `lastgood run show`: who serves, and which exact bundle served a run."""

import json
from typing import Any

import click

from lastgood import approving, freezing, ledger, outbox, points, recorder, registry, traces
from lastgood.cli.common import environment_option, short, store, table, when
from lastgood.errors import LastgoodError
from lastgood.moves import ControlPoint
from lastgood.plural import counted
from lastgood.shown import percent
from lastgood.store import approving as sql_of
from lastgood.store import statements as sql
from lastgood.store.connection import Row, Store, Transaction

_RECENT = 8


@click.command()
@click.argument("agent", required=False)
@environment_option
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def status(agent: str | None, environment: str, *, as_json: bool) -> None:
    """Show who serves: every control point, or one AGENT with its release and recent moves."""
    held = store()
    if agent is None:
        _overview(held, as_json=as_json)
        return
    with held.reading() as txn:
        point = points.read(txn, agent, environment)
        facts = _facts(held, txn, point)
        rows_of_ledger = txn.all(sql.LEDGER, agent=agent, environment=environment)
        moves = [dict(row) for row in rows_of_ledger if row["action"] != "renew"]
    rows, head = ledger.verify(held, agent, environment)
    if as_json:
        click.echo(json.dumps({**facts, **_ids(point), "ledger": {"rows": rows, "head": head}}, indent=2))
        return
    for name, value in facts.items():
        click.echo(f"{name.replace('_', ' '):<12} {value}")
    click.echo(f"{'ledger':<12} {counted(rows, 'row')}, sound, head {head[:12]}")
    for row in moves[-_RECENT:]:
        click.echo(
            f"  {when(row['at_us'])}  epoch {row['epoch']:<4} {row['action']:<9} "
            f"{row['actor']}: {row['reason']}"
        )


def _ids(point: ControlPoint) -> dict[str, str | None]:
    """The same for machines: what the words of `_facts` name."""
    return {
        "baseline_id": point.baseline,
        "candidate_id": point.candidate,
        "release_id": point.release_id,
    }


def _facts(held: Store, txn: Transaction, point: ControlPoint) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "agent": point.agent,
        "environment": point.environment,
        "baseline": f"{short(point.baseline)} {_name(txn, point.baseline)} ({point.standing})",
        "kill_switch": "on" if point.killed else "off",
        "epoch": point.epoch,
    }
    key = {"agent": point.agent, "environment": point.environment}
    stopped = txn.one(sql.STOP, **key)
    if stopped is not None:
        facts["actions"] = f"stopped by {stopped['actor']}: {stopped['reason']}"
    refused = txn.all(sql.REFUSALS, **key)
    if refused:
        facts["refused"] = ", ".join(
            f"{counted(row['n'], 'report')} ({row['reason']} token)" for row in refused
        )
    strange = traces.unmapped(txn, point.agent, point.environment)
    if strange:
        facts["telemetry"] = "not mapped: " + ", ".join(f"{n} x {kind}" for kind, n in strange.items())
    people = outbox.standing(txn, point.agent, point.environment)
    if people:
        facts["notices"] = _untold(people)
    cooling = txn.one(sql_of.COOLDOWN, **key, now_us=txn.now_us)
    if cooling is not None:
        facts["cool_down"] = f"until {when(cooling['until_us'])}: {cooling['reason']}"
    if point.release_id is None:
        return {**facts, "release": "none"}
    release = txn.one(sql.RELEASE, id=point.release_id)
    facts |= _held(txn, point, release)
    clock = held.clock
    left = point.lease.left_us(now_us=txn.now_us, boot_id=clock.boot_id, boot_us=clock.boot_us())
    return {
        **facts,
        "release": f"{point.release_id} ({release['state'] if release else 'row missing'})",
        "candidate": f"{short(point.candidate)} {_name(txn, point.candidate or '')}",
        "share": percent(point.share_bp)
        + ("" if left > 0 or not point.share_bp else " (lapsed: not served)"),
        "lease": f"{left / 1_000_000:.0f} s left" if left > 0 else "lapsed: the baseline serves",
    }


def _held(txn: Transaction, point: ControlPoint, release: Row | None) -> dict[str, str]:
    """What holds the live release: a person who is asked, a freeze."""
    found = {}
    frozen = (
        None
        if release is None
        else freezing.frozen(json.loads(release["policy"]).get("freeze") or (), txn.now_us)
    )
    if frozen is not None:
        found["freeze"] = frozen[1]
    asked = approving.open_question(txn, point.agent, point.environment)
    if asked is not None:
        found["asked"] = (
            f"{asked['what']}, until {when(asked['expires_us'])}: `lastgood approve {point.in_command}`"
        )
    return found


#: what each state of a delivery says to people
_WORDS = {
    "waiting": "to be sent",
    "sending": "being sent",
    "dead": "did not get through (`lastgood notices list --dead`)",
    "unrouted": "went to nobody (no route: `lastgood agent set FILE`)",
}


def _untold(people: dict[str, int]) -> str:
    return ", ".join(f"{people[state]} {said}" for state, said in _WORDS.items() if state in people)


def _name(txn: Transaction, bundle_id: str) -> str:
    row = txn.one(sql.BUNDLE, id=bundle_id)
    return str(row["name"]) if row else "?"


def _overview(held: Store, *, as_json: bool) -> None:
    with held.reading() as txn:
        found = [_summary(held, txn, row["agent"], row["environment"]) for row in txn.all(sql.POINTS)]
    if as_json:
        click.echo(json.dumps(found, indent=2))
    elif not found:
        click.echo("no agent yet: `lastgood bundle add bundle.yaml`, then `lastgood adopt AGENT BUNDLE`")
    else:
        columns = ("agent", "environment", "baseline", "release", "share", "kill_switch")
        table([tuple(str(row.get(name, "-")) for name in columns) for row in found], columns)


def _summary(held: Store, txn: Transaction, agent: str, environment: str) -> dict[str, Any]:
    """A corrupt row must not hide the others: it is listed with what is wrong."""
    try:
        point = points.read(txn, agent, environment)
        return {**_facts(held, txn, point), **_ids(point)}
    except LastgoodError as error:
        return {"agent": agent, "environment": environment, "baseline": f"unusable: {error}"}


@click.group()
def run() -> None:
    """Look at a single run."""


@run.command("show")
@click.argument("run_id", metavar="RUN")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def show(run_id: str, *, as_json: bool) -> None:
    """Show which exact bundle served RUN, its arm, epoch and outcome."""
    with store().reading() as txn:
        facts = _run_facts(txn, run_id)
    if as_json:
        click.echo(json.dumps(facts, indent=2))
        return
    for name, value in facts.items():
        text = json.dumps(value) if isinstance(value, dict | list) else value
        click.echo(f"{name.replace('_', ' '):<13} {text}")


_TEXTS = ("usage", "metrics", "input", "output")
_FLAGS = ("completed", "validated", "escalated", "infra_failure")


def _outcome(row: dict[str, Any]) -> dict[str, Any]:
    """What the run reported, as it reported it; what it did not report is left out."""
    said = {name: value for name, value in row.items() if value is not None and name != "run_id"}
    said |= {name: json.loads(said[name]) for name in _TEXTS if name in said}
    said |= {name: bool(said[name]) for name in _FLAGS if name in said}
    return {**said, "received_us": when(said["received_us"])}


def _run_facts(txn: Transaction, run_id: str) -> dict[str, Any]:
    row = recorder.run_row(txn, run_id)
    record = registry.read(txn, row["bundle_id"])
    outcome = txn.one(sql.OUTCOME, run_id=run_id)
    return {
        "run": run_id,
        "agent": row["agent"],
        "environment": row["environment"],
        "bundle": f"{record.bundle.short} {record.name}",
        "bundle_id": record.bundle.id,
        "parts": {part.kind: f"{part.version} ({part.digest[:12]})" for part in record.bundle.parts},
        "arm": row["arm"],
        "epoch": row["epoch"],
        "release": row["release_id"],
        "eligible": bool(row["eligible"]),
        "reason": row["reason"],
        "unit": row["unit"],
        "task_type": row["task_type"],
        "risk": row["risk"],
        "assigned": when(row["assigned_us"]),
        "outcome": _outcome(dict(outcome)) if outcome else "none yet",
        "later": [json.loads(late["fields"]) for late in txn.all(sql.LATE_REPORTS, run_id=run_id)],
        "events": [event["name"] for event in txn.all(sql.EVENTS, run_id=run_id)],
        "actions": [_action(row) for row in txn.all(sql.ACTIONS, run_id=run_id)],
    }


def _action(row: Row) -> str:
    words = (row["kind"], row["target"], row["state"], "(late)" if row["late"] else "")
    return " ".join(word for word in words if word)
