"""`lastgood bisect`: which changed part is at fault."""

import json
from typing import Any

import click

from lastgood.cli.common import store, table
from lastgood.rehearsal import Access, Purse
from lastgood.replaying import Means
from tasks import bisecting
from tasks.bisecting import Bisected
from tasks.commands.cases import replay_options


@click.command()
@click.argument("incident")
@click.option("--json", "as_json", is_flag=True, help="Print the verdicts as JSON.")
@replay_options
def bisect(incident: str, as_json: bool, **given: Any) -> None:  # noqa: FBT001
    """Replay the cases of INCIDENT (or one case) on hybrids of its bundles, and name the part at fault."""
    means = Means(Access(live=frozenset(given["live"])), Purse(given["usd"]), given["timeout"])
    found = bisecting.bisect(store(), incident, given["replay"], means)
    if as_json:
        click.echo(json.dumps(_told(found), indent=2))
        return
    click.echo(f"{found.bad.short} differs from {found.good.short} in {', '.join(found.changed)}")
    rows = [
        (one.case, kind, str(one.forward[kind]), str(one.reverse[kind]))
        for one in found.findings
        for kind in found.changed
    ]
    table(rows, ("case", "part", "good with bad part", "bad with good part"))
    if found.unread:
        click.echo(f"never read in these replays: {', '.join(found.unread)}")
    click.echo(f"at fault: {found.layer or 'not told; record the answers that are missing'}")


def _told(found: Bisected) -> dict[str, Any]:
    return {
        "layer": found.layer,
        "bad": found.bad.id,
        "good": found.good.id,
        "changed": list(found.changed),
        "unread": list(found.unread),
        "cases": [
            {"case": one.case, "layer": one.blame.layer, "forward": one.forward, "reverse": one.reverse}
            for one in found.findings
        ],
    }
