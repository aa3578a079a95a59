"""`lastgood link`: the page for 3 a.m., for one person, for a while."""

import click

from lastgood import identity, points, retention
from lastgood import link as links
from lastgood.cli.common import environment_option, person, store, when
from lastgood.errors import InvalidInput


@click.command()
@click.argument("agent")
@click.option(
    "--for", "holder", default=person, show_default="you", help="Who gets it; the ledger names them."
)
@click.option("--lasts", default="1h", show_default=True, help="How long it is good for, at most 1d.")
@environment_option
def link(agent: str, holder: str, lasts: str, environment: str) -> None:
    """Make a link with which somebody sees who serves AGENT and can put the last known good back.

    It can do nothing else, and opening it does nothing. LASTGOOD_SERVICE_URL says where `lastgood serve` is
    reached.
    """
    held, url = store(), links.service_url()
    if url is None:
        raise InvalidInput(f"say where people reach `lastgood serve`: {links.VARIABLE}=https://...")
    lasts_us = retention.age(lasts)
    if not 0 < lasts_us <= links.LONGEST_US:
        raise InvalidInput(f"a link is good for a day at most, not {lasts}")
    with held.reading() as txn:
        points.read(txn, agent, environment)
        until_us = txn.now_us + lasts_us
    made = links.sign(identity.keys(held), links.Link(agent, environment, holder, until_us))
    click.echo(f"{links.address(url, made)}\nfor {holder}, until {when(until_us)}")
