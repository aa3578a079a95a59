"""`lastgood ledger verify`: whether the record of who changed what is whole."""

import click

from lastgood import ledger as chains
from lastgood.cli.common import environment_option, store
from lastgood.plural import counted
from lastgood.store import statements as sql


@click.group()
def ledger() -> None:
    """The record of every change of control."""


@ledger.command("verify")
@click.argument("agent", required=False)
@environment_option
def verify(agent: str | None, environment: str) -> None:
    """Check the chain of AGENT in an environment, or without AGENT every chain, from its first row kept."""
    held = store()
    with held.reading() as txn:
        places = [(row["agent"], row["environment"]) for row in txn.all(sql.POINTS)]
    for place in places if agent is None else [(agent, environment)]:
        last, head = chains.verify(held, *place)
        with held.reading() as txn:
            since = chains.anchored(txn, *place)
        begun = f"from row {since + 1} on (rows up to {since} were pruned)" if since else "from row 1 on"
        rows = counted(last - since, "row")
        click.echo(f"{place[0]} in {place[1]}: {rows}, sound {begun}, head {head[:12] or '-'}")
