"""A prompt of Langfuse as a part's content: `langfuse: name@version`, copied when the bundle is registered.

LANGFUSE_HOST names the server, LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY the project, as for Langfuse's own
clients. A version is a number: a label moves, so it is refused. A text prompt becomes the part's text, a chat
prompt the list of its messages; a configuration goes along beside it.
"""

import json
import os
import re
from typing import Any
from urllib.parse import quote

from lastgood.errors import InvalidBundle, Refused

#: where prompts are, unless LANGFUSE_HOST or LANGFUSE_BASE_URL says otherwise
HOST = "https://cloud.langfuse.com"
#: seconds, and bytes of an answer
_TIMEOUT_S, _BYTES = 20.0, 2_000_000
_NAME = re.compile(r"[^\x00-\x1f\x7f@]{1,200}")


def read_langfuse(text: str) -> Any:
    """The content of a prompt at a version: text, messages, or a map of these and the configuration.

    Raises `InvalidBundle` for a label, a prompt that is not there, and an answer that is no prompt.
    """
    name, at, version = text.rpartition("@")
    if not at or not _NAME.fullmatch(name):
        raise InvalidBundle(f"{text!r} names no version; write name@version, like support-reply@7")
    if not re.fullmatch(r"[1-9][0-9]{0,8}", version):
        raise InvalidBundle(f"{version!r} is a label, and a label moves; write the number of a version")
    return content(_fetched(name, int(version)), name, int(version))


def _fetched(name: str, version: int) -> Any:
    try:
        import httpx

        from lastgood import guard
    except ModuleNotFoundError as error:
        raise InvalidBundle(f"reading from Langfuse needs {error.name}: `pip install httpx`") from error

    host = os.environ.get("LANGFUSE_HOST") or os.environ.get("LANGFUSE_BASE_URL") or HOST
    keys = tuple(os.environ.get(f"LANGFUSE_{key}_KEY", "") for key in ("PUBLIC", "SECRET"))
    if not all(keys):
        raise InvalidBundle(
            "LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY are not set here; set both to read from Langfuse"
        )
    url = f"{host.rstrip('/')}/api/public/v2/prompts/{quote(name, safe='')}"
    try:
        with guard.client(timeout_s=_TIMEOUT_S, most_bytes=_BYTES) as client:
            answer = client.get(url, params={"version": str(version)}, auth=(keys[0], keys[1]))
    except Refused as error:
        raise InvalidBundle(str(error)) from error
    except httpx.HTTPError as error:
        raise InvalidBundle(
            f"Langfuse can't be reached ({type(error).__name__}: {error}); try again"
        ) from error
    return _answered(answer.status_code, answer.content, f"{name}@{version}")


def _answered(status: int, body: bytes, what: str) -> Any:
    if status == 404:
        raise InvalidBundle(
            f"Langfuse has no prompt {what}; look it up there, and write its version's number"
        )
    if status in {401, 403}:
        raise InvalidBundle("Langfuse refuses LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY: correct them")
    if status != 200:
        raise InvalidBundle(
            f"Langfuse answered {status} for {what}; try again, or copy the prompt into a file"
        )
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidBundle(f"the answer of Langfuse for {what} is no JSON; try again") from error


def content(answer: Any, name: str, version: int) -> Any:
    """What a part holds of Langfuse's answer; raises `InvalidBundle` where it is another, or none."""
    try:
        kind, found = answer["type"], (answer["name"], answer["version"])
        prompt, config = answer["prompt"], answer.get("config") or {}
    except (KeyError, TypeError, AttributeError) as error:
        raise InvalidBundle(f"the answer of Langfuse is no prompt: it has no {error}") from error
    if found != (name, version):
        raise InvalidBundle(f"Langfuse answered with {found[0]}@{found[1]}, not with {name}@{version}")
    if kind == "text" and isinstance(prompt, str):
        return {"prompt": prompt, "config": config} if config else prompt
    if kind == "chat" and isinstance(prompt, list) and all(isinstance(each, dict) for each in prompt):
        return {"prompt": prompt, "config": config} if config else prompt
    raise InvalidBundle(f"the prompt {name}@{version} is of type {kind!r}, which is neither text nor chat")


__all__ = ["HOST", "content", "read_langfuse"]
