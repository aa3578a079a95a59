"""Text of runs and people is data: it is shown as it is, and nobody obeys it."""

import html
import json
import re
from dataclasses import replace

import pytest
from click.testing import CliRunner
from markdown_it import MarkdownIt

from lastgood import cli, releasing
from lastgood.cli.terminal import plain
from lastgood.releasing import Ending
from lastgood.running import Run
from tasks import judges, recovery_report, report, transports
from tests.injections import INJECTIONS, STEERING


def rendered(markdown):
    """Markdown as a viewer shows it that lets HTML through."""
    return MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(markdown)


@pytest.mark.parametrize("cell", [report.escaped, recovery_report._plain])
@pytest.mark.parametrize("name", INJECTIONS)
def test_a_cell_of_a_report_is_one_cell_of_text(cell, name):
    shown = rendered(f"| a | b |\n|---|---|\n| {cell(INJECTIONS[name])} | end |\n")
    tags = set(re.findall(r"</?\s*([a-zA-Z!][\w-]*)", shown))
    assert tags <= {"table", "thead", "tbody", "tr", "th", "td"}
    assert re.findall(r"<td>", shown) == ["<td>"] * 2
    words = re.findall(r"\w{4,}", INJECTIONS[name])
    assert [word for word in words if word not in html.unescape(shown)] == []


@pytest.mark.parametrize("name", list(INJECTIONS)[:10])
def test_the_report_of_a_release_shows_what_a_person_said(world, name):
    evil = INJECTIONS[name].replace("\x00", "")
    release_id = world.start()
    releasing.revert(world.store, release_id, Ending("mallory", evil or "-", by="hand"))
    shown = rendered(report.build(world.store, release_id).markdown)
    assert not re.search(r"<(script|a|del)\b|onerror=\"|javascript:alert\(1\)\"", shown)
    assert [src for src in re.findall(r'<img src="([^"]*)', shown) if not src.startswith("data:")] == []
    assert "<h1>Promoted" not in shown


def test_nothing_that_a_command_prints_steers_the_terminal(world, monkeypatch):
    monkeypatch.setenv("LASTGOOD_DATABASE", world.store.url)
    runner, status = CliRunner(), []

    def said(*words):
        shown = runner.invoke(cli.main, words).output
        assert not STEERING.search(shown), words
        return shown

    for evil in (text.replace("\x00", "") for text in INJECTIONS.values()):
        with Run(world.store, world.assign(unit=f"unit {evil}")) as run:
            run.output = {"said": evil}
            run.report(completed=True)
        said("kill", "support", "-m", evil)
        status.append(said("status", "support"))
        said("clear", "support", "-m", "shown")
        said("run", "show", evil)
        said("run", "show", run.id)
        assert json.loads(said("run", "show", run.id, "--json"))["unit"] == f"unit {evil}"
    assert "\\u001b]0;owned\\u0007" in "".join(status)


@pytest.mark.parametrize("name", INJECTIONS)
def test_a_message_to_slack_mentions_and_links_nobody(name):
    assert not set(transports._plain(INJECTIONS[name])) & set("<>")


def test_plain_text_stays_as_it_is():
    text = "Größe 7\tµs \u200fשלום\u200f 🚀\n"  # noqa: RUF001  Hebrew, with the marks that it needs
    assert plain(text) == text


@pytest.mark.parametrize("name", INJECTIONS)
def test_a_referee_gets_data_and_a_run_that_writes_its_own_verdict_gets_no_mark(name):
    """What a referee returns is a mark or nothing: a text that it was talked into repeating is refused."""
    got = []
    asked = judges.Judge(lambda given, made: got.append((given, made)) or made["said"], "d" * 64, 5.0)
    answered = asked.judge({"question": "?"}, {"said": INJECTIONS[name]})
    assert got == [({"question": "?"}, {"said": INJECTIONS[name]})]
    assert not isinstance(answered.mark, bool | int | float)
    assert replace(answered).usd is None
