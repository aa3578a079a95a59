"""Scores by run id from outside, and what they do in a release as its referee's marks.

The answers of Langfuse are no recording: they are written in the shape of its API, and `make interop` reads
them with the models of its own client.
"""

import json
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tenacity import wait_none

from config.policy import Policy
from evaluators.verdict import Decision, Word
from lastgood.errors import InvalidPolicy
from lastgood.running import Run
from tasks import asked, comparison, driving, referee, scored
from tests.tasks.answering import answering

MINUTE = 60_000_000
NOON_US = int(datetime(2026, 11, 29, 12, tzinfo=UTC).timestamp()) * 1_000_000
ANSWER = (Path(__file__).parents[1] / "data/langfuse/scores_v3.json").read_text()
POLICY = """
name: scored
lost_after: 1 min
guardrails:
  completion: {margin: 30 points}
  helpful: {column: helpful, kind: score, better: higher, margin_own: 0.3, matures: 10 min}
referee: {column: helpful, sample: 100%, scores: SCORES}
caps: {spend_usd_per_hour: null, spend_usd_per_run: null, runs_per_hour: null}
records: {keep: none}
steps: [{share: 40%, min_runs: 10}]
block: {size: 10, time: 1 h}
lease: 6 h
on_undecided: ask
"""
LANGFUSE = (
    "{{langfuse: '{}', name: helpful, public_key: env:LANGFUSE_PUBLIC_KEY, secret_key:"
    " env:LANGFUSE_SECRET_KEY{}}}"
)


def spec(scores):
    found = Policy.load(POLICY.replace("SCORES", scores)).referee
    assert found is not None
    return found.scores


def read(scores, runs=("run_1", "run_2")):
    return scored.read(spec(scores), list(runs), NOON_US - 60 * MINUTE, NOON_US)


@pytest.fixture(autouse=True)
def quickly(monkeypatch):
    monkeypatch.setattr(asked, "wait_exponential", lambda **_: wait_none())
    monkeypatch.setattr(asked, "wait_random", lambda *_: wait_none())
    monkeypatch.setenv("LANGFUSE_PUBLIC_KEY", "pk-lf-1")
    monkeypatch.setenv("LANGFUSE_SECRET_KEY", "sk-lf-1")


@pytest.fixture
def server():
    with answering() as found:
        yield found


# -- Langfuse


def langfuse(*runs, text=ANSWER):
    """The answer about these runs."""
    for number, run in enumerate(runs, start=1):
        text = text.replace(f"TRACE-{number}", scored.trace_id(run))
    return text.encode()


def test_langfuse_is_asked_for_the_traces_of_runs_and_the_newest_score_of_each_counts(server):
    server.answer = lambda *_: (200, langfuse("run_1", "run_2"))
    assert read(LANGFUSE.format(server.url, "")).found == {"run_1": 0.75, "run_2": True}
    ((path, query, headers),) = server.asked
    assert (path, headers["Authorization"][:6]) == ("/api/public/v3/scores", "Basic ")
    assert query["traceId"].split(",") == [scored.trace_id("run_1"), scored.trace_id("run_2")]
    assert (query["name"], query["fields"], query["limit"]) == ("helpful", "subject", "100")


def test_langfuse_may_know_runs_as_sessions(server):
    text = ANSWER.replace('"trace"', '"session"').replace("TRACE-1", "run_1")
    server.answer = lambda *_: (200, text.encode())
    assert read(LANGFUSE.format(server.url, ", runs_as: session")).found == {"run_1": 0.75}
    assert server.asked[0][1]["sessionId"] == "run_1,run_2"


def test_pages_of_langfuse_are_read_to_the_last(server):
    first = langfuse("run_1").replace(b'{"limit": 100}', b'{"limit": 100, "cursor": "c1"}')
    answers = {None: first, "c1": langfuse("run_2", text=ANSWER)}
    server.answer = lambda _, query: (200, answers[query.get("cursor")])
    assert read(LANGFUSE.format(server.url, "")).found == {"run_1": 0.75, "run_2": 0.75}
    server.answer = lambda *_: (200, first)
    assert "more than 1,000 scores" in read(LANGFUSE.format(server.url, "")).absent


def test_many_runs_are_asked_for_in_several_questions(server):
    server.answer = lambda *_: (200, b'{"data": [], "meta": {"limit": 100}}')
    runs = [f"run_{n}" for n in range(90)]
    assert read(LANGFUSE.format(server.url, ""), runs) == scored.Scores({})
    assert [len(query["traceId"].split(",")) for _, query, _ in server.asked] == [40, 40, 10]


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (401, b"{}", "Langfuse can't be read: it answered 401"),
        (500, b"", "Langfuse can't be read: it answered 500"),
        (200, b"[]", "its answer has no data"),
        (200, ANSWER.replace("NUMERIC", "CATEGORICAL").encode(), "is CATEGORICAL: it is no number"),
        (200, ANSWER.replace("0.75", "null").encode(), "the score 'None' is no finite number"),
    ],
)
def test_what_langfuse_can_not_say_is_an_absence(server, status, body, said):
    server.answer = lambda *_: (status, body.replace(b"TRACE-1", scored.trace_id("run_1").encode()))
    assert said in read(LANGFUSE.format(server.url, "")).absent


# -- any JSON, any database


def test_any_json_is_read_by_where_runs_and_scores_stand(server):
    server.answer = lambda *_: (200, b'{"rows": [{"of": "run_1", "s": "3.5"}, {"of": "run_9", "s": 1}]}')
    line = f"{{json: '{server.url}/s?since={{since}}', points: rows, run: of, value: s}}"
    assert read(line) == scored.Scores({"run_1": 3.5})
    assert server.asked[0][1] == {"since": "2026-11-29T11:00:00.000Z"}


def test_a_database_is_asked_since_the_oldest_run(tmp_path):
    path = tmp_path / "scores.db"
    with sqlite3.connect(path) as held:
        held.execute("CREATE TABLE score (run TEXT, at TEXT, mark REAL)")
        rows = [("run_1", "2026-11-29 11:30:00", 4), ("run_2", "2026-11-28 11:30:00", 5)]
        held.executemany("INSERT INTO score VALUES (?, ?, ?)", rows)
    held.close()
    line = f"{{sql: 'SELECT run, mark FROM score WHERE at >= :since', database: 'sqlite:///{path}'}}"
    assert read(line) == scored.Scores({"run_1": 4})
    line = line.replace("run, mark", "run")
    assert "no pairs of a run id and a score" in read(line).absent
    assert "OperationalError" in read(line.replace("score", "scroe")).absent


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        ("{}", "needs one of langfuse, sql, json, and has none"),
        ("{sql: x}", "sql needs database beside it"),
        ("{langfuse: 'http://l', name: a, public_key: env:A}", "langfuse needs secret_key beside it"),
        ("{sql: x, database: y, token: env:A}", "belongs to no scores by sql"),
        ("{langfuse: 'http://l', name: a, public_key: pk-lf-1, secret_key: env:B}", "reference to a secret"),
    ],
)
def test_scores_that_can_not_be_read_are_refused(scores, said):
    with pytest.raises(InvalidPolicy, match=said):
        spec(scores)


def test_a_release_has_one_referee():
    with pytest.raises(InvalidPolicy, match="give call or scores"):
        spec("{sql: x, database: y}, call: 'a:b'")


# -- in a release


@pytest.fixture
def released(world, server):
    """A release whose referee is whatever the server says of its runs: `server.scores` by run id."""
    server.scores = {}
    rows = lambda: [{"run": run, "v": value} for run, value in server.scores.items()]  # noqa: E731
    server.answer = lambda *_: (200, json.dumps({"rows": rows()}).encode())
    line = f"{{json: '{server.url}', points: rows, run: run, value: v}}"
    release_id = world.start(POLICY.replace("SCORES", line))
    driver = driving.begin(world.store, release_id, "me")
    for _ in range(3):
        world.step(driver)
    return release_id


def serve(world, number):
    arms = {}
    for _ in range(number):
        with Run(world.store, world.assign()) as run:
            run.report(completed=True, helpful=1.0)  # what a run says of itself counts for nothing
        arms[run.id] = run.arm
    return arms


def look(world, release_id):
    world.clock.advance(11 * MINUTE)
    return comparison.look(world.store, driving.read(world.store, release_id)[0]).verdict


def test_a_candidate_that_somebody_else_scores_worse_is_reverted(world, server, released):
    arms = serve(world, 150)
    server.scores = {run: 0.9 if arm == "baseline" else 0.1 for run, arm in arms.items()}
    assert referee.work(world.store, released).judged == 150
    assert referee.work(world.store, released).judged == 0
    verdict = look(world, released)
    assert (verdict.decision, verdict.culprits) == (Decision.REVERT, ("helpful",))


def test_without_scores_nothing_is_proven_and_nothing_is_zero(world, server, released):
    serve(world, 60)
    server.answer = lambda *_: (503, b"")
    done = referee.work(world.store, released)
    assert (done.judged, done.waiting) == (0, 60)
    assert "it answered 503" in done.why
    verdict = look(world, released)
    assert (verdict.decision, verdict.gates) == (Decision.HOLD, (False,))
    found = verdict.guardrail("helpful")
    assert found.word is Word.INVALID
    assert "judged 0 of 60 sampled runs in time" in found.reason


def test_a_score_that_does_not_fit_leaves_its_run_unjudged(world, server, released):
    arms = serve(world, 20)
    server.scores = dict.fromkeys(arms, 7)
    done = referee.work(world.store, released)
    assert (done.judged, done.failed, done.waiting) == (0, 20, 20)


def test_a_run_that_failed_and_that_nobody_scored_gets_the_worst_mark(world, server, released):
    with pytest.raises(ZeroDivisionError), Run(world.store, world.assign()):
        raise ZeroDivisionError
    assert referee.work(world.store, released).judged == 1
    assert [mark for _, mark, by, _ in referee.marked(world.store, released)] == [0.0]
