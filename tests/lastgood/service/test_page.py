"""The page for 3 a.m.: it shows, it asks, and only its form acts."""

import logging
import re
from html.parser import HTMLParser
from urllib.parse import urljoin

import pytest

from lastgood import control, identity
from lastgood import link as links
from lastgood.link import Link
from lastgood.service.page import Unsaid
from tests.injections import INJECTIONS, STEERING

#: what the store does on either kind is tried beneath this layer
pytestmark = pytest.mark.only("sqlite")
HOUR = 3_600_000_000


@pytest.fixture
def link(desk):
    """The path of a link for ben."""

    def make(agent="support", lasts_us=HOUR):
        until = desk.clock.now_us() + lasts_us
        keys = identity.keys(desk.store)
        return f"/r/{links.sign(keys, Link(agent, 'production', 'ben', until))}"

    return make


class Seen(HTMLParser):
    """Links, hidden fields, tags and text of a page."""

    def __init__(self, text):
        super().__init__()
        self.links, self.fields, self.tags, self.words = [], {}, [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        named = dict(attrs)
        self.tags.append(tag)
        if tag == "a":
            self.links.append(named["href"])
        if tag == "form":
            self.action = named["action"]
        if tag == "input":
            self.fields[named["name"]] = named.get("value", "")

    def handle_data(self, data):
        self.words += data.split()

    @property
    def text(self):
        return " ".join(self.words)


def opened(service, path):
    answer = service.get(None, path)
    assert answer.status_code == 200, answer.text
    return Seen(answer.text)


def send(service, path, **fields):
    return service.ask(None, "POST", path, data=fields)


def test_the_page_says_who_serves_why_and_what_is_live(service, desk, link):
    desk.live(2_500)
    said = opened(service, link()).text
    for part in ("b-" + desk.baseline[:8], "b-" + desk.candidate[:8], "vouched", "adopt: the first", "25% of",
                 "60 min left", "canary", "epoch 2"):  # fmt: skip
        assert part in said
    assert "Done." not in said


def test_the_last_seconds_of_a_lease_are_told_in_seconds(service, desk, link):
    desk.serve(desk.start(), 2_500, lease_us=25_000_000)
    assert re.search(r"\b2[0-5] s left", opened(service, link()).text)


def test_opening_any_page_changes_nothing(service, desk, link):
    desk.live(2_500)
    before, path = desk.all("SELECT * FROM ledger"), link()
    for each in (path, f"{path}/revert"):
        for method in ("GET", "HEAD", "OPTIONS"):
            service.ask(None, method, each)
    assert desk.all("SELECT * FROM ledger") == before


def test_the_form_puts_the_last_known_good_back_and_the_ledger_names_the_holder(service, desk, link):
    desk.live(2_500)
    path = link()
    confirm = urljoin(path, opened(service, path).links[0])
    form = opened(service, confirm)
    action = urljoin(confirm, form.action)
    answer = send(service, action, **{**form.fields, "reason": "3 a.m."})
    assert answer.status_code == 303
    assert urljoin(action, answer.headers["Location"]) == path
    assert desk.point.release_id is None
    [entry] = desk.all("SELECT * FROM ledger WHERE action = 'revert'")
    assert (entry["actor"], entry["reason"]) == ("ben (revert link)", "3 a.m.")
    after = opened(service, path)
    assert "Done." in after.text
    assert "the ledger names ben" in after.text


def test_the_same_form_again_does_nothing_more(service, desk, link):
    desk.promote(desk.live())
    desk.live(2_500, candidate=desk.register("third"))
    path = f"{link()}/revert"
    fields = opened(service, path).fields
    assert send(service, path, **fields).status_code == 303
    before = desk.point
    again = send(service, path, **fields)
    assert (again.status_code, "Nothing was done" in again.text) == (409, True)
    assert desk.point == before


def test_a_form_for_what_was_seen_does_not_act_on_what_came_since(service, desk, link):
    release_id = desk.live(2_500)
    path = f"{link()}/revert"
    fields = opened(service, path).fields
    desk.serve(release_id, 5_000)
    assert send(service, path, **fields).status_code == 409
    assert desk.point.release_id == release_id


@pytest.mark.parametrize("fields", [{}, {"nonce": "1.x"}, {"nonce": ""}])
def test_a_post_without_a_form_does_nothing(service, desk, link, fields):
    release_id = desk.live(2_500)
    assert send(service, f"{link()}/revert", **fields).status_code == 409
    assert desk.point.release_id == release_id


def test_a_form_of_another_link_does_nothing(service, desk, link):
    release_id = desk.live(2_500)
    fields = opened(service, f"{link()}/revert").fields
    assert send(service, f"{link(lasts_us=HOUR // 2)}/revert", **fields).status_code == 409
    assert desk.point.release_id == release_id


def test_a_form_that_was_open_for_long_does_nothing(service, desk, link):
    release_id = desk.live(2_500)
    path = f"{link()}/revert"
    fields = opened(service, path).fields
    desk.clock.advance(links.FORM_US + 1)
    assert send(service, path, **fields).status_code == 409
    assert desk.point.release_id == release_id


def test_without_a_release_it_says_that_the_baseline_itself_would_go(service, desk, link):
    path = link()
    assert "Nothing to go back to" in opened(service, path).text
    desk.promote(desk.live())
    form = opened(service, f"{path}/revert")
    assert "would be replaced" in form.text
    assert send(service, f"{path}/revert", **form.fields).status_code == 303
    assert desk.point.baseline == desk.baseline


def test_an_expired_link_is_refused_and_in_the_ledger(service, desk, link):
    desk.live(2_500)
    path = link()
    desk.clock.advance(HOUR)
    for answer in (
        service.get(None, path),
        service.get(None, f"{path}/revert"),
        send(service, f"{path}/revert"),
    ):
        assert (answer.status_code, "has expired" in answer.text) == (403, True)
    [entry] = desk.all("SELECT * FROM ledger WHERE action = 'refused'")
    assert entry["actor"] == "ben (revert link)"


@pytest.mark.parametrize("token", ["x", "lgl1.k.e30.x", "..%2F..", "%00", "x" * 5_000])
def test_what_is_no_link_tells_nothing(service, desk, token):
    for answer in (service.get(None, f"/r/{token}"), send(service, f"/r/{token}/revert")):
        assert answer.status_code in {403, 404}
        assert desk.baseline[:8] not in answer.text


def test_a_link_to_an_agent_that_is_gone_says_so(service, link):
    assert service.get(None, link("coder")).status_code == 404


def test_a_link_opens_nothing_else(service, link):
    token = link().removeprefix("/r/")
    for path in ("/v1/agents/support", "/support", "/v1/agents/support/ledger"):
        assert service.get(None, path, headers={"Authorization": f"Bearer {token}"}).status_code == 401
    headers = {"Authorization": f"Bearer {token}"}
    assert service.post(None, "/v1/agents/support/kill", {}, headers=headers).status_code == 401


def test_what_people_and_runs_wrote_is_text(service, desk, link):
    nasty = """<script>alert(1)</script><img src=x onerror="x">'"&{{ 7*7 }}"""
    control.kill(desk.store, "support", "production", actor=nasty, reason=nasty)
    control.stop(desk.store, "support", "production", actor=nasty, reason=nasty)
    text = service.get(None, link()).text
    seen = Seen(text)
    assert {"script", "img"} & set(seen.tags) == set()
    assert seen.text.count("{{ 7*7 }}") >= 4


@pytest.mark.parametrize("name", INJECTIONS)
def test_no_text_is_more_than_text_on_any_page(service, desk, link, name):
    desk.live(2_500)
    pages = (link(), f"{link()}/revert")
    honest = [Seen(service.get(None, page).text).tags for page in pages]
    said = INJECTIONS[name]
    for turn in range(2):
        if turn:
            control.rollback(desk.store, "support", "production", actor=f"m{said}", reason=said)
        control.stop(desk.store, "support", "production", actor=f"m{said}", reason=said)
        control.kill(desk.store, "support", "production", actor=f"m{said}", reason=said)
        for page, tags in zip(pages, honest, strict=True):
            answer = service.get(None, page)
            assert set(Seen(answer.text).tags) <= {*tags, "strong", "br", "small"}
            assert STEERING.findall(answer.text) == []
    shown = Seen(service.get(None, pages[0]).text).text
    assert [word for word in re.findall(r"[a-z]{4,}", said) if word not in shown] == []
    assert "49" not in shown.split()


def test_the_page_needs_and_allows_no_script(service, desk, link):
    answer = service.get(None, link())
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert (answer.headers["Cache-Control"], answer.headers["Referrer-Policy"]) == ("no-store", "no-referrer")
    assert "script" not in Seen(answer.text).tags
    assert len(answer.content) < 8_000


def test_a_token_that_may_read_sees_the_page_without_the_way_back(service, desk):
    desk.live(2_500)
    seen = Seen(service.get("observer", "/support").text)
    assert "b-" + desk.baseline[:8] in seen.text
    assert seen.links == []
    assert service.get("agent", "/support").status_code == 403
    assert service.get(None, "/support").status_code == 401
    assert service.get("observer", "/coder").status_code == 404


def test_a_control_point_that_was_edited_is_said_and_can_be_put_back(service, desk, link):
    desk.live(2_500)
    desk.hand("UPDATE control_point SET share_bp = 10000")
    path = f"{link()}/revert"
    assert "was changed behind the pipeline's back" in opened(service, link()).text
    assert send(service, path, **opened(service, path).fields).status_code == 303
    assert (desk.point.share_bp, desk.point.candidate) == (0, None)


def test_the_access_log_holds_no_link():
    record = logging.LogRecord(
        "uvicorn.access", logging.INFO, "", 0, '%s - "%s %s HTTP/%s" %d',
        ("127.0.0.1:1", "GET", "/r/lgl1.k.e30.x/revert?a=1", "1.1", 200), None,
    )  # fmt: skip
    assert Unsaid().filter(record)
    assert re.search(r"GET /r/\.\.\./revert\?a=1 HTTP/1.1", record.getMessage())
