"""Records: how the input and output of a run are kept, and what is taken out of them first.

`redact` is a pure function over JSON-like values. It finds what has a shape (addresses, phone and card
numbers, a team's own patterns); names and free prose have none, so a team that must not keep them
sets `keep: reference` or `keep: none`.
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, TypeAlias

from lastgood import shapes
from lastgood.errors import InvalidInput

Scrub: TypeAlias = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Records:
    """How the inputs and outputs of runs are kept."""

    #: `inline`: in the store; `reference`: only what the agent names (a URL, a key); `none`: not at all
    keep: Literal["inline", "reference", "none"] = "inline"
    #: `email`, `phone`, `card`, or `pattern:` and a regular expression
    redact: tuple[str, ...] = ("email", "phone", "card")
    #: bytes of redacted JSON that are kept of one input or output
    max_bytes: int = 64_000


#: prefix of a team's own regular expression
PATTERN = "pattern:"
#: characters that such an expression may have
MAX_PATTERN = 500
#: levels of nesting that are kept; what lies deeper is replaced
MAX_DEPTH = 100

# Both sides of the @ are bounded, so that a text of nothing but letters costs linear time.
_EMAIL = re.compile(
    r"(?<![\w.+%-])[\w.+%'-]{1,64}@(?:[\w-]{1,63}\.){1,8}(?:[^\W\d_]{2,24}|xn--[\w-]{2,59})(?![\w-])"
)
_PHONE = re.compile(
    r"(?<![\w.+-])(?:"
    r"\+\d{1,3}(?:[ .\-/]?\(?\d{1,5}\)?){2,6}"  # +49 151 2345678, +1 (555) 123-4567
    r"|(?:1[ .-])?(?:\(\d{3}\) ?|\d{3}[ .-])\d{3}[ .-]\d{4}"  # (555) 123-4567, 1-800-555-1234
    r"|0\d(?:[ .-]\d{2}){4}"  # 06 12 34 56 78
    r"|0\d{2,4}[ /-]?\d{3,4}[ -]?\d{3,5}"  # 030 1234567, 020 7946 0958
    r")(?![\w-])"
)
_DIGITS = re.compile(r"[0-9](?:[ -]?[0-9]){12,}")
#: digits of a payment card (ISO/IEC 7812)
_CARD_LENGTHS = range(13, 20)
#: the least such number, and the least that is longer
_CARD_NUMBERS = (10**12, 10**19)


def storable(text: str) -> str:
    """Return a text that every store can hold: no NUL, and `?` for half a surrogate pair.

    Models are cut off in the middle of a character, and what they said must not be lost with it.
    """
    return text.replace("\0", "").encode("utf-8", "replace").decode()


def unsecret_json(text: str) -> str:
    """Return JSON in which what has the shape of a secret reads `[secret]`."""
    return text if not shapes.known(text) else json.dumps(redact(json.loads(text), ()))


def unsecret_key(key: str | None) -> str | None:
    """Return what stands for a caller's own key in the store: itself, or the digest of one with a secret."""
    if key is None or not shapes.known(key):
        return key
    return f"secret:{hashlib.blake2b(key.encode('utf-8', 'surrogatepass'), digest_size=16).hexdigest()}"


def redact(value: object, rules: tuple[str, ...]) -> object:
    """A copy of a JSON-like value; what the rules match reads `[email]`, `[phone]`, `[card]`, `[redacted]`.

    Keys are redacted too. Tuples become lists; a value that JSON can't hold (a date, a Decimal) becomes
    its redacted text, a list or map inside itself reads `[circular]`. Raises InvalidInput for an unknown rule
    or a bad expression.
    """
    return _walk(value, scrubber(rules), cards="card" in rules, above=())


@lru_cache(maxsize=64)
def scrubber(rules: tuple[str, ...]) -> Scrub:
    """One function that applies all rules to a text; compiled once. Raises InvalidInput for a bad rule.

    What has the shape of a known kind of secret reads `[secret]`, whatever the rules.

    Built-in rules run first, cards before phones, whatever the order: a phone pattern would otherwise
    take a piece out of a card number and leave the rest readable.
    """
    for rule in rules:
        if rule not in _BUILT_IN and not rule.startswith(PATTERN):
            raise InvalidInput(
                f"unknown redaction rule {rule[:60]!r}; use email, phone, card, or "
                f"'{PATTERN}<regular expression>'"
            )
    steps = [step for name, step in _BUILT_IN.items() if name in rules]
    steps += [_own(rule.removeprefix(PATTERN)) for rule in rules if rule not in _BUILT_IN]

    def scrub(text: str) -> str:
        text = shapes.masked(text)
        for step in steps:
            text = step(text)
        return text

    return scrub


@dataclass(frozen=True, slots=True)
class Ref:
    """Names where an input or output is kept, instead of the thing itself."""

    #: a URL or an object's key
    where: str


def kept(value: Any, records: Records) -> str | None:
    """Return what is stored of an input or output: redacted JSON, a reference, or nothing."""
    if value is None or records.keep == "none":
        return None
    if isinstance(value, Ref):
        return json.dumps({"ref": value.where})
    if records.keep == "reference":
        return None
    text = redacted(value, records)
    size = len(text.encode())
    return (
        text
        if size <= records.max_bytes
        else json.dumps({"left_out": f"{size} bytes", "limit": records.max_bytes})
    )


def redacted(value: Any, records: Records) -> str:
    """Return a value as redacted JSON."""
    return storable(json.dumps(redact(value, records.redact), ensure_ascii=False))


def kept_text(text: str | None, records: Records) -> str | None:
    """What is stored of an exception's message: redacted, where contents are kept at all."""
    if text is None or records.keep != "inline":
        return None
    return storable(scrubber(records.redact)(text))


def _walk(value: object, scrub: Scrub, *, cards: bool, above: tuple[int, ...]) -> object:
    """`above` are the ids of the lists and maps that the value lies in."""
    if value is None or isinstance(value, (bool, float)):
        return value
    if isinstance(value, int):
        return (
            "[card]"
            if cards and _CARD_NUMBERS[0] <= value < _CARD_NUMBERS[1] and _card(str(value))
            else value
        )
    if len(above) > MAX_DEPTH:
        return "[too deep]"
    if isinstance(value, (Mapping, list, tuple)):
        return _inside(value, scrub, cards=cards, above=above)
    return scrub(_text(value))


def _inside(
    value: Mapping[object, object] | list[object] | tuple[object, ...],
    scrub: Scrub,
    *,
    cards: bool,
    above: tuple[int, ...],
) -> object:
    if id(value) in above:  # the depth alone would not end it: each of two links doubles the work
        return "[circular]"
    above = (*above, id(value))
    if isinstance(value, Mapping):
        return _mapping(value, scrub, cards=cards, above=above)
    return [_walk(item, scrub, cards=cards, above=above) for item in value]


def _text(value: object) -> str:
    """A value as text; an agent's own object may know none, and its run is recorded all the same."""
    try:
        return str(value)
    except Exception:  # noqa: BLE001  whatever it raises
        return f"[{type(value).__name__}]"


def _mapping(
    value: Mapping[object, object], scrub: Scrub, *, cards: bool, above: tuple[int, ...]
) -> dict[str, object]:
    found: dict[str, object] = {}
    for key, item in value.items():
        name = scrub(_text(key))
        while name in found:  # two keys that read alike now: keep both values
            name += "'"
        found[name] = _walk(item, scrub, cards=cards, above=above)
    return found


def _own(expression: str) -> Scrub:
    if len(expression) > MAX_PATTERN:
        raise InvalidInput(f"redaction pattern of {len(expression)} characters; at most {MAX_PATTERN}")
    try:
        compiled = re.compile(expression)
    except (re.error, OverflowError, RecursionError, FutureWarning) as error:
        raise InvalidInput(
            f"redaction pattern {expression[:60]!r} is no regular expression: {error}"
        ) from error
    if compiled.search("") is not None:
        raise InvalidInput(
            f"redaction pattern {expression[:60]!r} matches the empty text; make it match something"
        )
    return lambda text: compiled.sub("[redacted]", text)


def _cards(text: str) -> str:
    return _DIGITS.sub(lambda found: _cards_in(found[0]), text)


def _cards_in(run: str) -> str:
    """Replace the cards in a run of digits; a card begins and ends where a group of digits does."""
    groups = [(group.start(), group.end()) for group in re.finditer(r"\d+", run)]
    kept, place, at = [], 0, 0
    while at < len(groups):
        last = _card_from(run, groups, at)
        if last is None:
            at += 1
            continue
        kept += [run[place : groups[at][0]], "[card]"]
        place, at = groups[last][1], last + 1
    return "".join(kept) + run[place:]


def _card_from(run: str, groups: list[tuple[int, int]], first: int) -> int | None:
    """Index of the group that ends the longest card which begins at group `first`."""
    digits, found = "", None
    for at in range(first, len(groups)):
        digits += run[groups[at][0] : groups[at][1]]
        if len(digits) >= _CARD_LENGTHS.stop:
            break
        if _card(digits):
            found = at
    return found


def _card(digits: str) -> bool:
    """A card's length and first digit (2 to 6: the networks) and a right check digit (Luhn)."""
    if len(digits) not in _CARD_LENGTHS or digits[0] not in "23456":
        return False
    doubled = (int(digit) * 2 for digit in digits[-2::-2])
    return (sum(map(int, digits[-1::-2])) + sum(two // 10 + two % 10 for two in doubled)) % 10 == 0


_BUILT_IN: dict[str, Scrub] = {
    "email": lambda text: _EMAIL.sub("[email]", text),
    "card": _cards,
    "phone": lambda text: _PHONE.sub("[phone]", text),
}

__all__ = [
    "PATTERN",
    "Records",
    "Ref",
    "kept",
    "kept_text",
    "redact",
    "redacted",
    "scrubber",
    "storable",
    "unsecret_json",
    "unsecret_key",
]
