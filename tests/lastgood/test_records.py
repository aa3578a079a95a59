"""Redaction: what has a shape is taken out, what has none stays as it is."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastgood.errors import InvalidInput
from lastgood.records import Records, redact, scrubber, storable, unsecret_json, unsecret_key
from tests.planted import CORES, PLANTED

ALL = ("email", "phone", "card")


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("write to ann.o'neil+x@mail.example.co.uk.", "write to [email]."),
        ("<jürgen@exämple.de>", "<[email]>"),
        ("call +49 151 23456789 now", "call [phone] now"),
        ("+1 (555) 123-4567", "[phone]"),
        ("(555) 123-4567 or 555-123-4567", "[phone] or [phone]"),
        ("1-800-555-1234", "[phone]"),
        ("030 1234567, 020 7946 0958, 06 12 34 56 78", "[phone], [phone], [phone]"),
        ("pay 4111 1111 1111 1111 please", "pay [card] please"),
        ("4111-1111-1111-1111", "[card]"),
        ("4111111111111111", "[card]"),
        ("amex 3782 822463 10005", "amex [card]"),
        ("order 12 4111 1111 1111 1111 7", "order 12 [card] 7"),
        ("5555555555554444 4111111111111111", "[card] [card]"),
    ],
)
def test_what_has_the_shape_is_taken_out(text, redacted):
    assert redact(text, ALL) == redacted


@pytest.mark.parametrize(
    "text",
    [
        "order 4111 1111 1111 1112",  # wrong check digit
        "on 2026-11-23 at 10:30:00",
        "1763923456789013",  # microseconds since 1970 with a right check digit, and no network's first digit
        "version 10.0.19045.3570 at 192.168.100.200",
        "3f2504e0-4f89-11d3-9a0c-0305e82c3301",
        "run_01JD8K3V9Q0Z4M5N6P7R8S9T0V",
        "price 1299.00 or 0.0123456789",
        "not@home, a@b, @handle",
        "17 apples and 4 pears",
    ],
)
def test_what_has_another_shape_stays(text):
    assert redact(text, ALL) == text


def test_only_the_rules_that_are_named_apply():
    assert redact("a@b.com 4111111111111111", ("card",)) == "a@b.com [card]"
    assert redact("a@b.com", ()) == "a@b.com"


def test_a_pattern_of_ones_own_is_replaced():
    assert redact("case AB-123, AB-9", (r"pattern:AB-\d+",)) == "case [redacted], [redacted]"


def test_cards_are_found_before_phones_whatever_the_order():
    assert redact("+4111 1111 1111 1111", ("phone", "card")) == redact(
        "+4111 1111 1111 1111", ("card", "phone")
    )


def test_values_inside_lists_and_maps_are_redacted_and_numbers_kept():
    value = {"to": ["a@b.com", {"n": 3, "ok": True, "none": None, "x": 1.5}]}
    assert redact(value, ALL) == {"to": ["[email]", {"n": 3, "ok": True, "none": None, "x": 1.5}]}


def test_a_card_written_as_a_number_is_taken_out():
    assert redact({"card": 4111111111111111, "id": 4111111111111112}, ALL) == {
        "card": "[card]",
        "id": 4111111111111112,
    }


def test_keys_are_redacted_without_losing_a_value():
    assert redact({"a@b.com": 1, "c@d.com": 2}, ALL) == {"[email]": 1, "[email]'": 2}


def test_what_json_can_not_hold_becomes_its_redacted_text():
    assert redact((ValueError("a@b.com"), b"x"), ALL) == ["[email]", "b'x'"]


def test_the_given_value_is_not_changed():
    value = {"to": ["a@b.com"]}
    redact(value, ALL)
    assert value == {"to": ["a@b.com"]}


def test_a_value_that_is_nested_too_deep_is_cut():
    value: object = "a@b.com"
    for _ in range(5_000):
        value = [value]
    assert "[too deep]" in json.dumps(redact(value, ALL))


def test_a_tree_whose_leaves_name_their_parent_ends():
    tree = {"name": "top", "below": [{"name": number} for number in range(3)]}
    for leaf in tree["below"]:
        leaf["above"] = tree
    leaves = [{"name": number, "above": "[circular]"} for number in range(3)]
    assert redact(tree, ALL) == {"name": "top", "below": leaves}


def test_what_stands_in_two_places_is_no_circle():
    held = [1]
    assert redact({"a": held, "b": [held, held]}, ALL) == {"a": [1], "b": [[1], [1]]}


def test_an_object_that_knows_no_text_reads_as_its_type():
    class Odd:
        def __str__(self):
            raise RuntimeError("no text")

    assert redact({"it": Odd()}, ALL) == {"it": "[Odd]"}


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        ("name", "unknown redaction rule 'name'; use email, phone, card, or 'pattern:<regular expression>'"),
        ("pattern:(", "'[(]' is no regular expression: missing"),
        ("pattern:a{99999999999}", "is no regular expression"),
        ("pattern:x*", "matches the empty text"),
        ("pattern:", "matches the empty text"),
        ("pattern:" + "x" * 501, "of 501 characters; at most 500"),
    ],
)
def test_a_bad_rule_is_refused(rule, problem):
    with pytest.raises(InvalidInput, match=problem):
        redact("text", ("email", rule))


def test_rules_are_compiled_once():
    assert scrubber(("email", r"pattern:A\d")) is scrubber(("email", r"pattern:A\d"))


def test_the_default_keeps_redacted_text_in_the_store():
    assert Records() == Records(keep="inline", redact=("email", "phone", "card"), max_bytes=64_000)


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text("ab@.+-() 0123456789c", max_size=40),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text("a@.b1 ", max_size=8), inner, max_size=4)
    ),
    max_leaves=15,
)


@given(_JSON)
def test_redacting_twice_changes_nothing_more(value):
    once = redact(value, ALL)
    assert redact(once, ALL) == once


@given(_JSON)
def test_what_is_redacted_is_json_of_the_same_shape(value):
    def shape(part: object) -> object:
        if isinstance(part, dict):
            return [shape(item) for item in part.values()]
        return [shape(item) for item in part] if isinstance(part, list) else None

    assert shape(json.loads(json.dumps(redact(value, ALL)))) == shape(value)


@pytest.mark.parametrize("piece", ["a", "4 ", "4", "a@", "a.", "0123 ", "+1(", "1-", "a@b.", "4-4 ", "é"])
def test_a_long_text_costs_linear_time(piece):
    start = time.process_time()
    redact(piece * (64_000 // len(piece)), ALL)
    assert time.process_time() - start < 1


def test_a_text_that_a_store_can_not_hold_is_kept_without_that():
    assert storable("a\0b\ud83dc \U0001f600") == "ab?c \U0001f600"
    assert storable(storable("\udc00")) == storable("\udc00") == "?"


def test_json_is_kept_without_the_secrets_in_it():
    for secret in PLANTED.values():
        kept = json.loads(unsecret_json(json.dumps({"to": f"see {secret}", secret: [secret, 1]})))
        assert "[secret]" in kept["to"]
        assert all(core not in json.dumps(kept) for core in CORES.values())
    plain = '{"to":  "nobody"}'
    assert unsecret_json(plain) is plain


def test_a_key_stands_for_itself_unless_it_is_a_secret():
    assert (unsecret_key(None), unsecret_key("ticket-7")) == (None, "ticket-7")
    kept = [unsecret_key(secret) for secret in PLANTED.values()]
    assert len(set(kept)) == len(PLANTED)
    assert all(key.startswith("secret:") for key in kept)
