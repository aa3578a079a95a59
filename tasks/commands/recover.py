"""`lastgood recover INCIDENT`: undo the damage of a bad window, here and now."""

import json

import click

from lastgood.cli.common import actor_option, reason_option, store
from lastgood.plural import counted
from lastgood.store.connection import Store
from tasks import recovery, recovery_leave, recovery_report
from tasks.recovery_plan import Window


@click.command()
@click.argument("incident", metavar="INCIDENT")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@click.option(
    "--approve", "kinds", multiple=True, metavar="KIND", help="You let actions of this kind be undone."
)
@click.option("--retry", is_flag=True, help="Try again what was left over, where that may help now.")
@click.option("--residue", is_flag=True, help="List what can't be undone with whom it touched; do nothing.")
@click.option("--json", "as_json", is_flag=True, help="With --residue: for machines.")
@click.option("--take-over", is_flag=True, help="The process that recovers it is dead: go on at once.")
@actor_option
@reason_option
def recover(
    incident: str,
    kinds: tuple[str, ...],
    actor: str,
    reason: str,
    *,
    dry_run: bool,
    retry: bool,
    residue: bool,
    as_json: bool,
    take_over: bool,
) -> None:
    """Undo what the bad bundle of INCIDENT did, as far as it can be undone.

    Outputs and memory entries are quarantined, waiting runs cancelled, actions compensated in reverse order
    by the handlers of the agent's profile. Interrupted, it goes on where it was.
    """
    held = store()
    if residue:
        _list(held, incident, as_json=as_json)
        return
    for kind in () if dry_run else kinds:
        n = recovery_leave.approve(held, incident, kind, actor=actor, reason=reason)
        click.echo(f"{actor} lets {n} {kind} be undone")
    if retry and not dry_run:
        again = counted(recovery_leave.retry(held, incident), "left-over action is", "left-over actions are")
        click.echo(f"{again} tried again")
    window = Window.of(held, incident)
    for line in recovery_report.said_before(window.pending(), window.spec.approve):
        click.echo(line)
    if dry_run:
        return
    done = recovery.recover(held, incident, take_over=take_over)
    held_back = recovery_report.held(done.outputs, done.memories)
    click.echo(f"{held_back} quarantined, {counted(done.calls, 'call')}")
    _say(held, incident)


def _list(held: Store, incident: str, *, as_json: bool) -> None:
    report = recovery_report.build(held, incident)
    if as_json:
        click.echo(json.dumps(report.table, indent=2, ensure_ascii=False))
    elif not report.residue:
        click.echo(f"nothing is left over; {report.headline}")
    else:
        for line in recovery_report.said_residue(report.residue):
            click.echo(line)


def _say(held: Store, incident: str) -> None:
    report = recovery_report.build(held, incident)
    click.echo(report.headline)
    for kind, n in sorted(report.asked.items()):
        click.echo(f"{n} {kind} to be approved by you: lastgood recover {incident} --approve {kind}")
    if report.residue:
        click.echo("left over, with whom it touched:")
        for line in recovery_report.said_residue(report.residue):
            click.echo(f"  {line}")
