"""`python -m examples.support_agent`: the CRM, and the traffic that the agent serves beside it."""

import sys
import threading
import time
from pathlib import Path

import click

import lastgood
from examples.support_agent import http
from examples.support_agent.crm.books import Books
from examples.support_agent.crm.faults import Faults
from examples.support_agent.crm.server import Crm
from examples.support_agent.traffic import Traffic

_SHARE = click.FloatRange(0, 1)


@click.group()
def main() -> None:
    """A customer-support agent, and the CRM that it works in."""


@main.command()
@click.option("--port", default=8070, show_default=True, help="On loopback.")
@click.option("--database", default="crm.db", show_default=True, type=click.Path(path_type=Path))
@click.option(
    "--deliver-after", default=0.0, show_default=True, help="Seconds in which a message can be recalled."
)
@click.option(
    "--fail", default=0.0, type=_SHARE, help="Part of the calls that fail, before or after the effect."
)
@click.option(
    "--hang", default=0.0, type=_SHARE, help="Part of the calls that take longer than the agent waits."
)
@click.option("--twice", default=0.0, type=_SHARE, help="Part of the calls that arrive twice.")
def crm(port: int, database: Path, deliver_after: float, fail: float, hang: float, twice: float) -> None:
    """Serve the CRM until Ctrl-C."""
    books = Books(str(database), deliver_after_s=deliver_after)
    with Crm(books, Faults(fail, hang, twice), port) as server:
        click.echo(f"the CRM answers at {server.url}; name it to the agent: export {http.URL}={server.url}")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            click.echo("closed")
    books.close()


@main.command()
@click.option("--tickets", default=0, help="So many tickets; 0: until standard input closes.")
@click.option("--seed", default=1, show_default=True, help="Which tickets.")
@click.option("--pace", default=20.0, show_default=True, help="Tickets a second.")
@click.option(
    "--hurry", default=60.0, show_default=True, help="How much sooner than in life operators speak."
)
def serve(tickets: int, seed: int, pace: float, hurry: float) -> None:
    """Serve tickets, whatever bundle each run is given; the store is LASTGOOD_DATABASE."""
    closed = threading.Event()
    if not tickets:
        threading.Thread(target=_wait_for_close, args=(closed,), daemon=True).start()
    traffic, due = Traffic(seed, hurry=hurry), time.monotonic()
    while not closed.is_set() and not 0 < tickets <= traffic.served:
        traffic.one()
        due = max(due + 1 / pace, time.monotonic() - 1)
        closed.wait(max(0.0, due - time.monotonic()))
    traffic.pass_on(everything=True)
    lastgood.flush()
    click.echo(f"served {traffic.served} tickets")


def _wait_for_close(closed: threading.Event) -> None:
    sys.stdin.read()
    closed.set()


if __name__ == "__main__":
    main()
