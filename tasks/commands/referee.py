"""`lastgood referee run`: the policy's referee judges what waits."""

import click

from lastgood.cli.common import store
from lastgood.plural import counted
from tasks import checkout
from tasks import referee as refereeing


@click.group()
def referee() -> None:
    """Judge a random sample of a release's runs, blind to the arm."""


@referee.command("run")
@click.argument("release_id", metavar="RELEASE")
@click.option("--most", type=click.IntRange(min=1), help="Runs to judge at most.")
def run(release_id: str, most: int | None) -> None:
    """Judge the sampled runs of RELEASE that wait, within the policy's budget; call it as often as you like.

    Drivers and the scheduled evaluation do the same while they wait for a look.
    """
    checkout.verify()
    found = refereeing.work(store(), release_id, most=most)
    failed = f", {counted(found.failed, 'call')} failed" if found.failed else ""
    click.echo(f"{release_id}: {counted(found.judged, 'run')} judged{failed}, {found.waiting} waiting")
    if found.why:
        click.echo(f"stopped: {found.why}")
