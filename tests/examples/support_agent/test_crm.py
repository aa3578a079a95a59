"""The CRM over HTTP: changes by key, once each, and taken back as if they had never been."""

import threading

import httpx
import pytest

from examples.support_agent.crm.books import Books
from examples.support_agent.crm.faults import Faults
from examples.support_agent.crm.server import serving
from examples.support_agent.crm.service import Answer, Request, Service

ORDER = {"id": "O1", "customer": "C1", "amount_cents": 4_500, "age_days": 3}


def send(client, method, path, body, key):
    return client.request(method, path, json=body, headers={"Idempotency-Key": key})


@pytest.fixture
def loaded(client):
    for table, row in (("orders", ORDER), ("tickets", {"id": "T1", "customer": "C1"})):
        send(client, "POST", f"/load/{table}", {"rows": [row]}, f"load-{table}")
    return client


def test_a_refund_is_a_row(loaded, books):
    made = send(loaded, "POST", "/refunds", {"order": "O1", "amount_cents": 4_500}, "k1")
    assert made.json()["refund"]["amount_cents"] == 4_500
    assert [row["amount_cents"] for row in books.shown()["refunds"]] == [4_500]


def test_the_same_key_again_has_no_effect_and_the_same_answer(loaded, books):
    first, again = (send(loaded, "POST", "/refunds", {"order": "O1", "amount_cents": 1}, "k1") for _ in "12")
    assert first.json() == again.json()
    assert len(books.shown()["refunds"]) == 1


def test_a_key_of_another_request_is_refused(loaded, books):
    send(loaded, "POST", "/refunds", {"order": "O1", "amount_cents": 1}, "k1")
    wrong = send(loaded, "POST", "/refunds", {"order": "O1", "amount_cents": 2}, "k1")
    assert (wrong.status_code, len(books.shown()["refunds"])) == (422, 1)
    assert "came with another request before" in wrong.json()["error"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "said"),
    [
        ("GET", "/orders/O9", None, 404, "no order 'O9'"),
        ("GET", "/nothing", None, 404, "there is no GET /nothing"),
        ("POST", "/refunds", {"order": "O1"}, 422, "amount_cents is None; give a int"),
        ("POST", "/refunds", {"order": "O1", "amount_cents": 0}, 422, "give 1 to"),
        ("POST", "/refunds", {"order": "O1", "amount_cents": True}, 422, "amount_cents is True"),
        ("PATCH", "/tickets/T1", {"customer": "C2"}, 422, "a ticket's fields are"),
        ("PATCH", "/tickets/T9", {"status": "solved"}, 404, "no ticket 'T9'"),
        ("POST", "/refunds", ["no object"], 400, "the body is no object"),
    ],
)
def test_what_can_not_be_met_is_said_and_changes_nothing(loaded, books, method, path, body, status, said):
    before = books.shown()
    answer = loaded.request(method, path, json=body, headers={"Idempotency-Key": "k1"})
    assert answer.status_code == status
    assert said in answer.json()["error"]
    assert books.shown() == before


def test_a_change_without_a_key_is_refused(loaded, books):
    assert loaded.post("/refunds", json={"order": "O1", "amount_cents": 1}).status_code == 400
    assert books.shown()["refunds"] == []


@pytest.mark.parametrize(
    ("place", "method", "path", "body"),
    [
        ("refunds", "POST", "/refunds", {"order": "O1", "amount_cents": 4_500}),
        ("tickets", "PATCH", "/tickets/T1", {"status": "solved", "address": "Am Bach 1, 1010 Wien"}),
        ("notes", "PUT", "/customers/C1/notes/faq", {"text": "asked about returns"}),
    ],
)
def test_an_undone_change_has_never_been(loaded, books, place, method, path, body):
    before = books.shown()
    send(loaded, method, path, body, "k1")
    assert books.shown() != before
    assert send(loaded, "POST", f"/undo/{place}", {"of": "k1"}, "u1").json()["undone"] > 0
    assert books.shown() == before
    assert send(loaded, "POST", f"/undo/{place}", {"of": "k1"}, "u2").json()["undone"] == 0
    assert books.shown() == before


def test_what_was_written_over_comes_back(loaded, books):
    send(loaded, "PUT", "/customers/C1/notes/faq", {"text": "good"}, "k1")
    send(loaded, "PUT", "/customers/C1/notes/faq", {"text": "bad"}, "k2")
    send(loaded, "POST", "/undo/notes", {"of": "k2"}, "u2")
    assert [row["text"] for row in books.shown()["notes"]] == ["good"]


def test_a_later_change_stays_and_remembers_what_was_before_the_undone_one(loaded, books):
    for key, status in (("k1", "solved"), ("k2", "escalated"), ("k3", "solved")):
        send(loaded, "PATCH", "/tickets/T1", {"status": status}, key)
    send(loaded, "POST", "/undo/tickets", {"of": "k2"}, "u2")
    assert books.shown()["tickets"][0]["status"] == "solved"
    send(loaded, "POST", "/undo/tickets", {"of": "k1"}, "u1")
    send(loaded, "POST", "/undo/tickets", {"of": "k3"}, "u3")
    assert books.shown()["tickets"][0]["status"] == "open"


def test_a_change_that_was_undone_before_it_arrived_is_barred(loaded, books):
    assert send(loaded, "POST", "/undo/refunds", {"of": "k1"}, "u1").json() == {"undone": 0}
    late = send(loaded, "POST", "/refunds", {"order": "O1", "amount_cents": 1}, "k1")
    assert late.status_code == 409
    assert "was undone before it arrived" in late.json()["error"]
    assert books.shown()["refunds"] == []


def test_a_delivered_message_is_corrected_once(loaded, books):
    send(loaded, "POST", "/messages", {"ticket": "T1", "text": "wrong"}, "k1")
    first = send(loaded, "POST", "/undo/messages", {"of": "k1", "correction": "sorry"}, "u1").json()
    again = send(loaded, "POST", "/undo/messages", {"of": "k1", "correction": "sorry"}, "u2").json()
    assert first["correction"] == again["correction"]
    texts = {row["text"]: row["corrects"] for row in books.shown()["messages"]}
    assert set(texts) == {"wrong", "sorry"}
    assert texts["sorry"] is not None


def test_a_message_that_waits_is_recalled():
    books = Books(deliver_after_s=60)
    service = Service(books)
    with books.changing():
        books.load("tickets", [{"id": "T1", "customer": "C1"}])
    service.answer(Request("POST", "/messages", {"ticket": "T1", "text": "wrong"}, "k1"))
    assert service.answer(Request("POST", "/undo/messages", {"of": "k1"}, "u1")) == Answer(200, {"undone": 1})
    assert books.shown()["messages"] == []
    books.close()


def test_what_is_kept_outlives_the_process(tmp_path):
    for number in (1, 2):
        books = Books(str(tmp_path / "crm.db"))
        with books.changing():
            books.load("tickets", [{"id": f"T{number}", "customer": "C1"}])
        found = [row["id"] for row in books.shown()["tickets"]]
        books.close()
    assert found == ["T1", "T2"]


def test_of_many_clients_at_once_each_effect_is_there_once(loaded, books):
    def work(number):
        for place in range(10):
            send(loaded, "POST", "/refunds", {"order": "O1", "amount_cents": 1}, f"k{(number + place) % 10}")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(books.shown()["refunds"]) == 10


@pytest.mark.parametrize(
    "faults", [Faults(fail=0.4, seed=1), Faults(twice=1.0), Faults(fail=0.3, twice=0.5, seed=3)]
)
def test_whatever_goes_wrong_a_client_that_tries_again_has_one_effect(books, faults):
    with serving(books, Faults()) as crm, httpx.Client(base_url=crm.url, trust_env=False) as client:
        send(client, "POST", "/load/orders", {"rows": [ORDER]}, "load")
        crm.faults = faults
        statuses = []
        for number in range(30):
            while True:
                status = send(
                    client, "POST", "/refunds", {"order": "O1", "amount_cents": 1}, f"k{number}"
                ).status_code
                statuses.append(status)
                if status == 200:
                    break
        assert len(books.shown()["refunds"]) == 30
        assert (500 in statuses) == (faults.fail > 0)


def test_a_call_that_hangs_has_its_effect_all_the_same(books):
    with serving(books) as crm, httpx.Client(base_url=crm.url, trust_env=False, timeout=0.1) as client:
        client.post("/load/orders", json={"rows": [ORDER]}, headers={"Idempotency-Key": "l"}, timeout=10)
        crm.faults = Faults(hang=1.0, hang_s=0.3)
        with pytest.raises(httpx.ReadTimeout):
            send(client, "POST", "/refunds", {"order": "O1", "amount_cents": 1}, "k1")
        crm.faults = Faults()
        again = client.post(
            "/refunds", json={"order": "O1", "amount_cents": 1}, headers={"Idempotency-Key": "k1"}, timeout=10
        )
    assert again.status_code == 200
