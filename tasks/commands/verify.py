"""`lastgood verify`: a release's verdicts recomputed from what is stored, here or from a copy."""

import json

import click

from lastgood.cli.common import store
from lastgood.plural import counted
from tasks import verification
from tasks.verification import Verified


@click.command()
@click.argument("release_id", metavar="RELEASE")
@click.option("--database", metavar="FILE", help="A copied database, read and never written.")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def verify(release_id: str, database: str | None, *, as_json: bool) -> None:
    """Recompute every stored verdict of RELEASE from its sealed evidence and its frozen policy.

    Says the first look that differs and by what, and exits with 1 then. Log e-values agree within 1e-9. Other
    words around the same figures, as another version may choose them, are told and are no difference.
    """
    if database is None:
        with store().reading() as txn:
            found = verification.verify(txn, release_id)
    else:
        with verification.read_only(database) as rows:
            found = verification.verify(rows, release_id)
    if as_json:
        click.echo(json.dumps(found.to_json()))
    else:
        _say(found)
    if found.differences:
        raise SystemExit(1)


def _say(found: Verified) -> None:
    if not found.differences:
        last = f", the last says {found.decision}" if found.looks else ""
        click.echo(
            f"{found.release_id}: {counted(found.looks, 'look')} and {counted(found.blocks, 'sealed block')}"
            f" are what the evidence says{last}"
        )
        _say_words(found)
        return
    first = found.differences[0]
    where = f"look {first.look}" if first.look else "the sealed blocks"
    click.echo(f"{found.release_id} does not verify. First at {where}: {first.what}", err=True)
    for other in found.differences[1:5]:
        click.echo(f"  also look {other.look}: {other.what}", err=True)


def _say_words(found: Verified) -> None:
    if found.worded:
        first, looks = found.worded[0], counted(len(found.worded), "look")
        click.echo(
            f"{looks} of these say the same verdict in other words than this version would; first look"
            f" {first.look}, {first.what}"
        )
