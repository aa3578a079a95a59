"""`lastgood approve`: a person decides what a release waits for, with Prefect up or down."""

import click

from lastgood import approving
from lastgood.cli.common import actor_option, environment_option, reason_option, short, store, when
from lastgood.errors import LastgoodError
from lastgood.store.connection import Store
from tasks import driving, report


@click.command()
@click.argument("agent")
@click.option(
    "--decision",
    type=click.Choice(approving.DECISIONS),
    default=None,
    help="promote: go on with what is asked; revert: put the last known good back; wait: ask again later.",
)
@click.option("--evidence", default="", help="Beginning of the digest of the evidence that you saw.")
@click.option("--code", default="", help="Your one-time code, where the policy wants one.")
@environment_option
@actor_option
@reason_option
def approve(
    agent: str, decision: str | None, evidence: str, code: str, environment: str, actor: str, reason: str
) -> None:
    """Decide what AGENT's release waits for; without --decision show what is asked.

    --actor is who decides. Nothing but the store is needed; where nobody drives the release, a yes is carried
    out here, after one more look.
    """
    held = store()
    if decision is None:
        _show(held, agent, environment)
        return
    answer = approving.Answer(decision, actor, reason, evidence, code)
    asked = approving.decide(held, agent, environment, answer)
    click.echo(f"recorded: {decision} by {actor}, about {short(asked['candidate'])} ({asked['what']})")
    if decision == "promote":
        _carry_out(held, asked["release_id"], actor)
    click.echo(report.build(held, asked["release_id"]).headline)


def _carry_out(held: Store, release_id: str, actor: str) -> None:
    """One look, where nobody drives the release; the decision stands whatever comes of it."""
    row, _ = driving.read(held, release_id)
    if driving.is_driven(held, row):
        click.echo(f"{row['driver']} goes on with it at its next look")
        return
    try:
        driving.evaluate(held, release_id, f"{actor}'s command line")
    except LastgoodError as error:
        click.echo(f"the next scheduled look goes on with it; this one failed: {error}", err=True)


def _show(held: Store, agent: str, environment: str) -> None:
    with held.reading() as txn:
        asked = approving.open_question(txn, agent, environment)
    if asked is None:
        click.echo(f"nobody is asked about {agent} in {environment} now")
        return
    level = " with a one-time code" if asked["level"] == "verified" else ""
    others = ", not by who wrote or started it" if asked["not_author"] else ""
    click.echo(
        f"asked: {asked['what']} of {short(asked['candidate'])} ({asked['release_id']}), "
        f"until {when(asked['expires_us'])}{level}{others}"
    )
    click.echo(f"evidence {asked['evidence'][:12]}, look {asked['look']}; undecided it is reverted")
    click.echo(report.build(held, asked["release_id"]).headline)
