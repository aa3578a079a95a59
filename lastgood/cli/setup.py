"""`lastgood init`, `lastgood db upgrade | backup | restore | grants | prune`: a first release, the store."""

from pathlib import Path

import click

from lastgood import agent as agents
from lastgood import backups, retention
from lastgood.bundle import check_name
from lastgood.cli.common import actor_option, store
from lastgood.errors import InvalidInput
from lastgood.plural import counted
from lastgood.store.connection import Store

_TEMPLATES = Path(__file__).with_name("templates")
#: template: where it goes in the user's repository
_FILES = {
    "bundle.yaml": "bundle.yaml",
    "prompt.md": "prompt.md",
    "policy.yaml": "policy.yaml",
    "agent.py.txt": "agent_example.py",
    "agent.yaml": "agent.yaml",
}


@click.command()
@click.argument("agent", default="support")
def init(agent: str) -> None:
    """Put the files of a first release of AGENT into this folder, and create the store."""
    check_name(agent, "the agent")
    taken = [name for name in _FILES.values() if Path(name).exists()]
    if taken:
        msg = (
            f"{', '.join(taken)} exist here already; nothing was written. Move them away, or go on with them"
        )
        raise InvalidInput(msg)
    _upgrade()
    for template, name in _FILES.items():
        text = (_TEMPLATES / template).read_text(encoding="utf-8")
        Path(name).write_text(text.replace("AGENT", agent), encoding="utf-8")
        click.echo(f"wrote {name}")
    click.echo(
        f"next:\n  lastgood bundle add bundle.yaml\n  lastgood adopt {agent} b-...\n"
        f"  python agent_example.py 1200\n  lastgood policy add policy.yaml\n"
        f"  lastgood release start {agent} b-... --policy {agent}"
    )


@click.group()
def db() -> None:
    """The store."""


@db.command("upgrade")
def upgrade() -> None:
    """Create the store, or migrate it to this version's schema."""
    _upgrade()


def _upgrade() -> None:
    from lastgood.store import engine  # the ORM and the migrations: nobody else here needs them

    url = agents.database_url()
    engine.upgrade(url)
    click.echo(f"the store {Store(url).name} is at this version's schema")


@db.command("backup")
@click.argument("file", type=click.Path(path_type=Path))
def backup(file: Path) -> None:
    """Copy a SQLite store to FILE while it is in use, and its run keys to FILE.keys."""
    backups.take(store(), file)
    click.echo(f"wrote {file}: every ledger in it verifies")


@db.command("restore")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@actor_option
def restore(file: Path | None, actor: str) -> None:
    """Put a backup of a SQLite store back; without FILE, settle a store that was put back by other means.

    Nobody may have the store open. A backup knows nothing of what came after it, so where a release was live
    in it the kill switch is turned on: no candidate run starts until you say how it goes on.
    """
    held = store()
    if file is None:
        killed = backups.settle(held, actor=actor)
    else:
        done = backups.put_back(held, file, actor=actor)
        killed = done.killed
        where = f"; the store that was there is {done.aside}" if done.aside else ""
        click.echo(f"put back {file}{where}")
    click.echo(
        "every ledger verifies; `lastgood audit verify --against HEAD` tells what is missing since an export"
    )
    for agent, environment in killed:
        at = "" if environment == agents.environment_name() else f" --environment {environment}"
        click.echo(
            f"{agent} in {environment}: a release was live then, its candidate is not served. "
            f"`lastgood rollback {agent}{at}` ends it, `lastgood clear {agent}{at}` lets it go on"
        )


@db.command("grants")
@click.option("--to", "members", multiple=True, metavar="USER=ROLE", help="Give a user a role; repeatable.")
@click.option("--dry-run", is_flag=True, help="Only print the SQL.")
def grants_(members: tuple[str, ...], *, dry_run: bool) -> None:
    """Set the roles of a Postgres store: lastgood_observer, _agent, _operator, _releaser, _approver, ...

    Run it as the owner of the tables, who may create roles, and again after each `lastgood db upgrade`.
    """
    from lastgood.store import engine, grants  # the ORM: nobody else here needs it

    made = grants.statements(engine.our_tables())
    for pair in members:
        user, _, role = pair.partition("=")
        if not user or role not in grants.ROLES:
            msg = f"--to {pair}: write USER=ROLE with one of {', '.join(grants.ROLES)}"
            raise InvalidInput(msg)
        made.append(grants.member(user, role))
    if dry_run:
        click.echo(";\n".join(each.strip() for each in made) + ";")
        return
    held = store()
    if held.path is not None:
        msg = f"{held.name} is a file: who can write it is trusted. Roles need a store at postgresql://"
        raise InvalidInput(msg)
    with held.transaction(durable=True) as txn:
        for each in made:
            txn.run(each)
    click.echo(
        f"the roles of {held.name} are set: {', '.join(grants.PREFIX + role for role in grants.ROLES)}"
    )


@db.command("prune")
@click.option(
    "--runs", default="90d", envvar="LASTGOOD_KEEP_RUNS", show_default=True, help="Keep run records."
)
@click.option(
    "--evidence",
    default="730d",
    envvar="LASTGOOD_KEEP_EVIDENCE",
    show_default=True,
    help="Keep evidence of ended releases.",
)
@click.option(
    "--ledger", default="730d", envvar="LASTGOOD_KEEP_LEDGER", show_default=True, help="Keep the ledger."
)
@click.option("--dry-run", is_flag=True, help="Only count what would go.")
@actor_option
def prune(runs: str, evidence: str, ledger: str, *, dry_run: bool, actor: str) -> None:
    """Delete what is older than its limit: run records, sealed evidence, ledger rows.

    What a live release or a bundle in service needs stays, and each ledger still verifies. May run while
    agents serve, and again after a crash.
    """
    limits = retention.Limits(retention.age(runs), retention.age(evidence), retention.age(ledger))
    done = retention.prune(store(), limits, actor=actor, dry_run=dry_run)
    click.echo(
        f"{'would prune' if dry_run else 'pruned'} {counted(done.runs, 'run')}, "
        f"{counted(done.conversations, 'conversation')}, the evidence of "
        f"{counted(done.releases, 'release')}, {counted(done.ledger, 'ledger row')}"
    )
