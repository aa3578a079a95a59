"""Canonical JSON: one value, one sequence of bytes, on every Python and machine.

UTF-8 text in NFC (keys too), map keys sorted by code point, lists in their order, no blanks, integers exact,
floats by their shortest repr. `1`, `1.0` and `true` stay three different values.
"""

import hashlib
import json
import math
from typing import Any

from lastgood.errors import InvalidInput

#: nested lists and maps
MAX_DEPTH = 64
#: bytes of one canonical value; above a bundle's largest part, whose files are held in base64
MAX_BYTES = 2_000_000
#: bits of an integer; Python refuses to print far longer ones
MAX_INT_BITS = 1_024

Path = tuple[str | int, ...]

#: what to write instead of a type that JSON lacks
_INSTEAD = {
    "date": "quote it",
    "datetime": "quote it",
    "time": "quote it",
    "bytes": "write text, or name a file",
    "bytearray": "write text, or name a file",
    "set": "write a list",
    "frozenset": "write a list",
    "tuple": "write a list",
    "Decimal": "quote it, or write a float",
}


def sha256_hex(data: bytes) -> str:
    """The sha256 of `data` as 64 lower-case hex digits."""
    return hashlib.sha256(data).hexdigest()


def nfc(text: str) -> str:
    """`text` in NFC, the same on every Python (`lastgood.unicode14`)."""
    if text.isascii():
        return text
    from lastgood.unicode14 import normalise

    return normalise(text)


def canonical_json(value: Any, *, name: str = "value") -> bytes:
    """The canonical bytes of a value made of str, int, float, bool, None, lists and maps with text keys.

    Args:
        value: what to encode.
        name: what messages call the value; a place inside it is `name.key[2]`.

    Raises:
        InvalidInput: another type, NaN or infinity, keys that become equal in NFC, a lone surrogate,
            deeper than `MAX_DEPTH`, or larger than `MAX_BYTES`.
    """
    clean = _Cleaner(name).clean(value, ())
    text = json.dumps(clean, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))
    data = text.encode()
    if len(data) > MAX_BYTES:
        raise InvalidInput(
            f"{name} has {len(data):,} bytes, {MAX_BYTES:,} are allowed; keep large data outside"
        )
    return data


def _place(name: str, path: Path) -> str:
    return name + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)


class _Cleaner:
    """Copies a value into its normal form and refuses what has none."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._left = MAX_BYTES  # an alias repeated a million times is stopped here, not by memory

    def clean(self, value: Any, path: Path) -> Any:
        self._spend(1, path)
        if value is None or isinstance(value, bool):
            return value
        if type(value) is str:
            return self._text(value, path)
        if type(value) is int:
            return self._int(value, path)
        if type(value) is float:
            return self._float(value, path)
        if isinstance(value, list):
            return self._list(value, path)
        if isinstance(value, dict):
            return self._map(value, path)
        raise self._unknown(value, path)

    def _error(self, path: Path, message: str) -> InvalidInput:
        return InvalidInput(f"{_place(self._name, path)} {message}")

    def _unknown(self, value: Any, path: Path) -> InvalidInput:
        kind = type(value).__name__
        hint = _INSTEAD.get(kind, "use plain text, numbers, booleans, null, lists and maps")
        return self._error(path, f"is of type {kind}, which JSON lacks; {hint}")

    def _spend(self, size: int, path: Path) -> None:
        self._left -= size
        if self._left < 0:
            raise self._error(path[:1], f"has more than {MAX_BYTES:,} bytes; keep large data outside")

    def _text(self, text: str, path: Path) -> str:
        self._spend(len(text), path)
        try:
            text.encode()
        except UnicodeEncodeError as error:
            hint = f"holds half a character (a lone surrogate at {error.start}); write the whole character"
            raise self._error(path, hint) from None
        return nfc(text)

    def _int(self, number: int, path: Path) -> int:
        if number.bit_length() > MAX_INT_BITS:
            raise self._error(path, f"is an integer of more than {MAX_INT_BITS:,} bits; quote it")
        return number

    def _float(self, number: float, path: Path) -> float:
        if not math.isfinite(number):
            raise self._error(path, f"is {number}, which is no number; write a finite one, or null")
        return number

    def _enter(self, path: Path) -> None:
        if len(path) >= MAX_DEPTH:
            raise self._error(path[:1], f"is nested deeper than {MAX_DEPTH} levels; make it flatter")

    def _list(self, items: list[Any], path: Path) -> list[Any]:
        self._enter(path)
        return [self.clean(item, (*path, index)) for index, item in enumerate(items)]

    def _map(self, items: dict[Any, Any], path: Path) -> dict[str, Any]:
        self._enter(path)
        found: dict[str, Any] = {}
        for key, item in items.items():
            if type(key) is not str:
                raise self._error(path, f"has the key {key!r} of type {type(key).__name__}; quote it")
            normal = self._text(key, path)
            if normal in found:
                raise self._error(path, f"has two keys that are the same text in NFC: {normal!r}; drop one")
            found[normal] = self.clean(item, (*path, key))
        return found
