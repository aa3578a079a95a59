"""`lastgood plan`: what a policy will see and prove at an agent's traffic, before a release."""

import json
from pathlib import Path

import click

from config.policy import Policy
from lastgood.cli.common import environment_option, store
from lastgood.errors import InvalidInput
from tasks import planned
from tasks.commands.numbers import Number
from tasks.commands.options import (
    columns_option,
    file_of,
    find_policy,
    history_option,
    seed_option,
    variants_option,
)
from tasks.plan_report import answer
from tasks.planned import Known

_EXAMPLES = """\b
lastgood plan default --history support
lastgood plan policy.yaml --history runs.csv --variant v1 --runs-per-day 800
lastgood plan default --history support --write wider.yaml
"""
#: runs a day of a file's agent unless told
_RUNS_PER_DAY = 2_000


@click.command(epilog=_EXAMPLES)
@click.argument("reference", metavar="POLICY")
@history_option
@variants_option
@columns_option
@click.option("--runs-per-day", type=Number(min=0.0, max=1e9, min_open=True),
              help="Eligible runs a day; default: the agent's own of late, of a file 2,000.")  # fmt: skip
@seed_option
@click.option(
    "--write", "target", type=click.Path(path_type=Path, dir_okay=False),
    help="Write the nearest policy that can decide, where POLICY can't, to this YAML file.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@environment_option
def plan_(
    reference: str, history: str | None, variants: tuple[str, ...], columns: dict[str, str],
    runs_per_day: float | None, seed: int, target: Path | None, environment: str, *, as_json: bool,
) -> None:  # fmt: skip
    """Say what a release under POLICY (a file, a built-in or a stored name) will see and prove, and when.

    How many candidate runs and hours until a harm is caught, and until a candidate that is as good as the
    baseline is promoted, at the rates and the traffic of an agent, a file of recorded runs, or the policy's
    own `reference`. Ends with code 1 where the policy can't decide before its horizon.
    """
    if target is not None and target.exists():
        msg = f"{target} exists already; nothing was written. Name a new file"
        raise InvalidInput(msg)
    if target is not None and not target.parent.is_dir():
        raise click.BadParameter(f"there is no folder {target.parent}", param_hint="--write")
    known = _known(find_policy(reference), history, variants, columns, runs_per_day, environment)
    told = answer(known, seed)
    made, proposals = told.plan, told.proposals
    click.echo(json.dumps(told.to_json()) if as_json else "\n".join(told.lines()))
    if target is not None and proposals:
        _write(told.policy(proposals[0]), target)
    if made.problems:
        raise SystemExit(1)


def _known(
    policy: Policy, history: str | None, variants: tuple[str, ...], columns: dict[str, str],
    runs_per_day: float | None, environment: str,
) -> Known:  # fmt: skip
    file = file_of(history, variants, columns)
    if file is not None:
        return planned.from_file(file, variants, columns, policy, runs_per_day or _RUNS_PER_DAY)
    if history is None:
        return planned.from_references(policy, runs_per_day or _RUNS_PER_DAY)
    return planned.from_agent(store(), history, environment, policy, runs_per_day)


def _write(policy: Policy, target: Path) -> None:
    import yaml

    data = policy.model_dump(mode="json", by_alias=True)
    text = f"# proposed by `lastgood plan`\n{yaml.safe_dump(data, sort_keys=False, allow_unicode=True)}"
    target.write_text(text, encoding="utf-8")
    click.echo(f"wrote policy {policy.name} to {target}", err=True)


__all__ = ["plan_"]
