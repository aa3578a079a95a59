"""`lastgood token make | list | rotate | revoke`: who may do what over the HTTP service."""

import json

import click

from lastgood import retention, tokens
from lastgood.cli.common import actor_option, store, table, when
from lastgood.roles import ALLOWED, EVERY, Role
from lastgood.store import access
from lastgood.tokens import Minted


@click.group()
def token() -> None:
    """Access tokens of clients of the HTTP service."""


def _roles() -> str:
    return "; ".join(f"{role}: {', '.join(sorted(ALLOWED[role]))}" for role in Role)


def _show(made: Minted) -> None:
    click.echo(f"{made.text}\nkept nowhere and shown once; good until {when(made.expires_us)}")


@token.command("make", epilog=_roles())
@click.argument("name")
@click.option(
    "--role", type=click.Choice([str(role) for role in Role]), required=True, help="What it may do."
)
@click.option("--agent", "agents", multiple=True, help="An agent that it may speak of; default: every one.")
@click.option(
    "--environment", "-e", "environments", multiple=True, help="An environment; default: every one."
)
@click.option("--lifetime", default="90d", show_default=True, help="How long it is good for.")
@actor_option
def make(
    name: str, role: str, agents: tuple[str, ...], environments: tuple[str, ...], lifetime: str, actor: str
) -> None:
    """Make a token for NAME: a person, an agent's process, a script."""
    _show(
        tokens.mint(
            store(),
            name,
            Role(role),
            actor=actor,
            agents=agents or (EVERY,),
            environments=environments or (EVERY,),
            lifetime_us=retention.age(lifetime),
        )
    )


@token.command("list")
def list_() -> None:
    """Show every token, without its secret."""
    with store().reading() as txn:
        rows, now_us = txn.all(access.ALL), txn.now_us
    lines = [
        (
            row["id"],
            row["name"],
            row["role"],
            ", ".join(json.loads(row["agents"])),
            ", ".join(json.loads(row["environments"])),
            f"{'ended' if row['expires_us'] <= now_us else 'until'} {when(row['expires_us'])}",
        )
        for row in rows
    ]
    table(lines, ("id", "name", "role", "agents", "environments", "good"))


@token.command("rotate")
@click.argument("token_id")
@click.option("--grace", default="1d", show_default=True, help="How long the old one goes on.")
@actor_option
def rotate(token_id: str, grace: str, actor: str) -> None:
    """Make a successor of TOKEN_ID; the old one goes on until its grace is over."""
    _show(tokens.rotate(store(), token_id, actor=actor, grace_us=retention.age(grace)))


@token.command("revoke")
@click.argument("token_id")
def revoke(token_id: str) -> None:
    """End TOKEN_ID at once."""
    ended = tokens.revoke(store(), token_id)
    click.echo(f"the token {token_id} {'is revoked' if ended else 'had ended already'}")
