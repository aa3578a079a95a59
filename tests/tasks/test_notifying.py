"""Notices reach real receivers on loopback: once, in order, over whatever goes wrong on the way."""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from config.profile import Profile
from lastgood import control, notices, outbox, profile
from lastgood.clock import ManualClock
from lastgood.notices import Level, Notice
from lastgood.store.connection import Store
from tasks import notifying, transports
from tests.tasks.receiving import hook, mail

SECOND = 1_000_000
CHECKOUT = Path(__file__).parents[2]


@pytest.fixture
def world(quiet_world):
    """The agent, adopted; what it told so far is behind us."""
    with quiet_world.store.transaction() as txn:
        txn.run("DELETE FROM notice")
    return quiet_world


@pytest.fixture(autouse=True)
def loopback(monkeypatch):
    """What the guard of outgoing URLs lets through."""
    monkeypatch.setenv("LASTGOOD_ALLOW_HOSTS", "127.0.0.1,localhost")


@pytest.fixture
def receiver():
    with hook() as found:
        yield found


def routes(world, *lines):
    text = "\n".join(["agent: support", "routes:", *(f"  - {line}" for line in lines)])
    with world.store.transaction(durable=True) as txn:
        profile.store_body(txn, "support", Profile.load(text).to_json(), actor="ann")


def to(receiver, more=""):
    return f"{{to: webhook, name: all, url: {receiver.url}, retry_for: 1 h{more}}}"


def put(world, *keys, level=Level.PAGE):
    with world.store.transaction(at=("support", "production")) as txn:
        for key in keys:
            notices.put(txn, Notice("support", "production", "residue", key, f"title {key}", "text", level))


def deliveries(world):
    return world.rows("SELECT * FROM delivery ORDER BY seq, route")


def states(world):
    return [row["state"] for row in deliveries(world)]


def send(world, **given):
    return notifying.send_due(world.store, **given)


def test_a_kill_is_told_over_a_webhook_once(world, receiver):
    routes(world, to(receiver))
    control.kill(world.store, "support", "production", actor="ann", reason="it is rude")
    assert send(world) == notifying.Told(sent=1)
    assert send(world) == notifying.Told()
    headers, said = receiver.got[0]
    row = world.rows("SELECT * FROM notice")[0]
    assert said == {
        "id": f"{row['id']}/all",
        "key": row["key"],
        "agent": "support",
        "environment": "production",
        "kind": "killed",
        "level": "inform",
        "title": "support in production: the kill switch is on: no candidate run starts",
        "text": "it is rude\nby ann, at epoch 2",
        "at": "2023-11-14T22:13:20+00:00",
        "attempt": 1,
    } | {"at": said["at"]}
    assert headers["Idempotency-Key"] == said["id"]
    assert len(receiver.got) == 1


def test_a_token_is_read_from_its_reference_and_stored_nowhere(world, receiver, monkeypatch):
    monkeypatch.setenv("HOOK_TOKEN", "s3cret")
    routes(world, to(receiver, ", token: env:HOOK_TOKEN"))
    put(world, "a")
    send(world)
    assert receiver.got[0][0]["Authorization"] == "Bearer s3cret"
    assert "s3cret" not in world.dump()


def test_a_secret_that_is_missing_here_may_be_there_in_the_next_process(world, receiver, monkeypatch):
    monkeypatch.delenv("HOOK", raising=False)
    routes(world, "{to: slack, url: env:HOOK}")
    put(world, "a")
    assert send(world) == notifying.Told(postponed=1)
    assert deliveries(world)[0]["error"] == "the secret env:HOOK is not set in this process"
    monkeypatch.setenv("HOOK", receiver.url)
    world.clock.advance(15 * SECOND)
    assert send(world) == notifying.Told(sent=1)


def test_slack_gets_text_that_can_mention_nobody(world, receiver, monkeypatch):
    monkeypatch.setenv("HOOK", receiver.url)
    routes(world, "{to: slack, url: env:HOOK}")
    put(world, "<!channel> & all")
    send(world)
    said = receiver.got[0][1]["text"]
    assert said == ":rotating_light: *title &lt;!channel&gt; &amp; all*\ntext"


def test_the_url_of_a_webhook_is_in_no_log_and_no_row(world, monkeypatch, caplog):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("HOOK", "http://127.0.0.1:1/services/T0/S3CRET")
    routes(world, "{to: slack, url: env:HOOK}")
    put(world, "a")
    assert send(world) == notifying.Told(postponed=1)
    assert "ConnectError" in deliveries(world)[0]["error"]
    assert "S3CRET" not in caplog.text
    assert "S3CRET" not in world.dump()


def test_an_answer_of_500_is_tried_again_under_the_same_key(world, receiver):
    receiver.answers = [(500, {}, b"<oh\nno>"), (200, {}, b"")]
    routes(world, to(receiver))
    put(world, "a")
    assert send(world) == notifying.Told(postponed=1)
    assert deliveries(world)[0]["error"] == "answered 500: <oh no>"
    assert send(world) == notifying.Told(), "not before its time"
    world.clock.advance(15 * SECOND)
    assert send(world) == notifying.Told(sent=1)
    assert receiver.ids[0] == receiver.ids[1]
    assert [said["attempt"] for _, said in receiver.got] == [1, 2]


@pytest.mark.parametrize("status", [400, 410, 413, 422])
def test_a_message_that_is_refused_is_given_up_and_blocks_nothing(world, receiver, status):
    receiver.answers = [(status, {}, b""), (200, {}, b"")]
    routes(world, to(receiver))
    put(world, "a", "b")
    assert send(world) == notifying.Told(dead=1)
    assert send(world) == notifying.Told(sent=1)
    assert states(world) == ["dead", "sent"]


@pytest.mark.parametrize("status", [401, 403, 404, 408, 502, 503])
def test_what_somebody_may_mend_is_tried_again(world, receiver, status):
    receiver.answers = [(status, {}, b"")]
    routes(world, to(receiver))
    put(world, "a")
    assert send(world) == notifying.Told(postponed=1)


def test_a_receiver_that_asks_for_time_gets_it(world, receiver):
    receiver.answers = [(429, {"Retry-After": "120"}, b""), (200, {}, b"")]
    routes(world, to(receiver))
    put(world, "a")
    send(world)
    world.clock.advance(119 * SECOND)
    assert send(world) == notifying.Told()
    world.clock.advance(SECOND)
    assert send(world) == notifying.Told(sent=1)


def test_nothing_is_sent_on_to_where_a_receiver_redirects(world, receiver):
    with hook() as other:
        receiver.answers = [(307, {"Location": other.url}, b"")]
        routes(world, to(receiver))
        put(world, "a")
        assert send(world) == notifying.Told(postponed=1)
        assert other.got == []
    assert "it redirects" in deliveries(world)[0]["error"]


def test_a_receiver_that_trickles_its_answer_holds_nobody_up(world, receiver, monkeypatch):
    monkeypatch.setattr(notifying, "PATIENCE_S", 0.2)
    receiver.answers, receiver.trickle_s = [(500, {}, b"x" * 100)], 0.05
    routes(world, to(receiver))
    put(world, "a")
    began = time.monotonic()
    assert send(world) == notifying.Told(postponed=1)
    assert time.monotonic() - began < 2
    assert deliveries(world)[0]["error"] == "took longer than 0.2 s"


def test_a_receiver_that_says_nothing_times_out(world, receiver, monkeypatch):
    monkeypatch.setattr(transports, "TIMEOUT_S", 0.2)
    done = threading.Event()
    receiver.before = lambda: done.wait(10)
    routes(world, to(receiver))
    put(world, "a")
    try:
        assert send(world) == notifying.Told(postponed=1)
    finally:
        done.set()
    assert deliveries(world)[0]["error"].startswith("ReadTimeout")


def test_a_route_that_fails_is_left_alone_for_the_pass_and_the_others_are_not(world, receiver):
    with hook() as broken:
        broken.answers = [(500, {}, b"")]
        routes(world, f"{{to: webhook, name: broken, url: {broken.url}}}", to(receiver))
        put(world, "a", "b", "c")
        assert send(world) == notifying.Told(sent=3, postponed=1)
        assert len(broken.got) == 1
    assert [said["key"] for _, said in receiver.got] == ["a", "b", "c"]


def test_pages_go_before_what_informs(world, receiver):
    routes(world, to(receiver))
    put(world, "a", level=Level.INFORM)
    put(world, "b")
    send(world)
    assert [said["key"] for _, said in receiver.got] == ["b", "a"]


def test_no_more_is_begun_than_the_limit_and_the_time_allow(world, receiver):
    routes(world, to(receiver))
    put(world, "a", "b", "c")
    assert send(world, limit=2) == notifying.Told(sent=2)
    assert send(world, seconds=0.0) == notifying.Told()
    assert send(world) == notifying.Told(sent=1)


def test_of_six_senders_each_notice_is_sent_by_one(world, receiver):
    routes(world, to(receiver))
    put(world, *(f"n{n}" for n in range(12)))
    ready = threading.Barrier(6)

    def work(_):
        ready.wait()
        try:
            return notifying.send_due(world.store).sent
        finally:
            world.store.close()

    with ThreadPoolExecutor(6) as pool:
        sent = sum(pool.map(work, range(6)))
    sent += send(world).sent
    assert sent == 12
    assert sorted(receiver.ids) == sorted(set(receiver.ids))
    assert [said["key"] for _, said in receiver.got] == [f"n{n}" for n in range(12)]


def test_a_sender_that_is_killed_between_sending_and_saying_so_sends_again_under_the_same_key(
    world, receiver
):
    routes(world, to(receiver))
    put(world, "a")
    code = (
        "import sys; from lastgood.store.connection import Store; from tasks import notifying\n"
        "notifying.send_due(Store(sys.argv[1]))"
    )
    with subprocess.Popen([sys.executable, "-c", code, world.store.url], cwd=CHECKOUT) as sender:
        receiver.before = lambda: os.kill(sender.pid, signal.SIGKILL)
        assert sender.wait(30) == -signal.SIGKILL
    assert (len(receiver.got), states(world)) == (1, ["sending"])
    receiver.before = lambda: None
    later = ManualClock(wall_us=time.time_ns() // 1_000 + outbox.CLAIM_US)
    held = Store(world.store.url, later)
    assert notifying.send_due(held) == notifying.Told(sent=1)
    held.close()
    assert receiver.ids[0] == receiver.ids[1]
    assert states(world) == ["sent"]


def test_a_route_that_is_gone_gives_its_deliveries_up(world, receiver):
    routes(world, to(receiver))
    put(world, "a")
    outbox.route_new(world.store)
    routes(world, to(receiver).replace("name: all", "name: other"))
    assert send(world) == notifying.Told(dead=1)
    assert "the route is gone" in deliveries(world)[0]["error"]


def test_a_block_of_prefect_waits_for_a_process_of_prefect_and_holds_nobody_up(world, receiver):
    routes(world, "{to: prefect, name: block, block: slack-webhook/x, retry_for: 1 h}", to(receiver))
    put(world, "a")
    assert send(world) == notifying.Told(sent=1)
    assert sorted(states(world)) == ["sent", "waiting"]
    world.clock.advance(3_600 * SECOND)
    assert send(world) == notifying.Told(dead=1)
    assert "no process that can send" in deliveries(world)[1]["error"]


def test_a_background_thread_sends_until_it_is_stopped(world, receiver):
    routes(world, to(receiver))
    stop = threading.Event()
    sender = threading.Thread(target=notifying.keep_sending, args=(world.store, stop, 0.01))
    sender.start()
    try:
        put(world, "a")
        until = time.monotonic() + 10
        while not receiver.got and time.monotonic() < until:
            time.sleep(0.01)
    finally:
        stop.set()
        sender.join(10)
    assert len(receiver.got) == 1
    assert not sender.is_alive()


def test_a_store_that_is_gone_is_logged_and_stops_nothing(world, caplog):
    world.store.close()
    world.store.path.unlink()
    assert notifying.send_quietly(world.store) == notifying.Told()
    assert "people could not be told now" in caplog.text


@pytest.mark.parametrize(
    "line",
    [
        "{{to: webhook, name: all, url: 'http://127.0.0.1:{}/x'}}",
        "{{to: slack, name: all, url: env:HOOK}}",
        "{{to: email, name: all, address: [a@example.com], sender: l@example.com, server: 'smtp://127.0.0.1:{}'}}",
    ],
)
def test_nothing_is_sent_to_what_only_this_host_reaches(world, receiver, monkeypatch, line):
    monkeypatch.delenv("LASTGOOD_ALLOW_HOSTS")
    monkeypatch.setenv("HOOK", receiver.url)
    routes(world, line.format(receiver.url.partition("1:")[2].partition("/")[0]))
    put(world, "a")
    assert notifying.send_due(world.store) == notifying.Told(postponed=1)
    (row,) = deliveries(world)
    assert "127.0.0.1 is refused: it is 127.0.0.1, a loopback address; allow it by name" in row["error"]
    assert receiver.got == []


# -- e-mail

LINE = (
    "{{to: email, name: mail, address: [ana@example.com, ben@example.com], sender: l@example.com,"
    " server: {}{}}}"
)


def test_an_e_mail_reaches_everybody_with_one_message_id_a_delivery(world):
    with mail() as (box, port):
        routes(world, LINE.format(f"smtp://127.0.0.1:{port}", ""))
        put(world, "a")
        assert send(world) == notifying.Told(sent=1)
    envelope = box.took[0]
    text = envelope.content.decode()
    notice = world.rows("SELECT * FROM notice")[0]
    assert envelope.rcpt_tos == ["ana@example.com", "ben@example.com"]
    assert "Subject: [page] title a\r\n" in text
    assert f"Message-ID: <{notice['id']}.mail@example.com>" in text
    assert "X-Priority: 1" in text


def test_a_title_with_strange_signs_stays_one_header(world):
    with mail() as (box, port):
        routes(world, LINE.format(f"smtp://127.0.0.1:{port}", ""))
        put(world, "ü\x00\x1b[0m\r\nBcc: eve@example.com")
        assert send(world) == notifying.Told(sent=1)
    head = box.took[0].content.decode().partition("\r\n\r\n")[0]
    assert "\r\nBcc:" not in head


def test_a_mail_server_that_is_busy_is_tried_again_and_one_that_refuses_is_not(world):
    with mail() as (box, port):
        box.answers = ["451 later", "250 OK", "554 never"]
        routes(world, LINE.format(f"smtp://127.0.0.1:{port}", ""))
        put(world, "a")
        assert send(world) == notifying.Told(postponed=1)
        assert "451 later" in deliveries(world)[0]["error"]
        world.clock.advance(15 * SECOND)
        assert send(world) == notifying.Told(sent=1)
        put(world, "b")
        assert send(world) == notifying.Told(dead=1)


def test_one_recipient_that_is_refused_does_not_keep_it_from_the_other(world, caplog):
    with mail() as (box, port):
        box.refused = {"ben@example.com"}
        routes(world, LINE.format(f"smtp://127.0.0.1:{port}", ""))
        put(world, "a")
        assert send(world) == notifying.Told(sent=1)
        assert box.took[0].rcpt_tos == ["ana@example.com"]
        assert "some recipients were refused" in caplog.text
        box.refused.add("ana@example.com")
        put(world, "b")
        assert send(world) == notifying.Told(dead=1)


def test_a_mail_server_that_is_down_is_tried_again(world):
    routes(world, LINE.format("smtp://127.0.0.1:1", ""))
    put(world, "a")
    assert send(world) == notifying.Told(postponed=1)
    assert "ConnectionRefusedError" in deliveries(world)[0]["error"]


def test_a_password_is_not_sent_in_clear(world, monkeypatch):
    monkeypatch.setenv("MAIL_PASSWORD", "s3cret")
    asked = []

    def authenticate(*given):
        asked.append(given)

    with mail(authenticator=authenticate, auth_require_tls=False) as (_, port):
        routes(world, LINE.format(f"smtp://127.0.0.1:{port}", ", user: ana, password: env:MAIL_PASSWORD"))
        put(world, "a")
        assert send(world) == notifying.Told(postponed=1)
    assert asked == []
    assert "the password is not sent in clear" in deliveries(world)[0]["error"]


@pytest.fixture
def certificate(tmp_path, monkeypatch):
    """A certificate of localhost that this process trusts."""
    key, made = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
    ]
    command += ["-keyout", str(key), "-out", str(made), "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost"]
    subprocess.run(command, check=True, capture_output=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(made))
    return made, key


def test_a_password_goes_over_starttls_and_the_certificate_is_checked(world, monkeypatch, certificate):
    import ssl

    from aiosmtpd.smtp import AuthResult, LoginPassword

    asked = []

    def authenticate(_server, _session, _envelope, _mechanism, given):
        asked.append(given)
        return AuthResult(success=given == LoginPassword(b"ana", b"s3cret"))

    monkeypatch.setenv("MAIL_PASSWORD", "s3cret")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    given = {"tls_context": context, "require_starttls": True, "authenticator": authenticate}
    with mail(auth_required=True, **given) as (box, port):
        line = LINE.format(f"smtp://localhost:{port}", ", user: ana, password: env:MAIL_PASSWORD")
        routes(world, line)
        put(world, "a")
        assert send(world) == notifying.Told(sent=1)
        assert len(box.took) == len(asked) == 1
        routes(world, line.replace("localhost", "127.0.0.1"))  # no name of the certificate
        put(world, "b")
        assert send(world) == notifying.Told(postponed=1)
        assert len(asked) == 1
    assert "certificate verify failed" in deliveries(world)[1]["error"]
