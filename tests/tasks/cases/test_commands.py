"""`lastgood cases` and `lastgood bisect`, from a failing run to files in a team's repository."""

import json

import pytest
from click.testing import CliRunner

from lastgood import cases
from lastgood.cli import main


@pytest.fixture
def call(shop):
    def run(*words, code=0):
        found = CliRunner().invoke(main, [*map(str, words)])
        assert found.exit_code == code, found.output
        return found.output

    return run


@pytest.fixture
def made(shop, call):
    """The name of a proven case."""
    shop.bad = shop.register(wrapper="broken")
    run = shop.fail(shop.bad)
    shop.inc = shop.incident(shop.bad)
    output = call("cases", "make", shop.inc, "--run", run, "--replay", f"{shop.module}:replay")
    assert "admitted (failed 5 and passed 5 of 5 pairs" in output
    return output.split()[1].rstrip(":")


def test_making_names_the_good_bundle_by_itself_and_lists_what_was_made(call, made):
    assert made in call("cases", "list", "support")
    shown = call("cases", "show", made)
    assert "NoMalformedCalls" in shown
    assert "review pending" in shown


def test_nothing_leaves_the_store_before_a_person_read_it(shop, call, made):
    assert "none leaves the store unread" in call("cases", "export", "support", "cases", code=1)
    assert not (shop.folder / "cases").exists()
    assert f"{made}: accepted by ann" in call("cases", "accept", made)
    call("cases", "export", "support", "cases", "--promptfoo")
    found = cases.read_folder(shop.folder / "cases")
    assert [case.name for case in found] == [made]
    assert (shop.folder / "cases" / "promptfoo-support.yaml").exists()


def test_a_case_is_run_on_a_bundle_as_preflight_does(shop, call, made):
    assert "passes 1 of 1" in call("cases", "run", "support", shop.good)
    assert "NoMalformedCalls" in call("cases", "run", "support", shop.bad, code=1)
    report = json.loads(call("cases", "run", "support", shop.good, "--json"))
    assert [one["name"] for one in report["results"]] == [made]


@pytest.mark.parametrize(
    ("option", "value"),
    [("--workers", 0), ("--usd", "nan"), ("--usd", -1), ("--timeout", 0), ("--timeout", "inf")],
)
def test_what_no_replay_can_do_is_refused_by_its_option(shop, call, made, option, value):
    assert f"Invalid value for '{option}'" in call(
        "cases", "run", "support", shop.good, option, value, code=2
    )


def test_what_promptfoo_calls_prints_the_replay(shop, call, made):
    call("cases", "accept", made)
    call("cases", "export", "support", "cases")
    words = ("cases", "play", "cases", made, '{"config": {}}', '{"vars": {}}')
    found = json.loads(call(*words, "--bundle", shop.good))
    assert (found["output"], found["passed"], found["failed"]) == ("it was sent", True, {})
    found = json.loads(call(*words, "--bundle", shop.bad))
    assert found["failed"].keys() == {"0 Completes", "1 NoMalformedCalls"}
    assert "no bundle is named" in call(*words, code=1)


def test_an_edited_case_is_proven_and_a_worse_one_says_why(shop, call, made):
    file = shop.folder / "edited.yaml"
    text = call("cases", "show", made)
    text = text[text.index("name:") :]
    file.write_text(text.replace("- NoMalformedCalls\n", ""))
    assert "admitted" in call("cases", "edit", made, file)
    file.write_text(text.replace("- Completes\n", "").replace("- NoMalformedCalls\n", "- Validates\n", 1))
    file.write_text(file.read_text().replace("Validates", "NotEscalated"))
    assert "candidate; it passes on both bundles" in call("cases", "edit", made, file)
    assert "not proven" in call("cases", "accept", made, code=1)


def test_a_case_is_recorded_again_and_rejected(shop, call, made):
    assert "admitted" in call("cases", "record", made, "--fresh")
    assert "admitted" in call("cases", "prove", made, "--pairs", "8")
    assert "rejected by ann" in call("cases", "reject", made, "-m", "it is about nothing")
    assert "there is no regression case" in call("cases", "run", "support", shop.bad)


def test_an_incident_brings_its_groups_bundles_and_the_profiles_replay(shop, call):
    bad = shop.register(wrapper="broken")
    for unit in ("u-1", "u-2"):
        shop.fail(bad, unit)
    incident = shop.incident(bad, f"on-{bad[:8]}")
    file = shop.folder / "agent.yaml"
    file.write_text(f"agent: support\nreplay: {shop.module}:replay\n")
    call("agent", "set", file)
    output = call("cases", "make", incident)
    assert output.count("admitted") == 1  # both runs failed the same way
    assert output.split()[1].startswith("malformedcall")


def test_an_incident_without_failing_runs_says_so(shop, call):
    incident = shop.incident(shop.register(wrapper="broken"))
    assert "none of the 0 runs" in call("cases", "make", incident, code=1)


def test_an_agents_runs_have_to_be_named(call):
    assert "give failing runs with --run" in call("cases", "make", "support", code=1)


def test_bisect_names_the_part(shop, call, made):
    assert call("bisect", shop.inc).splitlines()[-1] == "at fault: tools"
    assert json.loads(call("bisect", made, "--json"))["layer"] == "tools"


def test_what_is_not_there_is_one_line(call, made):
    assert "no case 'nothing'; see `lastgood cases list`" in call("cases", "show", "nothing", code=1)
    assert "no regression case to bisect with" in call("bisect", "inc_9", code=1)
