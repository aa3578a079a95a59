"""`lastgood agent set | show | list | ask`: what a team says once about an agent, and asks outside."""

import json
from pathlib import Path
from typing import Any

import click

from config.profile import Profile
from lastgood import profile as profiles
from lastgood.cli.common import actor_option, environment_option, store, table, when
from lastgood.errors import NotFound
from lastgood.store import telling


@click.group()
def agent() -> None:
    """Say who answers for an agent, and where people are told."""


@agent.command("set")
@click.argument("path", type=click.Path(path_type=Path))
@actor_option
def set_(path: Path, actor: str) -> None:
    """Register the profile in PATH (YAML); it replaces the agent's profile, also while a release is live."""
    found = Profile.load(path)
    with store().transaction(durable=True) as txn:
        new = profiles.store_body(txn, found.agent, found.to_json(), actor=actor)
    click.echo(f"{'set' if new else 'unchanged'}: profile of {found.agent}, digest {found.digest[:12]}")
    if not found.routes:
        click.echo("it has no routes: nobody is told of a revert")


@agent.command("show")
@click.argument("name", metavar="AGENT")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def show(name: str, *, as_json: bool) -> None:
    """Show the profile of AGENT; secrets are shown as the references that they are."""
    with store().reading() as txn:
        row = profiles.find(txn, name)
    if row is None:
        msg = f"no profile of {name!r}: write one and `lastgood agent set FILE`; see `lastgood agent list`"
        raise NotFound(msg)
    found = profiles.from_row(row)
    if as_json:
        click.echo(json.dumps(_facts(found), indent=2))
        return
    click.echo(f"agent    {name}\nowner    {found.owner or '-'}")
    click.echo(f"changed  {when(row['changed_us'])} by {row['actor']}, digest {found.digest[:12]}")
    click.echo(f"replay   {found.replay or '-'}")
    for group in ("undo", "signals"):
        for key, value in sorted(getattr(found, group).items()):
            click.echo(f"{group:<8} {key}: {value if isinstance(value, str) else json.dumps(value)}")
    if not found.routes:
        click.echo("routes   none: nobody is told of a revert")
        return
    rows = [
        (
            route.name,
            route.to,
            ", ".join(route.levels),
            ", ".join(route.kinds) or "all",
            ", ".join(route.environments) or "all",
            ", ".join(f"{key} {value}" for key, value in sorted(route.settings.items())),
        )
        for route in found.routes
    ]
    table(rows, ("route", "to", "levels", "kinds", "environments", "settings"))


def _facts(found: profiles.Profile) -> dict[str, Any]:
    return {
        "agent": found.agent,
        "owner": found.owner,
        "digest": found.digest,
        "replay": found.replay,
        "undo": dict(found.undo),
        "signals": dict(found.signals),
        "routes": [
            {
                "name": route.name,
                "to": route.to,
                "levels": route.levels,
                "kinds": route.kinds,
                "environments": route.environments,
                "retry_for_s": route.retry_for_us / 1_000_000,
                "settings": dict(route.settings),
            }
            for route in found.routes
        ],
    }


@agent.command("list")
def list_() -> None:
    """List the agents that have a profile."""
    with store().reading() as txn:
        rows = txn.all(telling.PROFILES)
    if not rows:
        click.echo("no profile yet: write one and `lastgood agent set FILE`")
        return
    found = [(profiles.from_row(row), row) for row in rows]
    table(
        [
            (
                p.agent,
                p.owner or "-",
                str(len(p.routes)),
                p.digest[:12],
                when(row["changed_us"]),
                row["actor"],
            )
            for p, row in found
        ],
        ("agent", "owner", "routes", "digest", "changed", "by"),
    )


@agent.command("ask")
@click.argument("name", metavar="AGENT")
@click.option("--policy", metavar="POLICY", help="Ask for its figures outside and its referee's scores too.")
@environment_option
def ask(name: str, policy: str | None, environment: str) -> None:
    """Ask the signals of AGENT's profile now, and say what each answers; ends with 1 where one does not.

    With --policy also what a release would ask under it; the baseline stands in for the candidate. Nothing
    is written.
    """
    from tasks import trying  # pandas: only who asks needs it

    found = trying.ask(store(), name, environment, policy)
    if not found:
        click.echo(f"{name} names nothing outside: no signals in its profile{' or policy' if policy else ''}")
        return
    words = {True: "yes", False: "NO", None: "-"}
    rows = [(each.what, each.name, words[each.answers], each.said) for each in found]
    table(rows, ("what", "name", "answers", "said"))
    if any(each.answers is False for each in found):
        raise SystemExit(1)
