"""`lastgood approve-code`, `lastgood cooldown`: who may decide, and when the next release may start."""

import click

from lastgood import approving, control
from lastgood.cli.common import actor_option, environment_option, reason_option, store, when
from lastgood.errors import InvalidInput
from lastgood.store import approving as sql_of

_MINUTE = 60_000_000


@click.command("approve-code")
@click.argument("agent")
@click.option("--for", "person", required=True, metavar="PERSON", help="Whose name the decision will carry.")
@click.option(
    "--minutes", default=60, type=click.IntRange(1, 10_080), show_default=True, help="How long it counts."
)
@environment_option
@actor_option
def approve_code(agent: str, person: str, minutes: int, environment: str, actor: str) -> None:
    """Issue a one-time code with which PERSON may decide about AGENT's live release.

    It is shown once, and only its hash is kept. Hand it over by a way that reaches that person alone.
    """
    lasts_us = minutes * _MINUTE
    code = approving.issue_code(store(), agent, environment, person=person, actor=actor, lasts_us=lasts_us)
    click.echo(f"{code}  (once, for {person}, within {minutes} min)")


@click.command()
@click.argument("agent")
@click.option("--end", is_flag=True, help="End it now; --reason says why.")
@environment_option
@actor_option
@reason_option
def cooldown(agent: str, environment: str, actor: str, reason: str, *, end: bool) -> None:
    """Show until when no release of AGENT may start after a revert, or end that now."""
    held = store()
    if end:
        if not reason:
            raise InvalidInput("ending a cool-down is recorded: say with --reason what was learnt")
        ended = control.end_cooldown(held, agent, environment, actor=actor, reason=reason)
        done = "ended: a release may start" if ended else "none: a release may start already"
        click.echo(f"cool-down of {agent} in {environment}: {done}")
        return
    with held.reading() as txn:
        row = txn.one(sql_of.COOLDOWN, agent=agent, environment=environment, now_us=txn.now_us)
    if row is None:
        click.echo(f"{agent} in {environment} does not cool down: a release may start")
    else:
        click.echo(f"{agent} in {environment} cools down until {when(row['until_us'])}: {row['reason']}")
