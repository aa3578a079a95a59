"""`lastgood init` and `lastgood db upgrade`: the files of a first release, and the store."""

from pathlib import Path

import click

from lastgood import agent as agents
from lastgood.bundle import check_name
from lastgood.errors import InvalidInput

_TEMPLATES = Path(__file__).with_name("templates")
#: template: where it goes in the user's repository
_FILES = {
    "bundle.yaml": "bundle.yaml",
    "prompt.md": "prompt.md",
    "policy.yaml": "policy.yaml",
    "agent.py.txt": "agent_example.py",
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
    click.echo(f"the store {url} is at this version's schema")
