"""`lastgood watch AGENT|RELEASE|INCIDENT|WATCH`: did the switch help, or is the cause elsewhere?"""

from pathlib import Path

import click

from lastgood.cli.common import environment_option, store, table, when
from tasks import checkout, watch_report, watching


@click.command()
@click.argument("reference", metavar="AGENT|RELEASE|INCIDENT|WATCH")
@click.option("--markdown", is_flag=True, help="The whole report.")
@click.option(
    "--write", "path", type=click.Path(path_type=Path), help="Write the report, and its picture beside it."
)
@environment_option
def watch(reference: str, environment: str, path: Path | None, *, markdown: bool) -> None:
    """Look at the newest watch of AGENT, or at that of a release: it begins where it is due.

    It follows every revert and promotion for the time of the policy's `watch`, and ends in fixed, elsewhere
    or inconclusive. A look before the window's end is a first glance and stands nowhere.
    """
    checkout.verify()
    held = store()
    ids = watching.resolve(held, reference, environment)
    found = watching.look(held, ids[0])
    made = watch_report.write(found, path) if path else watch_report.build(found)
    if markdown:
        click.echo(made.markdown, nl=False)
        return
    click.echo(f"{ids[0]} ({found.stage}): {made.headline}")
    rows = [(s.name, str(s.word), str(s.n.get("after", 0)), s.reason) for s in found.verdict.signals]
    table(rows, ("signal", "says", "n since", "levels"))
    for hint in found.verdict.hints:
        click.echo(f"  points elsewhere: {hint.text}")
    for name, why in found.verdict.absent:
        click.echo(f"  {name} can't be read: {why}")
    if found.stage == "early":
        click.echo(f"  the fast verdict is made from {when(found.row['until_us'])} on")
    if len(ids) > 1:
        click.echo(f"  before: {', '.join(ids[1:])}")
