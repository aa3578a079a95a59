"""`lastgood review next | mark | list`: people as the referee, blind to the arm."""

import json

import click

from lastgood.cli.common import actor_option, store, table, when
from lastgood.errors import InvalidInput
from tasks import referee as refereeing

#: what people type for a mark that is true or false
_WORDS = dict.fromkeys(("yes", "y", "true", "good"), True) | dict.fromkeys(("no", "n", "false", "bad"), False)


@click.group()
def review() -> None:
    """Judge a random sample of a release's runs yourself, without knowing which arm made them."""


@review.command("next")
@click.argument("release_id", metavar="RELEASE")
def next_(release_id: str) -> None:
    """Show the next case of RELEASE: what the run was given and what it made, without the arm."""
    held = store()
    cases = refereeing.queue(held, release_id)
    if not cases:
        click.echo(f"{release_id}: no case waits")
        return
    case = cases[0]
    click.echo(f"case {case.id} ({case.task_type}), {len(cases)} waiting")
    click.echo(f"--- input\n{_shown(case.input)}\n--- output\n{_shown(case.output)}\n---")
    click.echo(refereeing.question(held, release_id))
    click.echo(f"lastgood review mark {release_id} {case.id} MARK")


@review.command("mark")
@click.argument("release_id", metavar="RELEASE")
@click.argument("case_id", metavar="CASE")
@click.argument("mark")
@actor_option
def mark(release_id: str, case_id: str, mark: str, actor: str) -> None:
    """Record MARK (yes, no, or a number of the scale) for CASE of RELEASE."""
    refereeing.mark(store(), release_id, case_id, _read(mark), by=actor)
    click.echo(f"recorded: case {case_id} {mark}")


@review.command("list")
@click.argument("release_id", metavar="RELEASE")
def list_(release_id: str) -> None:
    """List the marks of RELEASE so far, with who gave them, without the arms."""
    rows = [
        (case, "could not be judged" if given is None else str(given), by, when(at_us))
        for case, given, by, at_us in refereeing.marked(store(), release_id)
    ]
    table(rows, ("case", "mark", "who", "when"))


def _shown(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2)
    # a run's text is data: what moves a terminal's cursor stays visible instead
    return "".join(c if c.isprintable() or c in "\n\t" else f"\\x{ord(c):02x}" for c in text)


def _read(text: str) -> bool | float:
    word = text.strip().lower()
    if word in _WORDS:
        return _WORDS[word]
    try:
        return float(word)
    except ValueError as error:
        msg = f"{text!r} is no mark: type yes, no, or a number of the scale"
        raise InvalidInput(msg) from error
