"""`lastgood incident list | show | open | close`: what went wrong, and whether it was learnt from."""

import json
from typing import Any

import click

from lastgood import incident_view, incidents, registry
from lastgood.cli.common import actor_option, environment_option, reason_option, short, store, table, when
from lastgood.incident_view import View
from lastgood.incidents import Incident, Wanted
from lastgood.plural import counted

#: groups of failures, and runs of each, that are shown
_GROUPS, _RUNS = 10, 3


@click.group()
def incident() -> None:
    """See, open and close incidents: each revert opens one by itself."""


@incident.command("list")
@click.argument("agent", required=False)
@environment_option
@click.option("--open", "only_open", is_flag=True, help="Open ones alone.")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def list_(agent: str | None, environment: str, *, only_open: bool, as_json: bool) -> None:
    """List the newest incidents, of AGENT or of all."""
    with store().reading() as txn:
        found = incidents.listed(txn, agent, environment)
    found = [each for each in found if each.open or not only_open]
    if as_json:
        click.echo(json.dumps([_facts(each) for each in found], indent=2))
    elif not found:
        click.echo("no incident")
    else:
        header = ("incident", "agent", "environment", "opened", "by", "state", "recovery", "watch", "cases")
        table([_row(each) for each in found], header)


def _row(found: Incident) -> tuple[str, ...]:
    return (
        found.id,
        found.agent,
        found.environment,
        when(found.opened_us),
        found.by,
        "open" if found.open else "closed",
        found.recovery,
        found.watch,
        str(len(found.cases)),
    )


@incident.command("show")
@click.argument("incident_id", metavar="INCIDENT")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def show(incident_id: str, *, as_json: bool) -> None:
    """Show an incident: the bundles, the window, how its runs failed, and the parts that changed."""
    with store().reading() as txn:
        seen = incident_view.view(txn, incidents.read(txn, incident_id))
    if as_json:
        click.echo(json.dumps({**_facts(seen.incident), **_seen(seen)}, indent=2))
        return
    for name, value in _facts(seen.incident).items():
        text = ", ".join(value) if isinstance(value, list) else value
        click.echo(f"{name.replace('_', ' '):<13} {text if text not in {None, ''} else '-'}")
    _say_failures(seen)
    _say_parts(seen)


def _facts(found: Incident) -> dict[str, Any]:
    return {
        "incident": found.id,
        "agent": found.agent,
        "environment": found.environment,
        "state": "open" if found.open else "closed",
        "by": found.by,
        "reason": found.reason,
        "culprits": list(found.culprits),
        "release": found.release_id,
        "bad_bundle": short(found.bad),
        "good_bundle": short(found.good),
        "from": when(found.from_us),
        "to": when(found.to_us),
        "opened": f"{when(found.opened_us)} by {found.opened_by}",
        "recovery": str(found.recovery),
        "watch": found.watch,
        "cases": list(found.cases),
        "closed": f"{when(found.closed_us)} by {found.closed_by}" if not found.open else None,
        "close_reason": found.close_reason,
    }


def _seen(seen: View) -> dict[str, Any]:
    return {
        "runs": seen.runs,
        "looked_at": seen.looked_at,
        "failing": seen.failing,
        "groups": [
            {
                "error": group.signature.error,
                "message": group.signature.message,
                "bad": list(group.signature.bad),
                "tool": group.signature.tool,
                "task_type": group.signature.task_type,
                "runs": list(group.runs),
            }
            for group in seen.groups
        ],
        "changed": [
            {"part": part.kind, "versions": list(part.versions), "files": [file.path for file in part.files]}
            for part in seen.changed
        ],
        "unread": None if seen.unread is None else list(seen.unread),
        "beyond_rollback": list(seen.beyond_rollback),
        "problems": list(seen.problems),
    }


def _say_failures(seen: View) -> None:
    newest = f" of the newest {seen.looked_at}" if seen.looked_at < seen.runs else ""
    click.echo(f"{'runs':<13} {seen.runs} of the bad bundle in the window, {seen.failing}{newest} failed")
    for group in seen.groups[:_GROUPS]:
        click.echo(f"  {len(group.runs):>6}  {group.signature}: {', '.join(group.runs[:_RUNS])}")
    if len(seen.groups) > _GROUPS:
        click.echo(f"  and {counted(len(seen.groups) - _GROUPS, 'smaller group')}; --json lists all")


def _say_parts(seen: View) -> None:
    if not seen.problems:
        said = ", ".join(f"{part.kind} ({' -> '.join(part.versions)})" for part in seen.changed)
        click.echo(f"{'changed':<13} {said or 'no part'}")
    for problem in seen.problems:
        click.echo(f"{'changed':<13} {problem}")
    if seen.unread is None:
        click.echo(f"{'parts read':<13} no run told which parts it read")
    elif seen.unread:
        click.echo(f"{'never read':<13} {', '.join(seen.unread)} (by none of {counted(seen.told, 'run')})")
    for kind in seen.beyond_rollback:
        click.echo(
            f"warning: the part {kind} changed, and no run read it from run.bundle: a rollback can't "
            "restore it; put it back where the agent takes it from"
        )


@incident.command("open")
@click.argument("agent")
@click.option(
    "--bundle", default=None, metavar="BUNDLE", help="At fault; default: the candidate, else the baseline."
)
@environment_option
@actor_option
@reason_option
def open_(agent: str, bundle: str | None, environment: str, actor: str, reason: str) -> None:
    """Open an incident of AGENT by hand; --reason says what happened. Nothing is served differently."""
    held = store()
    bundle_id = None
    if bundle is not None:
        with held.reading() as txn:
            bundle_id = registry.resolve(txn, bundle)
    found = incidents.open_by_hand(held, Wanted(agent, environment, actor, reason, bundle_id))
    click.echo(f"opened {found.id}: {short(found.bad)} of {agent} in {environment}")


@incident.command("close")
@click.argument("incident_id", metavar="INCIDENT")
@actor_option
@reason_option
def close(incident_id: str, actor: str, reason: str) -> None:
    """Close INCIDENT: a regression case stands for it, or --reason says why none can."""
    found = incidents.close(store(), incident_id, actor=actor, reason=reason)
    cases = counted(len(found.cases), "regression case")
    by = f"by {cases}" if found.cases else f"without a case: {found.close_reason}"
    click.echo(f"closed {incident_id} {by}")
