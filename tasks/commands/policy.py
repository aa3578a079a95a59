"""`lastgood policy add | check | list | show`."""

from pathlib import Path

import click

from config.policy import POLICIES, Policy
from lastgood.cli.common import actor_option, store, table, when
from lastgood.errors import InvalidPolicy
from lastgood.store import statements as sql
from tasks import preflight


@click.group()
def policy() -> None:
    """Store and look at release policies."""


@policy.command("add")
@click.argument("path", type=click.Path(path_type=Path))
@actor_option
def add(path: Path, actor: str) -> None:
    """Store the policy in PATH (YAML) by its digest; its newest version serves under its name."""
    found = Policy.load(path)
    if found.name in _builtin():
        msg = f"{path}: the name {found.name} is a built-in policy's; give yours another name"
        raise InvalidPolicy(msg)
    values: dict[str, object] = {
        "digest": found.digest,
        "name": found.name,
        "body": found.to_json(),
        "author": actor,
    }
    with store().transaction(durable=True) as txn:
        values["created_us"] = txn.now_us
        new = txn.run(sql.insert_new("policy", tuple(values)), **values)
        newest = txn.one(sql.POLICY_BY_NAME, name=found.name)
    click.echo(f"{'stored' if new else 'already stored'}: policy {found.name}, digest {found.digest[:12]}")
    if newest is not None and newest["digest"] != found.digest:
        click.echo(
            f"its name means the newer version {newest['digest'][:12]}; "
            f"`lastgood release start AGENT BUNDLE --policy {found.digest}` uses this one"
        )


@policy.command("check")
@click.argument("path", type=click.Path(path_type=Path))
def check(path: Path) -> None:
    """Say whether the policy in PATH (YAML) can be used; nothing is stored.

    Whether an agent's traffic lets it decide is what `lastgood plan` says.
    """
    found = Policy.load(path)
    click.echo(f"{path}: policy {found.name} can be used, digest {found.digest[:12]}")


def _builtin() -> list[str]:
    return sorted(path.stem for path in POLICIES.glob("*.yaml"))


@policy.command("list")
def list_() -> None:
    """List the built-in and the stored policies, newest first."""
    rows = [(name, "-", "built in", "-") for name in _builtin()]
    with store().reading() as txn:
        rows += [
            (row["name"], row["digest"][:12], when(row["created_us"]), row["author"])
            for row in txn.all(sql.POLICIES)
        ]
    table(rows, ("name", "digest", "stored", "author"))


@policy.command("show")
@click.argument("reference", metavar="POLICY")
def show(reference: str) -> None:
    """Print POLICY (a name or digest) with every default resolved, as YAML."""
    import yaml

    if reference in _builtin():
        found = Policy.builtin(reference)
    else:
        with store().reading() as txn:
            found = preflight.find_policy(txn, reference)
    click.echo(f"# policy {found.name}, digest {found.digest}")
    click.echo(
        yaml.safe_dump(found.model_dump(mode="json", by_alias=True), sort_keys=False, allow_unicode=True),
        nl=False,
    )
