"""`lastgood policy add | check | list | show | waive`."""

from pathlib import Path

import click

from config.policy import Policy, built_in
from lastgood.cli.common import actor_option, store, table, when
from lastgood.errors import InvalidPolicy
from lastgood.store import statements as sql
from tasks import policies, preflight


@click.group()
def policy() -> None:
    """Store and look at release policies."""


@policy.command("add")
@click.argument("path", type=click.Path(path_type=Path))
@actor_option
def add(path: Path, actor: str) -> None:
    """Store the policy in PATH (YAML) by its digest; its newest version serves under its name."""
    found = Policy.load(path)
    if found.name in built_in():
        msg = f"{path}: the name {found.name} is a built-in policy's; give yours another name"
        raise InvalidPolicy(msg)
    _say(policies.keep(store(), found, actor))


def _say(kept: policies.Kept) -> None:
    click.echo(f"{'stored' if kept.new else 'already stored'}: policy {kept.name}, digest {kept.digest[:12]}")
    if kept.meant != kept.digest:
        click.echo(
            f"its name means the newer version {kept.meant[:12]}; "
            f"`lastgood release start AGENT BUNDLE --policy {kept.digest}` uses this one"
        )


@policy.command("waive")
@click.argument("reference", metavar="POLICY")
@click.option("--guardrail", required=True, help="The guardrail that may get worse.")
@click.option("--slice", "stratum", required=True, help="The one slice in which it may.")
@click.option("--reason", "-m", required=True, help="Why the trade is accepted.")
@click.option("--approver", required=True, help="Who accepts it.")
@actor_option
def waive(reference: str, guardrail: str, stratum: str, reason: str, approver: str, actor: str) -> None:
    """Store a version of POLICY with a known trade: a guardrail may get worse in one slice.

    Releases that are live keep the policy that they started with.
    """
    trade = policies.Trade(guardrail, stratum, reason, approver)
    _say(policies.waive(store(), reference, trade, actor=actor))


@policy.command("check")
@click.argument("path", type=click.Path(path_type=Path))
def check(path: Path) -> None:
    """Say whether the policy in PATH (YAML) can be used; nothing is stored.

    Whether an agent's traffic lets it decide is what `lastgood plan` says.
    """
    found = Policy.load(path)
    click.echo(f"{path}: policy {found.name} can be used, digest {found.digest[:12]}")


@policy.command("list")
def list_() -> None:
    """List the built-in and the stored policies, newest first."""
    rows = [(name, "-", "built in", "-") for name in built_in()]
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

    if reference in built_in():
        found = Policy.builtin(reference)
    else:
        with store().reading() as txn:
            found = preflight.find_policy(txn, reference)
    click.echo(f"# policy {found.name}, digest {found.digest}")
    click.echo(
        yaml.safe_dump(found.model_dump(mode="json", by_alias=True), sort_keys=False, allow_unicode=True),
        nl=False,
    )
