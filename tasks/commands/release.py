"""`lastgood release start | status`: a release without Prefect, driven here or left to the schedule."""

import click

from config.settings import Settings
from lastgood import incidents, releasing
from lastgood.cli.common import actor_option, environment_option, short, store, table, when
from lastgood.errors import Conflict, NotFound, StaleDriver
from lastgood.moves import in_command
from lastgood.plural import counted
from lastgood.store import statements as sql
from lastgood.store.connection import Store
from tasks import checkout, driving, notifying, preflight, report
from tasks.driving import Driver, Due, StageName

_MOST = 20


@click.group()
def release() -> None:
    """Start releases and see where they stand."""


@release.command("start")
@click.argument("agent")
@click.argument("candidate")
@click.option("--policy", default="default", show_default=True, help="A stored or built-in policy.")
@click.option("--approver", default="", help="Who approved it.")
@click.option("--note", default="", help="Why; goes into the ledger.")
@click.option("--detach", is_flag=True, help="Only start it; the scheduled evaluation drives it.")
@environment_option
@actor_option
def start(
    agent: str,
    candidate: str,
    policy: str,
    approver: str,
    note: str,
    environment: str,
    actor: str,
    *,
    detach: bool,
) -> None:
    """Release CANDIDATE for AGENT and drive it here to its end, with no need of Prefect.

    Another process takes over where this one stops: the scheduled evaluation, or `release drive`.
    """
    checkout.verify()
    held = store()
    wanted = preflight.Wanted(agent, candidate, policy, environment, actor, approver, note)
    release_id = releasing.start(held, preflight.check(held, wanted))
    click.echo(f"started {release_id}: {agent} in {environment}, policy {policy}")
    _say_what_it_does_not_see(held, release_id)
    if detach:
        click.echo("the next scheduled evaluation drives it (`python -m flows` serves that)")
        _warn_of_short_lease(held, release_id)
        return
    _drive(held, release_id, f"{actor}'s command line")


@release.command("drive")
@click.argument("agent")
@click.option("--take-over", is_flag=True, help="Even from a driver that is at work.")
@environment_option
@actor_option
def drive(agent: str, environment: str, actor: str, *, take_over: bool) -> None:
    """Take AGENT's live release over and drive it here to its end."""
    checkout.verify()
    held = store()
    with held.reading() as txn:
        row = txn.one(sql.LIVE_RELEASE, agent=agent, environment=environment)
    if row is None:
        msg = f"{agent} in {environment} has no live release; `lastgood release start` starts one"
        raise NotFound(msg)
    if driving.is_driven(held, row) and not take_over:
        msg = f"{row['id']} is driven by {row['driver']}, which is at work; --take-over takes it all the same"
        raise Conflict(msg)
    _drive(held, row["id"], f"{actor}'s command line")


def _say_what_it_does_not_see(held: Store, release_id: str) -> None:
    """Waivers and blind spots: whoever starts a release should know them."""
    with held.reading() as txn:
        for line in report.unseen(txn, releasing.read(txn, release_id)):
            click.echo(f"  {line}")


def _warn_of_short_lease(held: Store, release_id: str) -> None:
    lease_us, every_us = driving.lease_us(held, release_id), Settings.from_environment().look_every
    if lease_us <= every_us:
        click.echo(
            f"its lease lasts {lease_us / 1e6:g} s and the schedule looks every {every_us / 1e6:g} s: "
            "the baseline serves in between; give the policy a longer lease, or leave --detach out",
            err=True,
        )


def _drive(held: Store, release_id: str, name: str) -> None:
    driver = driving.begin(held, release_id, name)
    with notifying.beside(held):
        _drive_on(held, driver)
    click.echo(report.build(held, release_id).headline)
    _say_what_is_open(held, release_id)


def _say_what_is_open(held: Store, release_id: str) -> None:
    """An incident that a revert opened: it stands before the next release."""
    with held.reading() as txn:
        row = releasing.read(txn, release_id)
        found = [
            i for i in incidents.unproven(txn, row["agent"], row["environment"]) if i.release_id == row["id"]
        ]
    for incident in found:
        click.echo(
            f"incident {incident.id} is open: by default no release starts until a case stands for it or "
            f"it is closed. `lastgood incident show {incident.id}`, `lastgood cases make {incident.id}`, "
            f"`lastgood incident close {incident.id} --reason ...`"
        )


def _drive_on(held: Store, driver: Driver) -> None:
    shown = ""
    try:
        due = driving.due(held, driver)
        while due.stage not in {StageName.ENDED, StageName.ASKING}:
            said = _said(due)
            if said != shown:
                click.echo(said)
            shown = said
            due = _step(held, driver, due)
    except StaleDriver as error:
        click.echo(str(error))
    except KeyboardInterrupt:
        _say_what_goes_on(held, driver.release_id)


def _say_what_goes_on(held: Store, release_id: str) -> None:
    row, _ = driving.read(held, release_id)
    if row["ended_us"] is None:
        seconds, named = (
            driving.lease_us(held, release_id) / 1_000_000,
            in_command(row["agent"], row["environment"]),
        )
        click.echo(
            f"\n{release_id} is still live; without a look the baseline serves after {seconds:g} s. "
            f"Go on: `lastgood release drive {named}`; end it: `lastgood rollback {named}`"
        )


def _step(held: Store, driver: Driver, due: Due) -> Due:
    driving.act(held, driver, due)
    if due.waits:
        driving.rest(held, driver, due)
    return driving.due(held, driver)


def _said(due: Due) -> str:
    reason = due.transition.reason if due.transition else ""
    if due.look is None:
        return f"{due.stage}: {reason}"
    verdict = due.look.verdict
    return (
        f"{due.stage}: {counted(verdict.candidate_runs, 'candidate run')} of {verdict.assigned}, "
        f"evidence of harm {verdict.log_family:.2f} ({verdict.log_line:.2f} decides): {reason}"
    )


@release.command("status")
@click.argument("agent")
@click.option("--markdown", is_flag=True, help="The whole report of the newest release.")
@environment_option
def status(agent: str, environment: str, *, markdown: bool) -> None:
    """Show AGENT's newest release with its guardrails, and the ones before it."""
    held = store()
    with held.reading() as txn:
        rows = txn.all(sql.RELEASES, agent=agent, environment=environment, most=_MOST)
    if not rows:
        msg = (
            f"{agent} in {environment} has had no release; `lastgood release start {agent} BUNDLE` starts one"
        )
        raise NotFound(msg)
    made = report.build(held, rows[0]["id"])
    if markdown:
        click.echo(made.markdown, nl=False)
        return
    click.echo(made.headline)
    for found in made.table:
        click.echo(f"  {found['guardrail']:<12} {found['verdict']:<10} {found['reason']}")
    if rows[0]["ended_us"] is None:
        _say_what_it_does_not_see(held, rows[0]["id"])
    cells = [
        (
            r["id"],
            r["state"],
            short(r["baseline"]),
            short(r["candidate"]),
            r["policy_name"],
            when(r["started_us"]),
            r["reason"],
        )
        for r in rows
    ]
    table(cells, ("release", "state", "baseline", "candidate", "policy", "started", "why"))
