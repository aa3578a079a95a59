"""`lastgood readiness AGENT`: the seven questions of a release, each with its evidence."""

import click

from evaluators.readiness import ASKED
from lastgood import registry
from lastgood.cli.common import environment_option, store
from tasks import checkout, preflight
from tasks import readiness as readying


@click.command()
@click.argument("agent")
@click.option("--candidate", metavar="BUNDLE", help="The bundle that is to be released.")
@click.option("--policy", default="default", show_default=True, help="A stored or built-in policy.")
@environment_option
def readiness(agent: str, candidate: str | None, policy: str, environment: str) -> None:
    """Answer the seven questions of a release of AGENT; the number of yes answers bounds a canary's share.

    Switching back is drilled for real, on a shadow control point; the live one is not touched.
    """
    checkout.verify()
    held = store()
    with held.reading() as txn:
        found = preflight.find_policy(txn, policy)
        bundle = registry.read(txn, registry.resolve(txn, candidate)).bundle if candidate else None
    made = readying.check(held, agent, environment, found, bundle)
    for answer in made.answers:
        click.echo(f"{'yes' if answer.yes else 'no ':<4}{ASKED[answer.question]}")
        click.echo(f"      {readying.line(answer)}")
    click.echo(made.said)
