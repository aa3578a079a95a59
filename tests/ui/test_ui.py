"""Releases as people make them: in the browser, by forms, watched in the run's page."""

import json
import re

import pytest

from tests.flows.served import PATIENCE, wait_for
from tests.ui.conftest import SHOTS

pytestmark = [pytest.mark.ui, pytest.mark.prefect]
#: seconds in which a click sends something, and how often it is made
CLICK_S, CLICKS = 5, 12
#: what the server answers while another writer has its SQLite
BUSY = 503


def shot(page, name):
    """Keep what is shown."""
    page.wait_for_timeout(1_500)  # pictures slide in
    page.screenshot(path=SHOTS / f"{name}.png")


def open_form(page, place, deployment):
    """From the first page to a deployment's form, by the links that a person follows."""
    page.goto(place.url.removesuffix("/api"))
    page.get_by_role("link", name="Deployments", exact=True).click()
    page.get_by_placeholder("Search deployments").fill(deployment)
    page.wait_for_url("**flowOrDeploymentName**")
    page.get_by_role("link", name=deployment, exact=True).first.click()
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Custom run").click()


def choose(page, field, option):
    """Pick from a list of the form: the newest that begins so."""
    page.get_by_label(f"Select {field}").click()
    page.get_by_role("option", name=option).first.click()


def write(page, field, text):
    """Fill in a field of the form."""
    page.get_by_label(field).first.fill(text)


def press(page, button, path):
    """Press a button that sends a form; return what the server answers.

    A form that is just validating itself loses a click: nothing is sent, and it is pressed again; so it is
    where the server was too busy to take it (503). What was taken is never sent twice.
    """
    from playwright.sync_api import TimeoutError as Nothing

    for _ in range(CLICKS):
        try:
            with page.expect_request(f"**/{path}", timeout=CLICK_S * 1_000) as sent:
                button.click()
        except Nothing:
            continue
        answer = sent.value.response()
        if answer.status == BUSY:
            continue
        assert answer.ok, answer.text()
        return answer
    raise AssertionError(f"{CLICKS} clicks came to nothing; the page says: {page.inner_text('body')[-2000:]}")


def submit(page):
    """Send the form and go to its run."""
    ui = page.url.partition("/deployments/")[0]
    made = press(page, page.get_by_role("button", name="Submit"), "create_flow_run").json()
    page.get_by_text("View run").first.wait_for()
    page.goto(f"{ui}/runs/flow-run/{made['id']}")


def state(page, *names):
    """Wait until the run's badge says one of these."""
    shown = page.get_by_text(names[0], exact=True)
    for name in names[1:]:
        shown = shown.or_(page.get_by_text(name, exact=True))
    shown.first.wait_for(timeout=PATIENCE * 1000)
    return shown.first.inner_text()


def release(page, place, agent, candidate, policy, note):
    """Start a release by its form."""
    open_form(page, place, "release")
    choose(page, "Agent", agent)
    choose(page, "Candidate", place.short[candidate])
    choose(page, "Policy", policy)
    write(page, "Note", note)


def test_a_regression_is_released_by_the_form_and_seen_to_revert(page, place):
    release(page, place, "coder", "gpt-4o-paper", "quick", "a cheaper model")
    shot(page, "form")
    write(page, "Note", "x" * 501)
    page.get_by_role("button", name="Submit").click()
    page.get_by_text("is too long").first.wait_for()
    write(page, "Note", "a cheaper model")
    submit(page)
    assert state(page, "Reverted", "Promoted", "Refused", "Failed", "Crashed") == "Reverted"
    title = f"release coder {place.short['claude-45sonnet'][:6]} -> {place.short['gpt-4o-paper'][:6]}"
    assert page.get_by_text(title).first.is_visible()
    page.reload()  # the graph of a run that ended is drawn to fit
    page.get_by_role("tab", name="Artifacts").click()
    card = page.get_by_role("link").filter(has_text="MARKDOWN").first
    card.wait_for()
    shot(page, "reverted")
    card.click()
    page.get_by_role("link", name=re.compile("^[0-9a-f]{8}$")).first.click()  # of its versions the newest
    page.get_by_text("REVERTED: completion is worse").first.wait_for()
    page.get_by_role("cell", name="completion").first.wait_for()
    shot(page, "report")
    assert place.run("lastgood release status coder").startswith("REVERTED: completion is worse")


def test_an_improvement_waits_for_a_person_whose_form_promotes_it(page, place):
    release(page, place, "fixer", "claude-45sonnet", "asking", "solves more")
    submit(page)
    assert state(page, "Suspended", "Reverted", "Refused", "Failed", "Crashed") == "Suspended"
    asked = place.run("lastgood status fixer")
    assert "asked        promote" in asked

    shown = place.run(f"lastgood bundle show {place.short['claude-45sonnet']} --json")
    before = shown_state(page, place)["id"]
    answer(page, who=json.loads(shown)["author"], reason="it is mine")
    assert wait_for(lambda: is_suspended_again(shown_state(page, place), before), PATIENCE), place.logs()
    page.reload()
    state(page, "Suspended")
    open_answer(page).get_by_text("wants somebody else to approve it").wait_for()
    shot(page, "not-taken")
    page.get_by_role("button", name="Cancel").click()
    assert "asked        promote" in place.run("lastgood status fixer")

    answer(page, who="bea", reason="more tasks are solved", name="approval")
    assert state(page, "Promoted", "Reverted", "Failed", "Crashed") == "Promoted"
    shot(page, "promoted")
    said = place.run("lastgood release status fixer")
    assert said.startswith("PROMOTED")
    assert "bea" in place.run("lastgood status fixer")


def open_answer(page):
    """Open the form of a suspended run."""
    page.get_by_role("button", name="Open menu").first.click()
    page.get_by_role("menuitem", name="Resume").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("Asked: the promotion until").wait_for()
    return dialog


def answer(page, who, reason, name=""):
    """Promote by the form of a suspended run."""
    dialog = open_answer(page)
    dialog.get_by_label("Select Decision").click()
    page.get_by_role("option", name="promote").click()
    dialog.get_by_label("Who").fill(who)
    dialog.get_by_label("Reason").fill(reason)
    if name:
        shot(page, name)
    press(page, dialog.get_by_role("button", name="Resume"), "resume")


def is_suspended_again(now, before):
    """Whether a run came back and waits once more; states have ids."""
    return now["name"] == "Suspended" and now["id"] != before


def shown_state(page, place):
    """The state of the run that the page shows."""
    run = page.url.partition("/flow-run/")[2].partition("?")[0]
    return place.ask("GET", f"/flow_runs/{run}")["state"]


def test_a_rollback_is_pressed(page, place):
    open_form(page, place, "rollback")
    choose(page, "Agent", "fixer")
    write(page, "Reason", "a customer complains")
    submit(page)
    assert state(page, "Completed", "Refused", "Failed", "Crashed") == "Completed"
    shot(page, "rollback")
    good = place.short["gpt-5-250-turns"]
    assert wait_for(lambda: f"baseline     {good}" in place.run("lastgood status fixer"), 20)
