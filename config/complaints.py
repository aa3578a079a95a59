"""What is wrong with a policy or a profile: the file, the line, the key and the way out, a sentence each."""

from collections.abc import Mapping
from typing import get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from config.document import POLICY, Document, What
from config.metrics import Misplaced, Path, nearest
from lastgood.errors import InvalidInput

#: problems that one message lists at most
MOST = 8
#: characters of a wrong key or value that a message shows
_SHOWN = 40


def complain(
    error: ValidationError, document: Document, model: type[BaseModel], what: What = POLICY
) -> InvalidInput:
    """One error for all problems of a document, one a line, in the order of the text."""
    details = error.errors(include_url=False)
    paths = [_path(detail) for detail in details]
    found = {
        (_line(document, path), f"{_where(document, path)}: {_key(path)}{_say(path, detail, model)}")
        for path, detail in zip(paths, details, strict=True)
        if not _follows(path, detail, paths)
    }
    problems = [problem for _, problem in sorted(found)]
    more = [f"and {len(problems) - MOST} more"] if len(problems) > MOST else []
    return what.error("\n".join(problems[:MOST] + more))


def _follows(path: Path, detail: ErrorDetails, paths: list[Path]) -> bool:
    """Whether an error only follows from another one, which is told by itself."""
    if detail["type"] == "too_short":  # a list whose members were refused
        return any(len(other) > len(path) and other[: len(path)] == path for other in paths)
    return detail["type"] == "default_factory_not_called"


def _path(detail: ErrorDetails) -> Path:
    inner = detail.get("ctx", {}).get("error")
    # pydantic marks a bad key of a mapping with a last '[key]'
    outer = tuple(place for place in detail["loc"] if place != "[key]")
    return (*outer, *(inner.path if isinstance(inner, Misplaced) else ()))


def _line(document: Document, path: Path) -> int:
    known = (document.lines[path[:end]] for end in range(len(path), 0, -1) if path[:end] in document.lines)
    return next(known, 1)


def _where(document: Document, path: Path) -> str:
    return document.where(*path) if document.lines else document.name


def _key(path: Path) -> str:
    text = "".join(f"[{place}]" if isinstance(place, int) else f".{place[:_SHOWN]}" for place in path)
    return f"{text.removeprefix('.')}: " if path else ""


def _say(path: Path, detail: ErrorDetails, model: type[BaseModel]) -> str:
    inner = detail.get("ctx", {}).get("error")
    if isinstance(inner, ValueError):
        return str(inner)
    if detail["type"] == "extra_forbidden":
        known = _known_keys(path, model)
        return f"unknown key{nearest(str(path[-1]), known)} Known: {', '.join(known)}"
    if detail["type"] == "missing":
        return "is missing"
    if detail["type"] in {"invalid_key", "string_pattern_mismatch"}:
        shown = _shown(detail["input"])
        return f"should be a name of lower-case letters and digits such as 'my_name', not {shown}"
    message = detail["msg"].removeprefix("Input ")
    return f"{message[0].lower()}{message[1:]}, not {_shown(detail['input'])}"


def _known_keys(path: Path, model: type[BaseModel]) -> list[str]:
    for place in path[:-1]:
        field = _fields(model).get(str(place))
        model = (field and _model_in(field.annotation)) or model
    return list(_fields(model))


def _fields(model: type[BaseModel]) -> Mapping[str, FieldInfo]:
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _model_in(annotation: object) -> type[BaseModel] | None:
    """The model that an annotation is, or holds (in a tuple, a mapping, Annotated)."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_model_in, get_args(annotation))), None)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


__all__ = ["complain"]
