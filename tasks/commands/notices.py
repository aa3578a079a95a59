"""`lastgood notices send | list | retry`: who was told, and telling them now."""

import json
import threading
from typing import Any

import click

from config.durations import parse_duration
from lastgood import outbox
from lastgood.cli.common import store, table, when
from lastgood.errors import InvalidInput, NotFound
from lastgood.plural import counted
from lastgood.store import statements as sql
from lastgood.store import telling
from tasks import notifying


@click.group()
def notices() -> None:
    """See who was told of what, and tell them now."""


@notices.command("send")
@click.option(
    "--limit", default=100, show_default=True, type=click.IntRange(min=1), help="Deliveries at most."
)
@click.option("--every", default=None, metavar="TIME", help="Go on until interrupted, this often: 10 s.")
def send(limit: int, every: str | None) -> None:
    """Send what is due: to Slack, webhooks and e-mail; Prefect's blocks are sent by its own processes."""
    if every is not None:
        _keep_on(every)
        return
    told = notifying.send_due(store(), limit=limit, seconds=300.0)
    click.echo(f"sent {told.sent}, to be tried again {told.postponed}, given up {told.dead}")
    if told.postponed or told.dead:
        raise SystemExit(1)


def _keep_on(every: str) -> None:
    try:
        seconds = parse_duration(every) / 1_000_000
    except ValueError as error:
        raise InvalidInput(f"--every {error}") from error
    click.echo(f"sending every {every}; Ctrl-C ends it")
    try:
        notifying.keep_sending(store(), threading.Event(), seconds)
    except KeyboardInterrupt:
        click.echo("ended; what is due is sent by the next process that does")


@notices.command("list")
@click.argument("agent", default="")
@click.option("--dead", is_flag=True, help="Only those that did not get through somewhere.")
@click.option("--limit", default=30, show_default=True, type=click.IntRange(min=1), help="The newest.")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def list_(agent: str, limit: int, *, dead: bool, as_json: bool) -> None:
    """List notices, the newest first, and on which routes they got through."""
    with store().reading() as txn:
        lost = {row["notice_id"] for row in txn.all(telling.DEAD_NOTICES, agent=agent)} if dead else set()
        rows = [dict(row) for row in txn.all(telling.NOTICES, agent=agent, most=10_000 if dead else limit)]
        rows = [row for row in rows if not dead or row["id"] in lost or row["state"] == "unrouted"][:limit]
        ways: dict[str, list[dict[str, Any]]] = {row["id"]: [] for row in rows}
        if rows:
            statement, among = sql.among(telling.DELIVERIES_AMONG, list(ways))
            for way in txn.all(statement, **among):
                ways[way["notice_id"]].append(dict(way))
    if as_json:
        click.echo(json.dumps([{**row, "deliveries": ways[row["id"]]} for row in rows], indent=2))
        return
    if not rows:
        click.echo("no notice" + (" that did not get through" if dead else " yet"))
        return
    table(
        [
            (
                row["id"],
                when(row["at_us"]),
                row["level"],
                row["kind"],
                _ways(row, ways[row["id"]]),
                row["title"],
            )
            for row in rows
        ],
        ("notice", "when", "level", "kind", "told", "title"),
    )


def _ways(row: dict[str, Any], ways: list[dict[str, Any]]) -> str:
    if row["state"] == "unrouted":
        return "nobody: no route takes it"
    if row["state"] == "new":
        return "not yet"
    return ", ".join(f"{way['route']} {way['state']}{_tries(way)}" for way in ways)


def _tries(way: dict[str, Any]) -> str:
    return (
        f" ({counted(way['attempts'], 'try', 'tries')}: {way['error'][:60]})"
        if way["error"] and way["state"] != "sent"
        else ""
    )


@notices.command("retry")
@click.argument("notice")
def retry(notice: str) -> None:
    """Try the dead deliveries of NOTICE (ntc_...) again; they are due at once."""
    held = store()
    with held.reading() as txn:
        if txn.one(telling.NOTICE, id=notice) is None:
            msg = f"no notice {notice!r}; see `lastgood notices list --dead`"
            raise NotFound(msg)
    count = outbox.retry(held, notice)
    due = counted(count, "delivery is", "deliveries are")
    click.echo(f"{due} due again: `lastgood notices send`" if count else "none of it is dead")
