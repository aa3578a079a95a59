"""`lastgood audit verify | export`: the ledger for whoever has to answer for it."""

from pathlib import Path

import click

from lastgood import audit as audits
from lastgood.cli.common import environment_option, store
from lastgood.plural import counted
from lastgood.store import statements as sql


@click.group()
def audit() -> None:
    """Who did what, when, and on which evidence."""


@audit.command("export")
@click.argument("agent")
@environment_option
@click.option("--head", is_flag=True, help="The head alone: one line, enough to find a tail that was cut.")
@click.option(
    "--write", type=click.Path(dir_okay=False, path_type=Path), default=None, help="Into this file."
)
def export(agent: str, environment: str, write: Path | None, *, head: bool) -> None:
    """Export AGENT's ledger as JSON lines, each row with what it rests on, and the head at the end.

    Keep it where nobody who can write the store can write too.
    """
    held = store()
    if head:
        with held.reading() as txn:
            lines = [audits.head(txn, agent, environment).line()]
    else:
        lines = list(audits.export(held, agent, environment))
    text = "".join(f"{line}\n" for line in lines)
    if write is None:
        click.echo(text, nl=False)
        return
    write.write_text(text, encoding="utf-8")
    click.echo(f"wrote {write}: {counted(len(lines), 'line')}", err=True)


@audit.command("verify")
@click.argument("agent", required=False)
@environment_option
@click.option(
    "--against",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    default=None,
    help="An export, or a head, of before: a tail that was cut or written anew is found against it.",
)
@click.option("--offline", is_flag=True, help="Check the file of --against by itself, without a store.")
def verify(agent: str | None, environment: str, against: Path | None, *, offline: bool) -> None:
    """Check the ledger of AGENT in an environment, or without AGENT that of every control point.

    The first bad row is named, and the exit status is 1 then.
    """
    kept = None
    if against is not None:
        with against.open(encoding="utf-8", errors="replace") as lines:
            kept = audits.read(lines, str(against))
    if kept is not None and offline:
        rows = counted(len(kept.rows), "row") if kept.rows else "a head"
        _say(kept.head, f"{rows} of {against}, sound by itself,")
        return
    if offline:
        raise click.UsageError("--offline checks the file of --against: name one")
    held = store()
    if agent is not None:
        places = [(agent, environment)]
    elif kept is not None:
        places = [(kept.head.agent, kept.head.environment)]
    else:
        with held.reading() as txn:
            places = [(row["agent"], row["environment"]) for row in txn.all(sql.POINTS)]
    compared = "" if kept is None else f", as exported up to row {kept.head.seq}"
    for place in places:
        _say(audits.verify(held, *place, kept), f"sound{compared},")


def _say(head: audits.Head, what: str) -> None:
    click.echo(f"{head.agent} in {head.environment}: {what} row {head.seq}, head {head.hash}")
