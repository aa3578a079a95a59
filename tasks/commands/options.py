"""Options that the commands on recorded runs share, and what they read."""

from pathlib import Path

import click

from config.document import SUFFIXES
from config.policy import Policy, built_in
from lastgood.cli.common import store
from lastgood.errors import InvalidPolicy, InvalidRuns, StoreUnavailable
from tasks import preflight, recorded


def pairs_of(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> dict[str, str]:
    """`completed=success` as a pair: the file's own name of a column by the known one."""
    pairs = [given.partition("=") for given in value]
    for given, (known, _, source) in zip(value, pairs, strict=True):
        if not known.strip() or not source.strip():
            raise click.BadParameter(f"{given!r} should read completed=NAME", ctx, param)
    return {known.strip(): source.strip() for known, _, source in pairs}


columns_option = click.option(
    "--column",
    "columns",
    metavar="KNOWN=NAME",
    multiple=True,
    callback=pairs_of,
    help="Read a file's column from another.",
)
history_option = click.option(
    "--history", metavar="FILE|AGENT", help="Recorded runs, or an agent whose baseline's runs count."
)
variants_option = click.option(
    "--variant", "variants", metavar="V", multiple=True, help="Of a file: what serves now."
)
seed_option = click.option(
    "--seed", default=0, show_default=True, type=click.IntRange(min=0), help="Of all that is drawn."
)


def file_of(history: str | None, variants: tuple[str, ...], columns: dict[str, str]) -> Path | None:
    """The file that `--history` names, None where it names none.

    Raises InvalidRuns where options of files stand beside an agent, or beside nothing.
    """
    if history is not None and history.endswith(recorded.SUFFIXES):
        return Path(history)
    if variants or columns:
        what = "no --history was given" if history is None else f"{history} is an agent"
        raise InvalidRuns(
            f"{what}; --variant and --column are for files of recorded runs: name one with --history"
        )
    return None


def find_policy(reference: str) -> Policy:
    """Return a policy by a file's path, a built-in name, or the name or digest of a stored one.

    Needs no store: where there is none, only stored policies are unknown. Raises InvalidPolicy or NotFound.
    """
    if reference.endswith(SUFFIXES):
        return Policy.load(Path(reference))
    if reference in built_in():
        return Policy.builtin(reference)
    try:
        with store().reading() as txn:
            return preflight.find_policy(txn, reference)
    except StoreUnavailable as error:
        msg = (
            f"no policy {reference!r} is built in, and stored ones can't be looked up: {error};"
            " a file's name ends in .yaml"
        )
        raise InvalidPolicy(msg) from error


__all__ = [
    "columns_option",
    "file_of",
    "find_policy",
    "history_option",
    "pairs_of",
    "seed_option",
    "variants_option",
]
