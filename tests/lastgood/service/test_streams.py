"""Streams and evaluation while control points move, on both kinds of store."""

import json
import socket
import threading
import time
from contextlib import ExitStack, suppress
from urllib.parse import urlsplit

import pytest

from lastgood import control, tokens
from lastgood.service import streams
from lastgood.store.connection import Store


class Stream:
    """One client that listens, in a thread of its own."""

    def __init__(self, service, **scope):
        self.events, self.ended, self.ready = [], threading.Event(), threading.Event()
        place = urlsplit(service.url)
        self._socket = socket.create_connection((place.hostname, place.port))
        token = service.token("observer", **scope)
        head = f"GET /ofrep/v1/stream HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
        head += "Connection: close\r\n\r\n"
        self._socket.sendall(head.encode())
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self):
        self._thread.start()
        assert self.ready.wait(10)
        return self

    def __exit__(self, *_):
        with suppress(OSError):  # the service may have ended it
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self._socket.close()

    def _listen(self):
        # the service may answer the end of a reader with a reset: an end as well
        with suppress(ConnectionResetError), self._socket.makefile() as lines:
            for line in lines:
                if line.startswith("content-type:"):
                    assert "text/event-stream" in line
                if line.startswith(": listening"):
                    self.ready.set()
                if line.startswith("data: "):
                    self.events.append(json.loads(line.removeprefix("data: ")))
        self.ended.set()

    def wait(self, number=1):
        until = time.monotonic() + 10
        while len(self.events) < number:
            assert time.monotonic() < until, self.events
            time.sleep(0.01)


def test_a_move_is_told_to_every_stream_and_seen_by_the_next_evaluation(service, desk):
    with Stream(service) as one, Stream(service) as two:
        release_id = desk.live(share_bp=10_000)
        for stream in (one, two):
            stream.wait()
            assert stream.events[0]["type"] == "refetchEvaluation"
        assert service.settled()["variant"] == "candidate"
        desk.revert(release_id)
        until = time.monotonic() + 10
        while service.evaluate().json()["variant"] == "candidate":
            assert time.monotonic() < until
        told = len(one.events)
        one.wait(told)
        assert service.app.state.desk.watcher.streams == 2


def test_a_move_of_an_agent_outside_the_tokens_scope_is_not_told(service, desk):
    control.adopt(desk.store, "coder", "production", desk.baseline, actor="ann", reason="")
    with Stream(service, agents=["coder"]) as other, Stream(service) as mine:
        desk.live(share_bp=5_000)
        mine.wait()
        assert other.events == []


@pytest.mark.only("sqlite")
def test_between_two_looks_at_the_routers_a_move_is_told_by_its_word(service, desk, monkeypatch):
    monkeypatch.setattr(streams, "EVERY_S", 60.0)
    with Stream(service) as stream:
        release_id = desk.live(share_bp=10_000)
        stream.wait()
        told = len(stream.events)
        desk.revert(release_id)
        stream.wait(told + 1)


@pytest.mark.only("sqlite")
def test_streams_share_one_watcher_that_rests_when_nobody_listens(service, desk, monkeypatch):
    asked = []
    real = streams._asked
    monkeypatch.setattr(streams, "_asked", lambda *given: asked.append(1) or real(*given))
    with ExitStack() as opened:
        for _ in range(5):
            opened.enter_context(Stream(service))
        before = len(asked)
        time.sleep(1)
        assert len(asked) - before <= 1 / streams.EVERY_S + 1
    watcher = service.app.state.desk.watcher
    until = time.monotonic() + 10
    while watcher.streams:
        assert time.monotonic() < until
        desk.clock.advance(1)
        time.sleep(0.02)
    assert not watcher.listening
    time.sleep(3 * streams.EVERY_S)
    before = len(asked)
    time.sleep(3 * streams.EVERY_S)
    assert len(asked) == before


@pytest.mark.only("sqlite")
def test_a_stream_ends_with_its_token(service, desk, monkeypatch):
    monkeypatch.setattr(streams, "ALIVE_S", 0.2)
    with Stream(service) as stream:
        assert not stream.ended.wait(0.5)
        tokens.revoke(desk.store, service.token("observer").split("_")[1])
        assert stream.ended.wait(10)  # the service closed it


@pytest.mark.only("sqlite")
def test_no_more_streams_than_there_is_room_for(service, monkeypatch):
    monkeypatch.setattr(streams, "MOST", 1)
    with Stream(service):
        answer = service.get("observer", "/ofrep/v1/stream")
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")


@pytest.mark.only("postgres")
def test_bulk_and_single_evaluation_agree_on_postgres(service, desk):
    release_id = desk.live(share_bp=5_000)
    [mine] = desk.units(release_id, 5_000, candidate=True)
    single = service.settled(targetingKey=mine)
    body = {"context": {"targetingKey": mine}}
    first = service.post("observer", "/ofrep/v1/evaluate/flags", body)
    [flag] = first.json()["flags"]
    assert (flag["variant"], flag["value"]["id"]) == ("candidate", single["value"]["id"])
    headers = {"If-None-Match": first.headers["ETag"]}
    assert service.post("observer", "/ofrep/v1/evaluate/flags", body, headers=headers).status_code == 304
    entered = service.enter(mine)
    assert (entered["arm"], entered["bundle"]) == ("candidate", desk.candidate)


@pytest.mark.only("sqlite")
def test_a_service_that_is_told_to_end_ends_though_somebody_listens(desk):
    from tests.serving import Served, token

    served, now = Served(desk.store.url), Store(desk.store.url)  # that process has no clock of a test
    observer = token(now, "observer")
    now.close()
    served.begin()
    try:
        with socket.create_connection(("127.0.0.1", served.port)) as listening:
            head = f"GET /ofrep/v1/stream HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {observer}"
            listening.sendall(f"{head}\r\n\r\n".encode())
            assert b"200 OK" in listening.recv(1_000)
            served.process.terminate()
            assert served.process.wait(30) is not None
    finally:
        served.end()
