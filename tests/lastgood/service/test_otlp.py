"""Telemetry over OTLP: what is attributed, what is evidence, and what is only counted."""

import gzip
import json

import pytest

from lastgood import agent as agents
from lastgood import registry, traces
from lastgood.bundle import Bundle, Part

#: what the store does on either kind is tried beneath this layer; where a mark says so, here
pytestmark = pytest.mark.only("sqlite")
both = pytest.mark.only("sqlite", "postgres")
TOOLS = [
    {"name": "send", "kind": "message", "target": "to", "undo": "retract"},
    {"name": "retract"},
    {"name": "search"},
]


def value(given):
    if isinstance(given, bool):
        return {"boolValue": given}
    if isinstance(given, int):
        return {"intValue": str(given)}
    return {"doubleValue": given} if isinstance(given, float) else {"stringValue": given}


def attributes(given):
    return [{"key": key, "value": value(each)} for key, each in given.items()]


class Sender:
    """An exporter of one trace, at the store's time."""

    def __init__(self, service, desk, trace=1):
        self.service, self.desk, self.trace = service, desk, f"{trace:032x}"

    def span(self, number, name, parent=0, events=(), status=0, ago_s=1, **given):
        end = (self.desk.clock.now_us() - ago_s * 1_000_000) * 1_000
        return {
            "traceId": self.trace,
            "spanId": f"{number:016x}",
            "parentSpanId": f"{parent:016x}" if parent else "",
            "name": name,
            "startTimeUnixNano": str(end - 2_000_000_000),
            "endTimeUnixNano": str(end),
            "attributes": attributes({key.replace("__", "."): each for key, each in given.items()}),
            "events": [
                {"name": event, "timeUnixNano": str(end), "attributes": attributes(held)}
                for event, held in events
            ],
            "status": {"code": status},
        }

    def agent(self, number=1, **given):
        return self.span(number, "invoke_agent support", gen_ai__agent__name="support", **given)

    def send(self, *spans, role="agent", **more):
        request = {"resourceSpans": [{"resource": {}, "scopeSpans": [{"spans": list(spans)}]}]}
        return self.service.post(role, "/v1/traces", request, **more)


@pytest.fixture
def sender(service, desk):
    return Sender(service, desk)


@pytest.fixture
def declared(desk):
    """A bundle of the agent that declares tools."""
    parts = [Part.of_value("tools", "2", TOOLS), *registry.load(desk.store, desk.baseline).bundle.parts]
    kept = {part.kind: part for part in reversed(parts)}
    record = registry.register(desk.store, "support", Bundle(list(kept.values())), author="ann")[0]
    return record.bundle.id


def runs(desk):
    return desk.all("SELECT * FROM run ORDER BY seq")


def unmapped(desk):
    with desk.store.reading() as txn:
        return traces.unmapped(txn, "support", "production")


def test_a_run_of_spans_alone_is_attributed_to_its_bundle_and_is_no_evidence(sender, desk):
    root = sender.agent(
        gen_ai__agent__version=desk.baseline, gen_ai__conversation__id="c-1", lastgood__validated=True
    )
    call = sender.span(
        2, "chat", 1, gen_ai__request__model="small", gen_ai__response__model="small-0519",
        gen_ai__usage__input_tokens=1_000_000, gen_ai__usage__output_tokens=500_000,
    )  # fmt: skip
    assert sender.send(call, root).json() == {}
    [run] = runs(desk)
    assert (run["bundle_id"], run["arm"], run["reason"]) == (desk.baseline, "observed", "telemetry")
    assert (run["eligible"], run["block"], run["release_id"], run["unit"]) == (False, None, None, "c-1")
    [outcome] = desk.all("SELECT * FROM outcome")
    assert (outcome["completed"], outcome["validated"], outcome["latency_s"]) == (True, True, 2.0)
    assert outcome["cost_usd"] == 2.0
    assert json.loads(outcome["usage"])[0]["model"] == "small-0519"
    assert unmapped(desk) == {}


@pytest.mark.parametrize("attribute", ["lastgood__bundle", "gen_ai__agent__version"])
def test_a_bundle_may_be_named_by_its_short_form(sender, desk, attribute):
    sender.send(sender.agent(**{attribute: f"b-{desk.candidate[:8]}"}))
    assert [run["bundle_id"] for run in runs(desk)] == [desk.candidate]


@both
def test_a_run_that_the_router_assigned_is_found_by_its_name_and_is_evidence(sender, service, desk):
    release = desk.live(share_bp=10_000)
    service.settled()
    entered = service.evaluate(role="agent", targetingKey="job-7").json()["metadata"]
    flag = {"feature_flag.key": "support", "feature_flag.context.id": "job-7"}
    root = sender.agent(events=[("feature_flag.evaluation", flag)], status=2, error__type="Timeout")
    assert sender.send(root).json() == {}
    [run] = runs(desk)
    assert (run["id"], run["release_id"], run["arm"]) == (entered["run"], release, "candidate")
    [outcome] = desk.all("SELECT * FROM outcome")
    assert (outcome["status"], outcome["completed"], outcome["error"]) == ("failed", False, "Timeout")
    assert desk.one("SELECT sum(runs) AS n FROM tally")["n"] == 1


def test_a_run_that_is_named_by_its_id_brings_its_token(sender, service, desk):
    run = service.enter()
    said = sender.send(sender.agent(lastgood__run=run["run"], lastgood__token="lg1.forged")).json()
    assert said["partialSuccess"]["rejectedSpans"] == "1"
    assert "not signed here" in said["partialSuccess"]["errorMessage"]
    assert desk.all("SELECT * FROM outcome") == []
    assert sender.send(sender.agent(2, lastgood__run=run["run"], lastgood__token=run["token"])).json() == {}
    assert [row["run_id"] for row in desk.all("SELECT * FROM outcome")] == [run["run"]]


@both
def test_tools_with_an_effect_and_memory_writes_become_actions_with_what_undoes_them(sender, desk, declared):
    call = {"gen_ai__tool__name": "send", "gen_ai__tool__call__arguments": '{"to": "c-17"}'}
    sent = sender.send(
        sender.span(2, "execute_tool send", 1, **call),
        sender.span(3, "execute_tool search", 1, gen_ai__tool__name="search"),
        sender.span(4, "upsert_memory", 1, gen_ai__memory__record__id="note-3"),
        sender.span(5, "execute_tool fly", 1, gen_ai__tool__name="fly"),
        sender.agent(lastgood__bundle=declared),
    )
    assert sent.json() == {}
    found = desk.all("SELECT kind, target, state, undo FROM action ORDER BY kind")
    assert [(row["kind"], row["target"], row["state"]) for row in found] == [
        ("memory_write", "note-3", "done"), ("message", "c-17", "done"),
    ]  # fmt: skip
    assert json.loads(found[1]["undo"]) == {"tool": "retract", "of": "send", "arguments": {"to": "c-17"}}
    assert unmapped(desk) == {"call of a tool that the bundle does not declare": 1}


def test_spans_that_come_before_or_after_their_root_find_it(sender, desk, declared):
    call = {"gen_ai__tool__name": "send", "gen_ai__tool__call__arguments": '{"to": "a"}'}
    sender.send(sender.span(3, "execute_tool send", 2, **call))
    assert runs(desk) == []
    sender.send(sender.span(2, "workflow step", 1), sender.agent(lastgood__bundle=declared))
    sender.send(sender.span(4, "delete_memory", 1, gen_ai__memory__record__id="m"))
    assert {row["kind"] for row in desk.all("SELECT kind FROM action")} == {"message", "memory_write"}
    assert desk.all("SELECT * FROM span WHERE body IS NOT NULL") == []


def test_an_exporter_that_floods_waits_for_itself(sender, service, desk):
    pace = service.app.state.desk.pace
    pace.burst, pace.per_s = 2, 0.001
    answers = [sender.send(sender.span(number, "mystery")) for number in range(1, 4)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert (answers[-1].json()["code"], answers[-1].headers["Retry-After"]) == (8, "1")
    assert service.post("agent", "/v1/traces", {}, scope={"agents": ["support"]}).status_code == 200


def test_requests_of_one_exporter_leave_threads_to_others(sender, service, desk):
    lanes = service.app.state.desk.lanes
    lanes.wide, lanes.most = 0, 0
    answer = sender.send(sender.span(1, "mystery"))
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "1")
    assert "has too much under way" in answer.json()["message"]


@both
def test_what_is_sent_twice_counts_once(sender, desk, declared):
    spans = [
        sender.span(2, "execute_tool send", 1, gen_ai__tool__name="send"),
        sender.span(3, "mystery", 1),
        sender.agent(lastgood__bundle=declared),
    ]
    for _ in range(3):
        assert sender.send(*spans, *spans).json() == {}
    assert [len(desk.all(f"SELECT * FROM {table}")) for table in ("run", "outcome", "action")] == [1, 1, 1]
    assert unmapped(desk) == {"span mystery": 1}


def test_an_evaluation_that_comes_as_an_event_is_a_late_report_of_the_run_that_it_names(
    sender, service, desk
):
    record = {
        "timeUnixNano": str(desk.clock.now_us() * 1_000), "eventName": "gen_ai.evaluation.result",
        "traceId": sender.trace, "spanId": f"{9:016x}",
        "attributes": attributes({
            "gen_ai.evaluation.name": "Helpful Tone", "gen_ai.evaluation.score.value": 0.75,
            "lastgood.bundle": desk.candidate,
        }),
    }  # fmt: skip
    request = {"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]}
    for _ in range(2):
        assert service.post("agent", "/v1/logs", request).json() == {}
    [run] = runs(desk)
    assert (run["bundle_id"], run["reason"]) == (desk.candidate, "telemetry")
    assert [json.loads(row["fields"]) for row in desk.all("SELECT fields FROM late_report")] == [
        {"helpful_tone": 0.75}
    ]
    root = sender.agent(lastgood__bundle=desk.candidate, gen_ai__conversation__id="c-1")
    sender.send(root)  # it comes after: the same run
    assert [each["unit"] for each in runs(desk)] == ["c-1"]


def test_nothing_is_guessed(sender, desk):
    sender.send(
        sender.agent(),
        sender.span(2, "invoke_agent", gen_ai__operation__name="invoke_agent"),
        sender.agent(3, gen_ai__agent__version="1.0"),
        sender.span(5, "GET /orders/123"),
        sender.agent(6, lastgood__bundle=desk.baseline, lastgood__completed="yes"),
    )
    assert unmapped(desk) == {
        "run that names neither agent nor bundle": 1,
        "run that names no registered bundle": 2,
        "span GET": 1,
        "completed of a value that it can't have": 1,
    }
    assert len(runs(desk)) == 1


def test_status_shows_what_was_not_mapped(sender, desk, monkeypatch):
    from click.testing import CliRunner

    from lastgood.cli import main

    sender.send(sender.span(5, "mystery"))
    monkeypatch.setattr(agents, "_configured", {"database": desk.store.url})
    said = CliRunner().invoke(main, ["status", "support"])
    assert "1 x span mystery" in said.output, said.output


def test_a_token_of_another_agent_writes_nothing(sender, desk):
    answer = sender.send(sender.agent(lastgood__bundle=desk.baseline), scope={"agents": ["coder"]})
    assert answer.status_code == 200
    assert "does not reach support" in answer.json()["partialSuccess"]["errorMessage"]
    assert runs(desk) == []
    assert sender.send(sender.agent(), role="observer").status_code == 403
    assert sender.send(sender.agent(), role=None).status_code == 401


@pytest.mark.parametrize("ago_s", [-3_600, 8 * 86_400])
def test_times_that_can_not_be_are_left_out_and_said(sender, desk, ago_s):
    root = sender.agent(lastgood__bundle=desk.baseline, ago_s=ago_s)
    said = sender.send(root).json()["partialSuccess"]
    assert said["rejectedSpans"] == "1"
    assert "set the clock" in said["errorMessage"]
    assert runs(desk) == []


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b'{"resourceSpans": 1}', b'{"resourceSpans": [{"scopeSpans": {}}]}', b"[" * 9_000],
)
def test_a_body_that_is_no_request_is_refused_whole(service, desk, body):
    answer = service.ask(
        "agent", "POST", "/v1/traces", content=body, headers={"Content-Type": "application/json"}
    )
    assert (answer.status_code, answer.json()["code"]) == (400, 3)


@pytest.mark.parametrize(
    "wrong",
    [
        {"spanId": "x"},
        {"traceId": "0" * 32},
        {"endTimeUnixNano": "soon"},
        {"startTimeUnixNano": None},
        {"parentSpanId": "1"},
        {"events": [1]},
        {"status": "bad"},
    ],
)
def test_a_span_that_can_not_be_read_does_not_hold_up_the_others(sender, desk, wrong):
    good = sender.agent(lastgood__bundle=desk.baseline)
    said = sender.send({**sender.span(7, "chat"), **wrong}, good).json()
    assert said["partialSuccess"]["rejectedSpans"] == "1"
    assert len(runs(desk)) == 1


def test_a_span_without_its_times_does_not_hold_up_the_others(sender, desk):
    span = sender.span(7, "chat")
    del span["startTimeUnixNano"]
    said = sender.send(span, sender.agent(lastgood__bundle=desk.baseline)).json()
    assert said["partialSuccess"]["rejectedSpans"] == "1"
    assert len(runs(desk)) == 1


@pytest.mark.parametrize("value", [{"intValue": "many"}, {"doubleValue": 10**400}])
def test_a_number_that_is_none_is_no_value(service, sender, desk, value):
    root = sender.agent(lastgood__bundle=desk.baseline)
    resource = {"attributes": [{"key": "lastgood.cost_usd", "value": value}]}
    request = {"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": [root]}]}]}
    headers = {"Content-Type": "application/json"}
    answer = service.ask("agent", "POST", "/v1/traces", content=json.dumps(request), headers=headers)
    assert (answer.status_code, answer.json()) == (200, {})
    assert len(runs(desk)) == 1


def test_texts_that_no_store_holds_are_cleaned(sender, service, desk):
    root = sender.agent(lastgood__bundle=desk.baseline, gen_ai__conversation__id="a\0b\ud800")
    request = {"resourceSpans": [{"scopeSpans": [{"spans": [root]}]}]}
    headers = {"Content-Type": "application/json"}
    answer = service.ask("agent", "POST", "/v1/traces", content=json.dumps(request), headers=headers)
    assert answer.json() == {}
    assert [run["unit"] for run in runs(desk)] == ["ab?"]


def test_a_request_of_too_many_spans_is_refused_and_a_packed_one_is_taken(sender, service, desk):
    span = sender.span(2, "x")
    request = {"resourceSpans": [{"scopeSpans": [{"spans": [span] * 10_001}]}]}
    packed = gzip.compress(json.dumps(request).encode())
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    answer = service.ask("agent", "POST", "/v1/traces", content=packed, headers=headers)
    assert answer.status_code == 413
    request["resourceSpans"][0]["scopeSpans"][0]["spans"] = [sender.agent(lastgood__bundle=desk.baseline)]
    packed = gzip.compress(json.dumps(request).encode())
    assert service.ask("agent", "POST", "/v1/traces", content=packed, headers=headers).status_code == 200
    assert len(runs(desk)) == 1
    bomb = gzip.compress(b" " * 50_000_000)
    assert service.ask("agent", "POST", "/v1/traces", content=bomb, headers=headers).status_code == 400


def test_a_span_whose_run_never_comes_is_counted_after_a_day(sender, desk):
    sender.send(sender.span(2, "chat"))
    desk.clock.advance(25 * 3_600 * 1_000_000)
    sender.send(Sender(sender.service, desk, 2).agent(lastgood__bundle=desk.baseline))
    assert unmapped(desk) == {"span whose run never came": 1}


@both
def test_a_recovery_that_has_ended_comes_back_for_an_action_that_arrives_late(
    sender, service, desk, declared
):
    root = sender.agent(lastgood__bundle=declared, ago_s=5)
    sender.send(root)
    desk.hand(
        "INSERT INTO incident (id, agent, environment, bad_bundle, from_us, to_us, by, culprits, reason, "
        "opened_by, opened_us, state, recovery, recovery_worker, recovery_until_us, watch, cases) VALUES "
        "('inc_1', 'support', 'production', ?, 0, ?, 'hand', '[]', '', 'ann', 0, 'open', 'done', '', 0, "
        "'due', '[]')",
        declared,
        desk.clock.now_us(),
    )
    sender.send(sender.span(2, "execute_tool send", 1, gen_ai__tool__name="send"))
    assert desk.one("SELECT recovery FROM incident")["recovery"] == "due"


def test_protobuf_says_the_same(sender, service, desk):
    from google.protobuf.json_format import ParseDict
    from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as messages

    root = sender.agent(lastgood__bundle=desk.baseline, lastgood__incidents=2)
    ids = {"traceId": bytes.fromhex(root["traceId"]), "spanId": bytes.fromhex(root["spanId"])}
    root = {key: held for key, held in root.items() if key not in {*ids, "parentSpanId"}}
    request = ParseDict(
        {"resourceSpans": [{"scopeSpans": [{"spans": [root]}]}]}, messages.ExportTraceServiceRequest()
    )
    span = request.resource_spans[0].scope_spans[0].spans[0]
    span.trace_id, span.span_id = ids["traceId"], ids["spanId"]
    headers = {"Content-Type": "application/x-protobuf"}
    answer = service.ask("agent", "POST", "/v1/traces", content=request.SerializeToString(), headers=headers)
    assert (answer.status_code, answer.content) == (200, b"")
    assert [run["id"] for run in runs(desk)] == [f"run_otel_{sender.trace}_{desk.baseline[:8]}"]
    assert desk.one("SELECT incidents FROM outcome")["incidents"] == 2
    span.trace_id = b"short"
    answer = service.ask("agent", "POST", "/v1/traces", content=request.SerializeToString(), headers=headers)
    said = messages.ExportTraceServiceResponse.FromString(answer.content)
    assert said.partial_success.rejected_spans == 1
    assert service.ask("agent", "POST", "/v1/traces", content=b"{}", headers=headers).status_code == 400
