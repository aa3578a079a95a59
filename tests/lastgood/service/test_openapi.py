"""What the service says of itself in OpenAPI."""

import pytest

pytestmark = pytest.mark.only("sqlite")


def test_every_route_that_takes_a_body_says_which(service):
    paths = service.get(None, "/openapi.json").json()["paths"]
    posts = {path: held["post"] for path, held in paths.items() if "post" in held}
    assert len(posts) > 15
    assert [path for path, said in posts.items() if "requestBody" not in said] == []
    for path, said in posts.items():
        for kind, body in said["requestBody"]["content"].items():
            assert body["schema"], (path, kind)


def test_an_evaluation_says_its_context(service):
    said = service.get(None, "/openapi.json").json()["paths"]["/ofrep/v1/evaluate/flags/{key}"]["post"]
    context = said["requestBody"]["content"]["application/json"]["schema"]["properties"]["context"]
    assert context["required"] == ["targetingKey"]
    assert {"risk", "task_type", "conversation", "run", "record"} <= set(context["properties"])
