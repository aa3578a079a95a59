"""The command line: `lastgood`.

Each command module is loaded when its command is called, so that a rollback starts fast. Commands that need
the pipeline come in through the entry-point group `lastgood.commands`.
"""

import importlib
import sys
from importlib.metadata import EntryPoint
from typing import Any

import click

from lastgood import pipeline
from lastgood.cli.terminal import plain, printing_plainly
from lastgood.errors import LastgoodError
from lastgood.redaction import excepthook

#: command: module and attribute inside lastgood/cli
_OWN = {
    "init": ("setup", "init"),
    "db": ("setup", "db"),
    "bundle": ("bundles", "bundle"),
    "adopt": ("control", "adopt"),
    "rollback": ("control", "rollback"),
    "kill": ("control", "kill"),
    "clear": ("control", "clear"),
    "stop": ("control", "stop"),
    "rotate-key": ("control", "rotate_key"),
    "promote": ("control", "promote"),
    "approve-code": ("approvals", "approve_code"),
    "cooldown": ("approvals", "cooldown"),
    "readmit": ("control", "readmit"),
    "status": ("show", "status"),
    "run": ("show", "run"),
    "ledger": ("ledger", "ledger"),
    "audit": ("audit", "audit"),
    "token": ("tokens", "token"),
    "link": ("link", "link"),
    "serve": ("serve", "serve"),
    "incident": ("incidents", "incident"),
    "quarantine": ("quarantine", "quarantine"),
}


#: commands that the pipeline's folders give
_GROUP = "lastgood.commands"


def _load(point: EntryPoint) -> click.Command:
    """Load a pipeline command; outside a checkout say so in one line."""
    try:
        if not pipeline.is_here(point):
            raise ModuleNotFoundError(point.module)
        command = point.load()
    except ModuleNotFoundError as error:
        msg = (
            f"`lastgood {point.name}` needs the pipeline ({error}): "
            "run it in a checkout of lastgood, after `make setup`"
        )
        raise click.ClickException(msg) from error
    assert isinstance(command, click.Command)  # noqa: S101  our own entry points
    return command


class Commands(click.Group):
    """The top group: our own commands, and the pipeline's where there is a checkout."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return every command's name."""
        del ctx
        return sorted({*_OWN, *pipeline.given(_GROUP)})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load one command."""
        del ctx
        if cmd_name in _OWN:
            module, attribute = _OWN[cmd_name]
            command: click.Command = getattr(importlib.import_module(f"lastgood.cli.{module}"), attribute)
            return command
        point = pipeline.given(_GROUP).get(cmd_name)
        return _load(point) if point else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands; the pipeline's may be out of reach here."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, self._help(ctx, name)) for name in self.list_commands(ctx)])

    def _help(self, ctx: click.Context, name: str) -> str:
        try:
            command = self.get_command(ctx, name)
        except click.ClickException:
            return "(needs a checkout of lastgood)"
        return command.get_short_help_str(90) if command else ""

    def main(self, *words: Any, **given: Any) -> Any:
        """Run the command line; what it prints is text."""
        with printing_plainly():
            return super().main(*words, **given)

    def invoke(self, ctx: click.Context) -> object:
        """Run a command; an error of ours becomes one line."""
        sys.excepthook = excepthook
        try:
            answer = super().invoke(ctx)
        except LastgoodError as error:
            raise click.ClickException(plain(str(error))) from error
        importlib.import_module("lastgood.cli.telling").tell(ctx.invoked_subcommand)
        return answer


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="lastgood")
def main() -> None:
    """Release AI agents: canary, cap, compare, then promote or put the last known good back.

    The store is named by LASTGOOD_DATABASE (default: .lastgood/lastgood.db here or above), the environment by
    LASTGOOD_ENVIRONMENT (default: production).
    """
