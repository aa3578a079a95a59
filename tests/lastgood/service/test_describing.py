"""OpenAPI says it all: a client can be made of the document alone."""

import json

import pytest

from tests.fuzz.bodies import BODIES
from tests.lastgood.service.test_roles_over_http import LINKED, OPEN, ROUTES

#: what the store does on either kind is tried beneath this layer
pytestmark = pytest.mark.only("sqlite")


#: requests whose body is nothing but a reason, like that of a kill
ALIKE = {"clear", "stop", "allow"}


@pytest.fixture
def document(service):
    return service.get(None, "/openapi.json").json()


def operations(document):
    for path, found in document["paths"].items():
        for method, operation in found.items():
            yield method.upper(), path, operation


def test_every_operation_says_what_it_does_takes_and_answers(document):
    for method, path, operation in operations(document):
        what = f"{method} {path}"
        assert operation["summary"], what
        assert operation["description"], what
        assert all(one.get("description") for one in operation.get("parameters", ())), what
        assert (method == "POST") == ("requestBody" in operation), what
        assert ("security" in operation) == ((method, path) not in OPEN | LINKED), what
        for status, answer in operation["responses"].items():
            assert answer["description"], (what, status)
            if status not in {"204", "304"}:
                [content] = answer["content"].values()
                assert content["schema"], (what, status)
        assert "422" not in operation["responses"], what


def test_every_body_is_fuzzed(document):
    names = {"incident": "inc_1", "agent": "support", "key": "support", "action": "act_1", "run": "RUN"}
    names |= {"policy": "default", "token": "lgl1.k.e30.x"}
    wanted = {path.format(**names) for method, path, _ in operations(document) if method == "POST"}
    assert {path for path in wanted if path.rpartition("/")[2] not in ALIKE} <= set(BODIES)


def test_every_name_that_it_refers_to_stands_in_it(document):
    known = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    text = json.dumps(document)
    used = {piece.split('"')[0] for piece in text.split('"$ref": "')[1:]}
    assert used
    assert used <= known
    assert "HTTPValidationError" not in text


@pytest.mark.parametrize("role", [None, "observer", "operator", "releaser", "approver", "agent", "auditor"])
def test_what_is_answered_stands_in_it(service, desk, document, role):
    told = {(method, path): set(operation["responses"]) for method, path, operation in operations(document)}
    names = {"incident": "inc_1", "agent": "support", "key": "support", "action": "act_1", "run": "run_1"}
    names |= {"bundle": "b-00000000", "policy": "no_such_policy", "token": "x"}
    desk.live(share_bp=5_000)
    for method, path in [*ROUTES, *OPEN, *LINKED]:
        if path == "/ofrep/v1/stream" and role is not None:
            continue  # it would not end
        body = ROUTES.get((method, path), (None, None))[1]
        for sent in ({"json": body} if body is not None else {}, {"content": b"{"}):
            given = sent if method == "POST" else {}
            answer = service.ask(role, method, path.format(**names), **given)
            assert str(answer.status_code) in told[method, path], (method, path, answer.text)


def test_the_ceilings_fields_stand_by_name(document):
    fields = document["components"]["schemas"]["Problem"]["properties"]
    assert fields.keys() == {"error", "message", "cap", "level", "used", "frees_us"}
