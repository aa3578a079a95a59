"""`lastgood bundle add | show | diff | list`."""

import json
from pathlib import Path
from typing import Any

import click

from lastgood import registry
from lastgood.bundle import BundleRecord
from lastgood.cli.common import actor_option, short, store, table, when
from lastgood.errors import InvalidBundle
from lastgood.store import statements as sql


@click.group()
def bundle() -> None:
    """Register and look at bundles."""


@bundle.command("add")
@click.argument("path", default="bundle.yaml", type=click.Path(path_type=Path))
@click.option("--agent", default=None, help="The agent, where the file does not name it.")
@click.option("--parent", default=None, help="The bundle it was made from.")
@click.option("--approver", default=None, help="Who approved it.")
@actor_option
def add(path: Path, agent: str | None, parent: str | None, approver: str | None, actor: str) -> None:
    """Register the bundle that PATH (bundle.yaml) describes: its content is copied, its id is its digest."""
    from lastgood.bundle_file import read_bundle_file  # YAML: only this command reads it

    draft = read_bundle_file(path)
    name = agent or draft.agent
    if name is None:
        msg = f"{path} names no agent: write `agent: NAME` into it or give --agent"
        raise InvalidBundle(msg)
    record, new = registry.register(
        store(),
        name,
        draft.bundle,
        author=draft.author or actor,
        approver=approver or draft.approver or "",
        parent=parent or draft.parent or "",
        name=draft.name or "",
    )
    done = "registered" if new else "already registered as"
    click.echo(f"{done} {record.bundle.short} {record.name} for {record.agent}")


@bundle.command("show")
@click.argument("reference", metavar="BUNDLE")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def show(reference: str, *, as_json: bool) -> None:
    """Show BUNDLE (name, b-..., or the beginning of its id) and its parts."""
    record = registry.load(store(), reference)
    if as_json:
        click.echo(json.dumps(_facts(record), indent=2))
        return
    for name, value in _facts(record).items():
        if name != "parts":
            click.echo(f"{name:<9} {value}")
    for part in record.bundle.parts:
        runtime = f"  runtime {part.runtime}" if part.runtime else ""
        click.echo(f"  {part.kind:<7} {part.version:<10} {part.digest[:12]}  {part.size:,} bytes{runtime}")


def _facts(record: BundleRecord) -> dict[str, Any]:
    return {
        "id": record.bundle.id,
        "name": record.name,
        "agent": record.agent,
        "author": record.author,
        "approver": record.approver,
        "parent": short(record.parent),
        "created": when(record.created_us),
        "parts": {p.kind: {"version": p.version, "digest": p.digest} for p in record.bundle.parts},
    }


@bundle.command("diff")
@click.argument("old")
@click.argument("new")
def diff(old: str, new: str) -> None:
    """Name the parts in which two bundles differ, and show how."""
    from lastgood import bundle_diff

    held = store()
    before, after = registry.load(held, old).bundle, registry.load(held, new).bundle
    changes = bundle_diff.diff(before, after)
    click.echo(
        bundle_diff.render(changes) if changes else f"{before.short} and {after.short} are the same bundle"
    )


@bundle.command("list")
@click.argument("agent", required=False)
def list_(agent: str | None) -> None:
    """List the registered bundles, newest first."""
    with store().reading() as txn:
        rows = txn.all(sql.BUNDLES_OF_AGENT, agent=agent) if agent else txn.all(sql.BUNDLES)
    if not rows:
        click.echo("no bundle yet: `lastgood bundle add bundle.yaml`")
        return
    cells = [(short(r["id"]), r["name"], r["agent"], r["author"] or "-", when(r["created_us"])) for r in rows]
    table(cells, ("bundle", "name", "agent", "author", "registered"))
