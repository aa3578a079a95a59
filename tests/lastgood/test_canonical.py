import datetime as dt
import json
import math
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastgood.canonical import MAX_DEPTH, canonical_json, nfc, sha256_hex
from lastgood.errors import InvalidInput

#: text that every Python's Unicode tables agree on: what Unicode 3.2 assigned
OLD_TEXT = st.text(
    st.characters(exclude_categories=["Cs"]).filter(lambda c: unicodedata.ucd_3_2_0.category(c) != "Cn"),
    max_size=20,
)
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | OLD_TEXT
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(OLD_TEXT.map(nfc), inner, max_size=4),
    max_leaves=12,
)


def test_keys_are_sorted_and_nothing_is_padded():
    assert (
        canonical_json({"b": [2, 1], "a": {"d": None, "c": True}}) == b'{"a":{"c":true,"d":null},"b":[2,1]}'
    )


def test_one_one_point_zero_and_true_stay_different():
    assert len({canonical_json(value) for value in (1, 1.0, True, "1")}) == 4


def test_text_and_keys_are_utf8_in_nfc():
    assert canonical_json({"e\u0301": "A\u030a"}) == '{"\u00e9":"\u00c5"}'.encode()


def test_integers_are_exact():
    assert canonical_json(2**200) == str(2**200).encode()


@given(VALUES)
def test_what_is_written_is_read_back(value):
    written = canonical_json(value)
    assert canonical_json(json.loads(written)) == written


@given(st.dictionaries(OLD_TEXT.map(nfc), VALUES, min_size=2, max_size=6), st.randoms())
def test_the_order_of_keys_does_not_matter(value, random):
    shuffled = list(value.items())
    random.shuffle(shuffled)
    assert canonical_json(dict(shuffled)) == canonical_json(value)


@given(OLD_TEXT, st.sampled_from(["NFC", "NFD"]))
def test_the_form_of_text_does_not_matter(text, form):
    assert canonical_json(unicodedata.normalize(form, text)) == canonical_json(text)


@given(st.lists(st.integers(), min_size=2, unique=True))
def test_the_order_of_a_list_does_matter(items):
    assert canonical_json(items) != canonical_json(items[::-1])


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"routes": [0.5, math.nan]}, r"model\.routes\[1\] is nan"),
        ([math.inf], r"model\[0\] is inf"),
        ({"on": dt.date(2026, 11, 23)}, r"model\.on is of type date, which JSON lacks; quote it"),
        ([b"x"], r"model\[0\] is of type bytes"),
        ({"x"}, "write a list"),
        (("x",), "write a list"),
        ({1: "x"}, "has the key 1 of type int; quote it"),
        ({True: "x"}, "has the key True of type bool"),
        ({"\u00e9": 1, "e\u0301": 2}, "two keys that are the same text in NFC"),
        ("\ud800", "half a character"),
        ({"\udfff": 1}, "half a character"),
        (1 << 1024, "more than 1,024 bits"),
        ("x" * 2_000_001, "more than 2,000,000 bytes"),
        ("\0" * 400_000, r"2,400,002 bytes, 2,000,000 are allowed"),
    ],
)
def test_what_has_no_canonical_form_is_refused_with_its_place(value, message):
    with pytest.raises(InvalidInput, match=message):
        canonical_json(value, name="model")


def test_the_deepest_value_is_written_and_one_level_more_is_refused():
    value = 1
    for _ in range(MAX_DEPTH):
        value = [value]
    assert canonical_json(value) == b"[" * MAX_DEPTH + b"1" + b"]" * MAX_DEPTH
    with pytest.raises(InvalidInput, match="deeper than 64 levels"):
        canonical_json([value])


def test_a_value_inside_itself_is_refused():
    value = []
    value.append(value)
    with pytest.raises(InvalidInput, match="nested deeper"):
        canonical_json(value)


def test_an_alias_that_stands_for_too_much_is_refused_early():
    value = ["x" * 100]
    for _ in range(60):
        value = [value, value]
    with pytest.raises(InvalidInput, match="more than 2,000,000 bytes"):
        canonical_json(value)


def test_sha256_hex_is_the_published_value():
    assert sha256_hex(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
