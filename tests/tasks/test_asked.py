"""Signals over HTTP: points, or the reason why there are none; Prometheus is the real server."""

import json
import os
import shutil
import socket
import subprocess
import time
from datetime import UTC, datetime

import httpx
import pytest
from tenacity import wait_none

from config.profile import Profile
from lastgood.errors import InvalidProfile
from tasks import asked, driving, outside, signals
from tests.tasks.answering import answering
from tests.tasks.conftest import POLICY as SMALL

MINUTE = 60_000_000
NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)
NOON_US = int(NOON.timestamp()) * 1_000_000
SINCE = NOON_US - 60 * MINUTE


@pytest.fixture(autouse=True)
def quickly(monkeypatch):
    """No test waits between tries."""
    monkeypatch.setattr(asked, "wait_exponential", lambda **_: wait_none())
    monkeypatch.setattr(asked, "wait_random", lambda *_: wait_none())


@pytest.fixture
def server():
    with answering() as found:
        yield found


def of(line):
    """The signal that a profile says in one line, as its stored text holds it."""
    text = Profile.load(f"agent: support\nsignals:\n  queue: {line}").to_json()
    return signals.source("queue", json.loads(text)["signals"]["queue"])


# -- Prometheus, the real server


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory):
    """A Prometheus that scrapes itself four times a second; its address, once it has a few samples."""
    found = shutil.which("prometheus")
    if found is None:
        pytest.skip("no Prometheus here: apt-get install prometheus")
    folder = tmp_path_factory.mktemp("prometheus")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    (folder / "prometheus.yml").write_text(
        "global: {scrape_interval: 250ms, scrape_timeout: 250ms}\n"
        f"scrape_configs: [{{job_name: self, static_configs: [{{targets: ['127.0.0.1:{port}']}}]}}]\n"
    )
    command = [found, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    command += [f"--web.listen-address=127.0.0.1:{port}", "--log.level=error"]
    url = f"http://127.0.0.1:{port}"
    with (folder / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            _wait_for_samples(url, process)
            yield url
        finally:
            process.terminate()
            process.wait(timeout=20)


def _wait_for_samples(url, process):
    until = time.monotonic() + 60
    while time.monotonic() < until and process.poll() is None:
        try:
            found = httpx.get(f"{url}/api/v1/query", params={"query": "count_over_time(up[1m])"}, timeout=5)
            if found.is_success and found.json()["data"]["result"]:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.1)
    pytest.fail("Prometheus has no samples")


@pytest.fixture
def ask(prometheus, monkeypatch):
    monkeypatch.setenv("LASTGOOD_ALLOW_HOSTS", "127.0.0.1")

    def read(query, more="", ahead_us=0):
        now_us = time.time_ns() // 1_000
        found = of(f"{{prometheus: '{prometheus}', query: '{query}', step: 1 s{more}}}")
        return found.read(now_us - MINUTE, now_us + ahead_us)

    return read


def test_prometheus_gives_the_points_of_one_series(ask):
    found = ask("sum(up)")
    assert found.absent == ""
    assert {value for _, value in found.points} == {1.0}


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("no_such_metric", "without a point: missing is not zero"),
        ("up / 0 - up / 0", "without a point: missing is not zero"),
        ('{__name__=~"prometheus_build_info|up"}', "its query answers 2 series; aggregate them to one"),
        ("sum(up", "it answered 400: 1:7: parse error: unclosed left parenthesis"),
    ],
)  # fmt: skip
def test_an_answer_of_prometheus_that_is_no_figure_is_an_absence(ask, query, said):
    found = ask(query)
    assert found.points == ()
    assert said in found.absent


def test_a_series_of_prometheus_that_ended_is_not_fresh(ask):
    assert "stale is not fresh" in ask("sum(up)", ahead_us=21 * MINUTE).absent


def test_a_range_that_is_longer_than_prometheus_answers_is_asked_in_longer_steps(prometheus, monkeypatch):
    monkeypatch.setenv("LASTGOOD_ALLOW_HOSTS", "127.0.0.1")
    now_us = time.time_ns() // 1_000
    found = of(f"{{prometheus: '{prometheus}', query: 'vector(1)', step: 1 s}}")
    read = found.read(now_us - 1_440 * MINUTE, now_us)
    assert read.absent == ""
    assert 9_000 < len(read.points) <= 10_001


def test_a_trigger_over_prometheus_reverts_a_live_release(prometheus, world, monkeypatch):
    monkeypatch.setenv("LASTGOOD_ALLOW_HOSTS", "127.0.0.1")
    world.clock.advance(time.time_ns() // 1_000 - world.clock.now_us() - 2 * 3_600_000_000)
    world.history()
    world.clock.advance(time.time_ns() // 1_000 - world.clock.now_us())
    line = f"{{prometheus: '{prometheus}', query: 'sum(up) or {{job=\"{{candidate}}\"}}', limit: LIMIT"
    text = f"{SMALL}triggers: {{outside: {{targets: {line}, lasts: 0 s}}}}}}\n"
    release_id = world.start(text.replace("LIMIT", "0.5"))
    driver = driving.begin(world.store, release_id, "me")
    for _ in range(3):
        world.step(driver)
    outside.work_quietly(world.store, release_id, seconds=30)
    row = driving.read(world.store, release_id)[0]
    assert (row["state"], row["culprits"]) == ("reverted", '["targets"]')
    assert row["reason"] == "targets: 1 is above 0.5, for 0 min"


# -- any JSON

JSON = (
    "{{json: '{}/figures?from={{since}}&to={{until}}', points: data.rows, time: at, value: v.0,"
    " token: env:FIGURES}}"
)
ROWS = {"data": {"rows": [{"at": NOON.isoformat(), "v": ["4.5"]}, {"at": NOON.timestamp() - 60, "v": [3]}]}}


@pytest.fixture
def figures(server, monkeypatch):
    monkeypatch.setenv("FIGURES", "a-token-of-figures")

    def read(*answers):
        left = list(answers)
        server.answer = lambda *_: left.pop(0) if len(left) > 1 else left[0]
        return of(JSON.format(server.url)).read(SINCE, NOON_US)

    return read


def test_any_json_is_read_by_where_its_points_stand(server, figures):
    found = figures((200, json.dumps(ROWS).encode()))
    assert found.points == ((NOON_US - MINUTE, 3.0), (NOON_US, 4.5))
    ((path, query, headers),) = server.asked
    assert (path, headers["Authorization"]) == ("/figures", "Bearer a-token-of-figures")
    assert query == {"from": "2026-11-29T11:00:00.000Z", "to": "2026-11-29T12:00:00.000Z"}


@pytest.mark.parametrize(
    ("status", "body", "said", "tries"),
    [
        (500, b"", "it answered 500: nothing", 3),
        (503, b'{"error": "warming up"}', "it answered 503: warming up", 3),
        (429, b"slow down", "it answered 429: slow down", 3),
        (401, b'{"message": "who are you"}', "it answered 401: who are you", 1),
        (404, b"<h1>", "it answered 404: <h1>", 1),
        (307, b"", "it redirects; give the final address", 1),
        (200, b"{half", "with no JSON", 1),
        (200, b"[" * 100_000, "with no JSON", 1),
        (200, b"{}", "its answer has no data.rows", 1),
        (200, b'{"data": {"rows": {}}}', "is no list of points", 1),
        (200, b'{"data": {"rows": []}}', "without a point: missing is not zero", 1),
        (200, b'{"data": {"rows": [{"at": 1}]}}', "its answer has no v.0", 1),
        (200, b'{"data": {"rows": [{"at": 1, "v": [null]}]}}', "None is no finite number", 1),
        (200, b'{"data": {"rows": [{"at": 1, "v": ["many"]}]}}', "'many' is no number", 1),
        (200, b'{"data": {"rows": [{"at": 1, "v": [1]}]}}', "stale is not fresh", 1),
        (200, b" " * 6_000_000, "more than 5,000,000 bytes", 3),
    ],
)  # fmt: skip
def test_an_answer_that_is_no_figure_is_an_absence(server, figures, status, body, said, tries):
    found = figures((status, body))
    assert found.points == ()
    assert said in found.absent
    assert len(server.asked) == tries
    assert "a-token-of-figures" not in found.absent


def test_what_is_over_soon_is_asked_again(server, figures):
    assert figures((503, b""), (200, json.dumps(ROWS).encode())).absent == ""
    assert len(server.asked) == 2


def test_a_token_that_is_echoed_is_shown_to_nobody(figures):
    assert figures((403, b"no: a-token-of-figures")).absent.count("[env:FIGURES]") == 1


def test_a_server_that_is_gone_or_only_inside_is_an_absence(server, figures, monkeypatch):
    gone = of("{json: 'http://127.0.0.1:9/', points: a, time: b, value: c}").read(SINCE, NOON_US)
    assert "ConnectError" in gone.absent
    monkeypatch.delenv("LASTGOOD_ALLOW_HOSTS")
    assert "a loopback address; allow it by name" in figures((200, b"")).absent
    assert server.asked == []


# -- Langfuse, recorded in the shape of its API: figures come as text or as numbers

LANGFUSE = (
    "{{langfuse: '{}', metric: {}, public_key: env:LANGFUSE_PUBLIC_KEY, secret_key: env:LANGFUSE_SECRET_KEY}}"
)
ANSWERS = {
    "score, name: helpful": ("avg_value", "scores-numeric", "value", "name"),
    "cost, name: support": ("sum_totalCost", "observations", "totalCost", "traceName"),
    "latency": ("avg_latency", "observations", "latency", None),
    "count": ("count_count", "observations", "count", None),
}


@pytest.mark.parametrize("metric", ANSWERS)
def test_langfuse_gives_whole_minutes(server, monkeypatch, metric):
    monkeypatch.setenv("LANGFUSE_PUBLIC_KEY", "pk-lf-1")
    monkeypatch.setenv("LANGFUSE_SECRET_KEY", "sk-lf-1")
    key, view, measure, column = ANSWERS[metric]
    rows = [
        {"time_dimension": "2026-11-29T11:58:00.000Z", key: "12"},
        {"time_dimension": "2026-11-29T11:59:00.000Z", key: 0.5},
        {"time_dimension": "2026-11-29T12:00:00.000Z", key: 7},
        {"time_dimension": "2026-11-29T11:30:00.000Z", key: None},
    ]
    server.answer = lambda *_: (200, json.dumps({"data": rows}).encode())
    found = of(LANGFUSE.format(server.url, metric)).read(SINCE, NOON_US)
    assert found.points == ((NOON_US - MINUTE, 12.0), (NOON_US, 0.5))
    ((path, query, headers),) = server.asked
    asked_for = json.loads(query["query"])
    assert (path, headers["Authorization"][:6]) == ("/api/public/v2/metrics", "Basic ")
    assert (asked_for["view"], asked_for["metrics"][0]["measure"]) == (view, measure)
    assert [each["column"] for each in asked_for["filters"]] == ([column] if column else [])


def test_a_long_time_of_langfuse_is_asked_in_pieces_that_can_not_be_cut_off(server, monkeypatch):
    monkeypatch.setenv("LANGFUSE_PUBLIC_KEY", "pk-lf-1")
    monkeypatch.setenv("LANGFUSE_SECRET_KEY", "sk-lf-1")
    server.answer = lambda *_: (200, b'{"data": []}')
    of(LANGFUSE.format(server.url, "count")).read(NOON_US - 30 * 60 * MINUTE, NOON_US)
    spans = [json.loads(query["query"]) for _, query, _ in server.asked]
    assert [span["fromTimestamp"] for span in spans[1:]] == [span["toTimestamp"] for span in spans[:-1]]
    assert len(spans) == 3
    server.answer = lambda *_: (200, json.dumps({"data": [{}] * 1_000}).encode())
    assert "may be cut off" in of(LANGFUSE.format(server.url, "count")).read(SINCE, NOON_US).absent


# -- what a profile may say


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{prometheus: http://p:9090}", "prometheus needs query beside it"),
        ("{prometheus: http://p:9090, query: up, sql: x}", "needs one of .* and has sql and prometheus"),
        ("{prometheus: http://p:9090, query: up, metric: cost}", "metric: belongs to no signal by"),
        ("{prometheus: 'http://ana:pw@p:9090', query: up}", "an http"),
        ("{prometheus: ftp://p, query: up}", "an http"),
        ("{json: http://x, points: a, time: b, value: c, token: abc}", "should be a reference to a secret"),
        ("{langfuse: http://x, metric: score, public_key: env:A, secret_key: env:B}", "a score has a name"),
        ("{langfuse: http://x, metric: cost, public_key: pk, secret_key: env:B}", "reference to a secret"),
    ],
)  # fmt: skip
def test_a_signal_that_can_not_be_asked_for_is_refused(line, said):
    with pytest.raises(InvalidProfile, match=said):
        of(line)


# -- databases


def test_a_database_that_only_this_host_reaches_is_asked_when_it_is_allowed(monkeypatch):
    given = {"sql": "SELECT 1, 2", "database": "postgresql://ana@localhost:9/x"}
    found = signals.source("queue", given).read(SINCE, NOON_US)
    assert "a loopback address; allow it by name in LASTGOOD_ALLOW_HOSTS" in found.absent
    monkeypatch.setenv("LASTGOOD_ALLOW_HOSTS", "localhost")
    assert "OperationalError" in signals.source("queue", given).read(SINCE, NOON_US).absent
    assert "LASTGOOD_ALLOW_HOSTS" in os.environ
