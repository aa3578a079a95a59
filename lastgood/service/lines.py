"""JSON lines: the body of a batch, one object a line, each read by itself."""

import codecs
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from lastgood.errors import InvalidInput
from lastgood.service.problems import TooMuch

#: lines of a batch
MOST_LINES = 10_000
#: levels of nesting; what is kept of a run is cut well above that
DEEPEST = 500
#: what JSON takes for space, but for the end of a line
_SPACE = " \t\r"
#: types of what a line holds, as OpenAPI says them
KNOWN = {
    **dict.fromkeys(("completed", "validated", "escalated", "infra_failure"), "boolean"),
    **dict.fromkeys(("incidents", "operator_edits"), "integer"),
    **dict.fromkeys(("cost_usd", "latency_s"), "number"),
}
OUTCOME = {**KNOWN, "status": "string", "error": "string", "usage": "array"}
_decode = json.JSONDecoder().raw_decode


@dataclass(slots=True)
class Lines:
    """A batch that was read."""

    #: number of each line, from 1, and its object
    read: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    #: number of each line that can't be read, and why
    unread: list[tuple[int, str]] = field(default_factory=list)


def read(sent: bytes) -> Lines:
    """Read JSON lines; raises `InvalidInput` and `TooMuch` where nothing of it can be used."""
    found = Lines()
    for number, piece in _pieces(sent):
        if piece is None:
            found.unread.append((number, f"line {number} is no UTF-8 text"))
            continue
        try:
            value, end = _decode(piece)
        except (ValueError, RecursionError) as error:
            found.unread.append((number, f"line {number} is no JSON: {str(error)[:100]}"))
            continue
        if end != len(piece):
            found.unread.append((number, f"line {number} is no JSON: more follows at character {end}"))
        elif _is_deep(piece, value):
            found.unread.append((number, f"line {number} is nested deeper than {DEEPEST} levels"))
        elif not isinstance(value, dict):
            found.unread.append((number, f"line {number} is no JSON object"))
        else:
            found.read.append((number, value))
    if not found.read:
        why = found.unread[0][1] if found.unread else "it is empty"
        msg = f"no line of the batch can be read: {why}; send one JSON object a line with run and token"
        raise InvalidInput(msg)
    return found


def _is_deep(piece: str, value: Any) -> bool:
    if piece.count("[") + piece.count("{") <= DEEPEST:
        return False
    level, depth = [value], 0
    while level and depth <= DEEPEST:
        level = [
            held
            for each in level
            if isinstance(each, list | dict)
            for held in (each.values() if isinstance(each, dict) else each)
        ]
        depth += 1
    return depth > DEEPEST


def _pieces(sent: bytes) -> list[tuple[int, str | None]]:
    """Return the lines that hold something, with their numbers from 1; None for one that is no UTF-8."""
    sent = sent.removeprefix(codecs.BOM_UTF8)
    lines: Sequence[str | None]
    try:
        lines = sent.decode().split("\n")
    except UnicodeDecodeError:  # a line that is none must not spoil the others
        lines = [_decoded(line) for line in sent.split(b"\n")]
    stripped = (None if line is None else line.strip(_SPACE) for line in lines)
    pieces = [(number, piece) for number, piece in enumerate(stripped, start=1) if piece != ""]
    if len(pieces) > MOST_LINES:
        msg = f"a batch of {len(pieces):,} lines; send at most {MOST_LINES:,} at once"
        raise TooMuch(msg)
    return pieces


def _decoded(line: bytes) -> str | None:
    try:
        return line.decode()
    except UnicodeDecodeError:
        return None


def body(**fields: str) -> dict[str, Any]:
    """Return the body of a batch as OpenAPI says it: what one line holds, beside run and token."""
    text = {"type": "string", "minLength": 1, "maxLength": 500}
    known = {"run": text, "token": text, **{name: {"type": kind} for name, kind in fields.items()}}
    line = {"type": "object", "required": ["run", "token"], "properties": known}
    said = f"JSON lines, {MOST_LINES:,} at most; the schema is that of a line."
    return {
        "requestBody": {
            "required": True,
            "description": said,
            "content": {"application/jsonl": {"schema": line}},
        }
    }
