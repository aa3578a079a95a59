"""JSON schemas of tools: checked when a bundle is registered, and at each call. Loaded on demand.

Draft 2020-12 unless a schema names another. No reference is ever fetched: what a schema needs stands in it.
"""

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, best_match
from jsonschema.protocols import Validator
from jsonschema.validators import validator_for
from referencing import Registry
from referencing.exceptions import Unresolvable

from lastgood.canonical import canonical_json
from lastgood.errors import InvalidBundle
from lastgood.frozen import thaw

#: characters of a value that a message shows
_SHOWN = 80


def check_schema(schema: Mapping[str, Any], what: str) -> None:
    """Raise InvalidBundle, which calls it `what`, for a schema that is none or refers to somewhere else."""
    try:
        validator_for(schema, default=Draft202012Validator).check_schema(thaw(schema))
    except SchemaError as error:
        msg = f"{what} is no JSON schema: {error.message[:200]} at {error.json_path}"
        raise InvalidBundle(msg) from error
    for reference in _references(schema):
        if not reference.startswith("#"):
            msg = f"{what} refers to {reference[:200]!r}, which is never fetched; put it under $defs"
            raise InvalidBundle(msg)


def _references(schema: Any) -> list[str]:
    if isinstance(schema, Mapping):
        own = [value for name, value in schema.items() if name == "$ref" and isinstance(value, str)]
        return own + [found for value in schema.values() for found in _references(value)]
    if isinstance(schema, list):
        return [found for value in schema for found in _references(value)]
    return []


@lru_cache(maxsize=1_024)
def _validator(text: bytes) -> Validator:
    schema = json.loads(text)
    return validator_for(schema, default=Draft202012Validator)(schema, registry=Registry())


def misfit(schema: Mapping[str, Any], value: Any) -> str | None:
    """Return where and how a JSON value does not fit a schema, or None where it does."""
    try:
        error = best_match(_validator(canonical_json(schema)).iter_errors(value))
    except Unresolvable as unresolved:
        return f"its schema refers to {unresolved.ref!r}, which it does not hold"
    if error is None:
        return None
    said = error.message if len(error.message) <= _SHOWN * 3 else f"{error.message[: _SHOWN * 3]}..."
    return f"{error.json_path}: {said}"


__all__ = ["check_schema", "misfit"]
