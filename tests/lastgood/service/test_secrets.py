"""Twenty secrets in all that a client can send: none in the store, an answer, a page, an export or a log."""

import io
import json
import logging
import re
from urllib.parse import quote

import pytest
from click.testing import CliRunner

from lastgood import approving, cli, identity, link, releasing
from lastgood.ledger import Entry
from lastgood.link import Link
from lastgood.points import Expect
from lastgood.release import ReleaseState
from lastgood.releasing import Stage
from tests.planted import CORES, PLANTED

pytestmark = pytest.mark.only("sqlite")
BASE = "/v1/agents/support"


@pytest.fixture
def log():
    """All that is logged while a test runs."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    logging.getLogger().addHandler(handler)
    yield written.getvalue
    logging.getLogger().removeHandler(handler)


def none_in(content, where):
    text = content.decode("utf-8", "replace") if isinstance(content, bytes) else content
    assert [name for name, core in CORES.items() if core in text] == [], where


def span(planted, desk, turn):
    texts = {"gen_ai.input.messages": planted, "gen_ai.tool.call.arguments": planted, planted: planted}
    own = {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.name": "support",
        "lastgood.bundle": desk.baseline,
    }
    attributes = [{"key": key, "value": {"stringValue": value}} for key, value in {**own, **texts}.items()]
    now = desk.clock.now_us() * 1_000
    error = [{"key": "exception.message", "value": {"stringValue": planted}}]
    return {
        "traceId": f"{turn + 1:032x}", "spanId": f"{turn + 1:016x}", "name": f"invoke_agent {planted}",
        "startTimeUnixNano": str(now - 1_000_000), "endTimeUnixNano": str(now), "attributes": attributes,
        "events": [{"name": "exception", "attributes": error}], "status": {"code": 2, "message": planted},
    }  # fmt: skip


def tells(service, desk, planted, turn):
    """Everything that an agent sends with free text in it; the answers."""
    run = service.enter(f"u-{turn}")
    mine = {"run": run["run"], "token": run["token"]}
    body = {**mine, "name": "note", "detail": {"said": planted, planted: [planted]}}
    yield service.post("agent", f"{BASE}/events", body)
    effect = {"kind": "message", "target": f"to {planted}", "undo": {"text": planted}}
    reserved = service.post("agent", f"{BASE}/actions", {**mine, **effect})
    yield reserved
    if reserved.status_code == 200:
        settled = {**mine, "state": "done", "result": {"said": planted}}
        yield service.post("agent", f"{BASE}/actions/{reserved.json()['action']}", settled)
    yield service.lines(f"{BASE}/outcomes", {
        **mine, "status": "failed", "error": f"Refused {planted}", "input": {"text": planted, planted: 1},
        "output": planted, "usage": [{"model": planted}],
    })  # fmt: skip
    yield service.lines(f"{BASE}/reports", {**mine, "edits": 1, "key": planted})
    yield service.lines(f"{BASE}/reports", {**mine, planted: planted})
    sent = {"resourceSpans": [{"scopeSpans": [{"spans": [span(planted, desk, turn)]}]}]}
    yield service.ask("agent", "POST", "/v1/traces", content=json.dumps(sent).encode())


def moves(service, desk, planted):
    """Everything that a person sends with free text in it."""
    said = {"reason": f"see {planted}"}
    for role, path, body in (
        ("operator", "kill", said), ("releaser", "clear", said), ("operator", "stop", said),
        ("releaser", "allow", said), ("operator", "rollback", {**said, "to": planted[:100]}),
        ("approver", "readmit", {**said, "bundle": planted[:100]}),
        ("approver", "approval", {**said, "decision": "promote", "evidence": "0" * 12}),
        ("operator", "incidents/inc_1/close", said),
        ("releaser", "releases", {"candidate": planted[:100], "note": planted}),
    ):  # fmt: skip
        yield service.post(role, f"{BASE}/{path}", body)
    yield service.get("observer", f"{BASE}/runs/{quote(planted, safe='')}")


def form(service, token):
    """The hidden field of the form behind "Revert"."""
    return re.search('name="nonce" value="([^"]+)"', service.get(None, f"/r/{token}/revert").text)[1]


def test_no_secret_of_a_decision_that_is_taken_is_kept(service, desk):
    """What people say when something comes of it: a decision, a revert over a link, a closed incident."""
    for name, planted in PLANTED.items():
        release = desk.live(2_500)
        question = approving.Question("promote", "claimed", not_author=False, lasts_us=3_600_000_000)
        releasing.enter(
            desk.store, release, Stage(f"awaiting {name}", ReleaseState.AWAITING, 0),
            entry=Entry("await", "driver", "the gate is open", release), expect=Expect.of(desk.point),
            also=lambda txn, row, point, question=question: approving.ask(txn, row, point, question),
        )  # fmt: skip
        answers = [
            service.post("approver", f"{BASE}/approval", {"decision": "wait", "reason": f"see {planted}"})
        ]
        holder = Link("support", "production", "ben", desk.clock.now_us() + 10**9)
        token = link.sign(identity.keys(desk.store), holder)
        put_back = {"nonce": form(service, token), "reason": f"see {planted}"}
        answers.append(service.ask(None, "POST", f"/r/{token}/revert", data=put_back))
        for incident in desk.incidents:
            path = f"{BASE}/incidents/{incident.id}/close"
            if incident.open:
                answers.append(service.post("approver", path, {"reason": f"see {planted}"}))
        assert [answer.status_code for answer in answers] == [200, 303, 200], name
        with desk.store.transaction() as txn:
            txn.run("DELETE FROM quarantine")
    for table in ("ledger", "approval", "incident", "release", "notice"):
        for row in desk.all(f"SELECT * FROM {table}"):
            for column, value in dict(row).items():
                none_in(str(value), f"{table}.{column}")


def test_no_planted_secret_is_found_anywhere(service, desk, tmp_path, log, monkeypatch):
    desk.live(5_000)
    for turn, planted in enumerate(PLANTED.values()):
        answers = [*tells(service, desk, planted, turn), *moves(service, desk, planted)]
        assert {200, 204} <= {each.status_code for each in answers}
        for each in answers:
            none_in(each.text, f"the answer of {each.url}")
    token = link.sign(
        identity.keys(desk.store), Link("support", "production", "ben", desk.clock.now_us() + 10**9)
    )
    for role, path in (
        ("observer", f"{BASE}/status"), ("observer", "/v1/agents"), (None, f"/r/{token}"),
        ("observer", "/metrics"), ("auditor", f"{BASE}/ledger"), ("observer", "/support"),
        ("observer", f"{BASE}/releases"),
    ):  # fmt: skip
        none_in(service.get(role, path).text, path)
    monkeypatch.setenv("LASTGOOD_DATABASE", desk.store.url)
    audit = tmp_path / "audit.jsonl"
    exported = CliRunner().invoke(cli.main, ["audit", "export", "support", "--write", str(audit)])
    assert exported.exit_code == 0, exported.output
    none_in(exported.output, "the export's words")
    none_in(log(), "log")
    tables = [row["name"] for row in desk.all("SELECT name FROM sqlite_master WHERE type = 'table'")]
    for table in tables:
        for row in desk.all(f"SELECT * FROM {table}"):
            for column, value in dict(row).items():
                none_in(str(value), f"{table}.{column}")
    desk.store.close()
    files = [each for each in tmp_path.rglob("*") if each.is_file()]
    assert len(files) > 1
    for each in files:
        none_in(each.read_bytes(), each.name)
