"""What the commands share: options, the store, and how things read."""

import getpass
import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from lastgood import agent, shown
from lastgood.redaction import clean
from lastgood.store.connection import Store

Command = TypeVar("Command", bound=Callable[..., Any])


def person() -> str:
    """Return who is at the keyboard."""
    try:
        return os.environ.get("LASTGOOD_ACTOR") or getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name, and must still be able to roll back
        return f"uid {os.getuid()}"


def _plain(_ctx: click.Context, _param: click.Parameter, value: str) -> str:
    """A byte of the terminal that is no UTF-8 must not stop a rollback; a secret is not written down."""
    return clean(value.encode("utf-8", "replace").decode())


def environment_option(command: Command) -> Command:
    """`--environment`: which control point of the agent."""
    option = click.option(
        "--environment",
        "-e",
        default=agent.environment_name,
        show_default="production",
        help="Control point.",
    )
    return option(command)


def actor_option(command: Command) -> Command:
    """`--actor`: who does it, for the ledger."""
    option = click.option(
        "--actor",
        default=person,
        show_default="you",
        callback=_plain,
        help="Who does it; goes into the ledger.",
    )
    return option(command)


def reason_option(command: Command) -> Command:
    """`--reason`: why, for the ledger."""
    option = click.option("--reason", "-m", default="", callback=_plain, help="Why; goes into the ledger.")
    return option(command)


def store() -> Store:
    """Return the store that the environment names."""
    return agent.store()


def short(bundle_id: str | None) -> str:
    """Return the short form of a bundle's id; a dash where there is none."""
    return shown.short(bundle_id) if bundle_id else "-"


def when(at_us: int | None) -> str:
    """Return a time in UTC; a dash where there is none."""
    return "-" if at_us is None else shown.when(at_us)


def table(rows: Sequence[tuple[str, ...]], header: tuple[str, ...]) -> None:
    """Print rows in columns under a header."""
    for line in shown.laid_out([header, *rows]):
        click.echo(line)
