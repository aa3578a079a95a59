"""Prompts of Langfuse as parts, from answers in the shape of its API (`/api/public/v2/prompts/{name}`)."""

import json

import pytest

from lastgood.bundle_file import read_bundle_file
from lastgood.errors import InvalidBundle
from tests.tasks.answering import answering

#: as the API answers, left-out fields included
TEXT = {
    "id": "5c0e9d0e-6c4f-4b39-9d3b-6f5d0f7c1a11", "createdAt": "2026-11-02T09:15:21.114Z",
    "updatedAt": "2026-11-20T10:02:07.402Z", "projectId": "clx0a1b2c", "createdBy": "ana", "prompt":
    "Answer {{customer}} in one paragraph.", "name": "support/reply", "version": 7, "type": "text",
    "isActive": None, "config": {}, "tags": ["support"], "labels": ["production", "latest"],
    "commitMessage": None, "resolutionGraph": None,
}  # fmt: skip
CHAT = TEXT | {
    "type": "chat", "config": {"model": "gpt-4o", "temperature": 0.2},
    "prompt": [{"role": "system", "content": "Be brief."}, {"type": "placeholder", "name": "h"}],
}  # fmt: skip


@pytest.fixture
def langfuse(monkeypatch):
    with answering() as server:
        monkeypatch.setenv("LANGFUSE_HOST", server.url)
        monkeypatch.setenv("LANGFUSE_PUBLIC_KEY", "pk-lf-00000000")
        monkeypatch.setenv("LANGFUSE_SECRET_KEY", "sk-lf-0123456789-planted")
        server.answer = lambda *_: (200, json.dumps(TEXT).encode())
        yield server


@pytest.fixture
def prompt(tmp_path):
    def read(reference="support/reply@7"):
        others = "".join(
            f"  {kind}: {{version: '1', inline: x}}\n" for kind in ("model", "tools", "memory", "policy")
        )
        path = tmp_path / "bundle.yaml"
        path.write_text(f"parts:\n  prompt: {{version: '7', langfuse: '{reference}'}}\n{others}")
        return read_bundle_file(path).bundle["prompt"]

    return read


def test_a_text_prompt_is_copied_at_its_version(langfuse, prompt):
    assert prompt().text == TEXT["prompt"]
    ((path, query, headers),) = langfuse.asked
    assert (path, query) == ("/api/public/v2/prompts/support%2Freply", {"version": "7"})
    assert headers["Authorization"].startswith("Basic ")


def test_a_chat_prompt_is_copied_with_its_configuration(langfuse, prompt):
    langfuse.answer = lambda *_: (200, json.dumps(CHAT).encode())
    data = prompt().data
    assert data["prompt"][0]["content"] == "Be brief."
    assert dict(data["config"]) == CHAT["config"]


def test_what_is_beside_the_prompt_does_not_enter_the_digest(langfuse, prompt):
    first = prompt().digest
    langfuse.answer = lambda *_: (200, json.dumps(TEXT | {"labels": [], "updatedAt": "later"}).encode())
    assert prompt().digest == first


@pytest.mark.parametrize(
    "reference", ["support@production", "support@latest", "support", "@7", "support@0", "support@7.0"]
)
def test_a_label_or_no_version_is_refused_and_nothing_is_asked(langfuse, prompt, reference):
    with pytest.raises(InvalidBundle, match=r"a label moves|names no version"):
        prompt(reference)
    assert langfuse.asked == []


@pytest.mark.parametrize(
    ("status", "answer", "said"),
    [
        (404, {"error": "LangfuseNotFoundError"}, "has no prompt support/reply@7"),
        (401, {}, "refuses LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY"),
        (500, {}, "answered 500"),
        (200, {"message": "ok"}, "is no prompt: it has no 'type'"),
        (200, [1], "is no prompt"),
        (200, TEXT | {"version": 8}, "answered with support/reply@8, not with support/reply@7"),
        (200, TEXT | {"type": "image"}, "neither text nor chat"),
        (200, TEXT | {"prompt": 7}, "neither text nor chat"),
        (200, None, "is no prompt"),
    ],
)
def test_an_answer_that_is_no_such_prompt_is_refused(langfuse, prompt, status, answer, said):
    langfuse.answer = lambda *_: (status, json.dumps(answer).encode())
    with pytest.raises(InvalidBundle, match=said) as refused:
        prompt()
    assert "planted" not in str(refused.value)


def test_a_server_that_is_inside_or_keys_that_are_missing_are_named(langfuse, prompt, monkeypatch):
    monkeypatch.delenv("LASTGOOD_ALLOW_HOSTS")
    with pytest.raises(InvalidBundle, match="allow it by name in LASTGOOD_ALLOW_HOSTS"):
        prompt()
    monkeypatch.delenv("LANGFUSE_SECRET_KEY")
    with pytest.raises(InvalidBundle, match="are not set here"):
        prompt()
    assert langfuse.asked == []
