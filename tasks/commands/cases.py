"""`lastgood cases`: failing runs as regression cases, proven, reviewed, exported and run."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import click

from evaluators.paired import Rules
from lastgood import case_store, promptfoo
from lastgood import cases as casing
from lastgood.case_store import Review, State, Stored
from lastgood.cli.common import actor_option, environment_option, reason_option, short, store, table
from lastgood.errors import InvalidInput, InvalidMove
from lastgood.plural import counted
from lastgood.rehearsal import Access, Purse
from lastgood.replaying import Means, find_bundle, load
from tasks import case_making, regression
from tasks.case_making import Wanted
from tasks.commands.numbers import Number

Command = TypeVar("Command", bound=Callable[..., Any])


def replay_options(command: Command) -> Command:
    """What a replay may use."""
    for option in (
        click.option("--replay", default="", help="How the agent is replayed; default: its profile's."),
        click.option("--live", multiple=True, metavar="HOST", help="Host that is called for real."),
        click.option(
            "--usd", default=1.0, show_default=True, type=Number(0, 1_000_000),
            help="Ceiling for real model calls, US dollars.",
        ),
        click.option(
            "--timeout", default=60.0, show_default=True, type=Number(0, 86_400, min_open=True),
            help="Seconds that one replay may take.",
        ),
    ):  # fmt: skip
        command = option(command)
    return command


def proof_options(command: Command) -> Command:
    """How a case is proven, and where recording may send."""
    for option in (
        click.option(
            "--sandbox", multiple=True, metavar="HOST", help="Host where recording may send anything."
        ),
        click.option(
            "--pairs",
            default=40,
            show_default=True,
            type=click.IntRange(min=1),
            help="Pairs of replays at most.",
        ),
        click.option(
            "--alpha",
            default=0.05,
            show_default=True,
            type=Number(0, 0.5, min_open=True),
            help="Chance of admitting a case that tells nothing.",
        ),
    ):
        command = option(command)
    return command


@click.group()
def cases() -> None:
    """Turn failing runs into regression cases that gate the next release."""


@cases.command("make")
@click.argument("what", metavar="INCIDENT|AGENT")
@click.option("--run", "runs", multiple=True, metavar="RUN", help="A failing run; may be given again.")
@click.option("--bad", default="", help="Bundle that failed; default: the incident's, or the first run's.")
@click.option("--good", default="", help="Last known good; default: the incident's, or who serves now.")
@click.option("--redact", multiple=True, default=("email", "phone", "card"), show_default=True,
              help="email, phone, card, or 'pattern:' and a regular expression.")  # fmt: skip
@environment_option
@proof_options
@replay_options
def make(what: str, runs: tuple[str, ...], bad: str, good: str, redact: tuple[str, ...], environment: str,
         **given: Any) -> None:  # fmt: skip
    """Make cases of an incident's failing runs, or of single runs of an agent, and prove each.

    A case is admitted where it fails on the bad bundle and passes on the last known good.
    """
    held = store()
    if what.startswith("inc_") and not runs:
        wanted = case_making.wanted_of_incident(held, what, bad=bad, good=good)
    else:
        wanted = case_making.wanted_of_named(held, what, environment, runs, bad=bad, good=good)
    _tell(case_making.make(held, replace(_with(wanted, given), redact=redact)))


def _with(wanted: Wanted, given: dict[str, Any]) -> Wanted:
    """The wish with what the options say."""
    return replace(
        wanted,
        replay=given["replay"] or wanted.replay,
        live=frozenset(given["live"]),
        sandbox=frozenset(given["sandbox"]),
        usd=given["usd"],
        timeout_s=given["timeout"],
        rules=Rules(alpha=given["alpha"], pairs=given["pairs"]),
    )


def _tell(made: list[Stored]) -> None:
    for each in made:
        draft, proof = each.draft, each.draft.proof
        if draft.state is State.ADMITTED:
            pairs = counted(proof["pairs"], "pair")
            told = f"failed {proof['bad_failed']} and passed {proof['good_passed']} of {pairs}"
            click.echo(f"{each.id} {draft.case.name}: admitted ({told}, on the bad and the good bundle)")
        else:
            click.echo(f"{each.id} {draft.case.name}: candidate; {draft.reason}")


@cases.command("list")
@click.argument("agent", default="")
@click.option("--state", type=click.Choice([*State]), default=None, help="Proven ones, or candidates, alone.")
@environment_option
def list_(agent: str, state: str | None, environment: str) -> None:
    """List the cases of AGENT, or all."""
    with store().reading() as txn:
        found = case_store.listed(txn, agent=agent, environment=environment, state=state or "")
    rows = [
        (
            e.id,
            e.draft.agent,
            e.draft.case.name,
            str(e.draft.state),
            str(e.review),
            e.draft.incident_id or "-",
        )
        for e in found
    ]
    table(rows, ("id", "agent", "case", "state", "review", "incident"))


@cases.command("show")
@click.argument("case")
def show(case: str) -> None:
    """Show CASE as its file would read, its proof, and why it is a candidate still."""
    with store().reading() as txn:
        found = case_store.read(txn, case)
    draft = found.draft
    click.echo(f"{found.id} of {draft.agent} in {draft.environment}: {draft.state}, review {found.review}"
               + (f" by {found.reviewer}" if found.reviewer else ""))  # fmt: skip
    click.echo(f"fails on {short(draft.bad)}, passes on {short(draft.good)}: {draft.signature}")
    if draft.reason:
        click.echo(f"candidate: {draft.reason}")
    click.echo(casing.write([draft.case], draft.agent), nl=False)


@cases.command("accept")
@click.argument("case")
@actor_option
@reason_option
def accept(case: str, actor: str, reason: str) -> None:
    """Say that CASE was read and holds nothing that must not leave the store: it may be exported."""
    _review(case, Review.ACCEPTED, actor, reason)


@cases.command("reject")
@click.argument("case")
@actor_option
@reason_option
def reject(case: str, actor: str, reason: str) -> None:
    """Say that CASE is no use: it is neither exported nor run."""
    _review(case, Review.REJECTED, actor, reason)


def _review(reference: str, verdict: Review, actor: str, note: str) -> None:
    held = store()
    with held.reading() as txn:
        found = case_store.read(txn, reference)
    done = case_store.review(held, found, verdict, by=actor, note=note)
    click.echo(f"{done.draft.case.name}: {done.review} by {done.reviewer}")


@cases.command("edit")
@click.argument("case")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@proof_options
@replay_options
def edit(case: str, file: Path, **given: Any) -> None:
    """Replace CASE by the one of its name in FILE (see `cases show`), and prove it anew."""
    held = store()
    with held.reading() as txn:
        found = case_store.read(txn, case)
    edited = casing.by_name(casing.read_file(file), found.case.name)
    _tell([case_making.prove_again(held, found, edited, _with(case_making.wanted_of(held, found), given))])


@cases.command("record")
@click.argument("case")
@click.option("--on", "bundles", multiple=True, metavar="BUNDLE", help="Record on this bundle too.")
@click.option("--fresh", is_flag=True, help="Forget the answers that the case has.")
@proof_options
@replay_options
def record(case: str, bundles: tuple[str, ...], fresh: bool, **given: Any) -> None:  # noqa: FBT001
    """Record what CASE has no answers to yet, with reads for real, and prove it again."""
    held = store()
    with held.reading() as txn:
        found = case_store.read(txn, case)
    wanted = _with(case_making.wanted_of(held, found), given)
    _tell([case_making.record_again(held, found, wanted, bundles, fresh=fresh)])


@cases.command("prove")
@click.argument("case")
@proof_options
@replay_options
def prove(case: str, **given: Any) -> None:
    """Prove CASE again, from the answers that are recorded."""
    held = store()
    with held.reading() as txn:
        found = case_store.read(txn, case)
    _tell(
        [case_making.prove_again(held, found, found.case, _with(case_making.wanted_of(held, found), given))]
    )


@cases.command("export")
@click.argument("agent")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--promptfoo", "with_promptfoo", is_flag=True, help="Write a promptfoo configuration too.")
@environment_option
def export(agent: str, folder: Path, with_promptfoo: bool, environment: str) -> None:  # noqa: FBT001
    """Write the accepted cases of AGENT into FOLDER, a file each, for pytest and pydantic-evals."""
    with store().reading() as txn:
        found = case_store.listed(txn, agent=agent, environment=environment, state=State.ADMITTED)
    accepted = [each.case for each in found if each.review is Review.ACCEPTED]
    if not accepted:
        raise InvalidMove(
            f"no case of {agent} is accepted, and none leaves the store unread: `lastgood cases show CASE`, "
            "then `lastgood cases accept CASE`"
        )
    folder.mkdir(parents=True, exist_ok=True)
    for case in accepted:
        (folder / f"{case.name}.yaml").write_text(casing.write([case], agent), "utf-8")
    click.echo(f"{counted(len(accepted), 'case')} of {agent} in {folder}")
    if with_promptfoo:
        path = folder / f"promptfoo-{agent}.yaml"
        path.write_text(promptfoo.configuration(accepted, agent, str(folder)), "utf-8")
        click.echo(f"promptfoo eval -c {path}  (LASTGOOD_CASES_BUNDLE names the bundle)")


@cases.command("run")
@click.argument("agent")
@click.argument("bundle")
@click.option("--folder", default="", help="Case files beside the store's.")
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1, 64),
              help="Processes that replay at the same time.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@environment_option
@replay_options
def run(agent: str, bundle: str, folder: str, workers: int, as_json: bool, environment: str,  # noqa: FBT001
        **given: Any) -> None:  # fmt: skip
    """Run the cases of AGENT on a registered BUNDLE, as preflight does; ends with 1 where one fails."""
    options = regression.Options(
        folder, live=given["live"], usd=given["usd"], workers=workers, timeout_s=given["timeout"],
        replay=given["replay"],
    )  # fmt: skip
    report = regression.run(store(), agent, environment, bundle, options)
    if as_json:
        click.echo(json.dumps(json.loads(report.to_json()), ensure_ascii=False, indent=2))
    else:
        click.echo(report.headline)
        for one in report.failing:
            click.echo(f"  {one.name}: {'; '.join(one.why)}")
    if not report.passed:
        raise SystemExit(1)


@cases.command("play", context_settings={"ignore_unknown_options": True})
@click.argument("file", type=click.Path(exists=True, path_type=Path))
@click.argument("case")
@click.argument("rest", nargs=-1, type=click.UNPROCESSED)
@click.option(
    "--bundle", envvar="LASTGOOD_CASES_BUNDLE", default="", help="A bundle.yaml, or a registered bundle."
)
@replay_options
def play(file: Path, case: str, rest: tuple[str, ...], bundle: str, **given: Any) -> None:
    """Replay one CASE of FILE once and print its output and failed checks as JSON; promptfoo calls this."""
    del rest  # promptfoo's own words
    if not bundle:
        raise InvalidInput("no bundle is named: give --bundle, or set LASTGOOD_CASES_BUNDLE")
    found = casing.by_name(casing.read_folder(file), case)
    replay = load(
        str(found.told.get("agent") or "agent"), given["replay"] or str(found.told.get("replay") or "")
    )
    means = Means(Access(live=frozenset(given["live"])), Purse(given["usd"]), given["timeout"])
    played = replay.play(find_bundle(bundle), found.inputs, found.fixtures, means)
    click.echo(json.dumps(promptfoo.answer(found, played), ensure_ascii=False))
