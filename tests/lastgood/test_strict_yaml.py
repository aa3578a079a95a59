import contextlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastgood.errors import InvalidBundle, InvalidInput
from lastgood.strict_yaml import load_yaml

BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 30)
)
MERGE_BOMB = "a0: &a0 {k: v}\n" + "".join(
    f"a{n}: &a{n}\n  <<: [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 30)
)


def test_values_are_plain():
    assert load_yaml('a: [1, 1.5, true, null, "x"]', "f").value == {"a": [1, 1.5, True, None, "x"]}


def test_an_empty_document_is_none():
    assert load_yaml("# nothing\n", "f").value is None


def test_each_place_has_its_line():
    document = load_yaml("parts:\n  model:\n    version: '1'\n    list:\n      - a\n      - b\n", "b.yaml")
    assert document.where("parts", "model", "version") == "b.yaml:3"
    assert document.where("parts", "model", "list", 1) == "b.yaml:6"


def test_an_unknown_place_has_the_line_around_it():
    assert load_yaml("a:\n  b: 1\n", "f").where("a", "b", "c", "d") == "f:2"


def test_aliases_are_allowed():
    assert load_yaml("a: &x {k: 1}\nb: *x\nc: {<<: *x, j: 2}", "f").value["c"] == {"k": 1, "j": 2}


def test_the_error_is_of_the_given_kind():
    with pytest.raises(InvalidBundle):
        load_yaml("[", "f", InvalidBundle)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", "f:3: the key 'a' stands on line 1 already"),
        ("{a: 1, a: 2}", "f:1: the key 'a' stands on line 1 already"),
        ("x:\n  - {a: 1}\n  - b: 1\n    b: 1\n", "f:4: the key 'b'"),
        ("a: 1\n b: 2\n", "f:2: .*correct the YAML"),
        ("a: 1\n---\nb: 1\n", "f:2: but found another document"),
        ("a: !!python/object:os.system x", "f:1: could not determine a constructor"),
        ("a: *x", "f:1: found undefined alias"),
        ("a: 2026-13-45", "does not fit its type"),
        ("a: !!int x", "does not fit its type"),
        ("a: !!timestamp x", "does not fit its type"),
        ("a: !!bool x", "does not fit its type"),
        ("? [1]\n: 2", "f:1: found unhashable key"),
        ("a: \x00", "f:1: "),
        (b"a: 1\nb: \xff\n", "f:2: not UTF-8"),
        ("a: 1\nb: \ud800", "f:2: half a character"),
        ("&a [*a]", "an anchor holds itself"),
        ("a: " + "1:" * 5_000 + "1", "a number of 10,001 characters"),
        ("a: " + "1" * 5_000, "a number of 5,000 characters"),
        ("[" * 100 + "]" * 100, "f:1: nested deeper than 64"),
        ("[" * 500_000, "nested deeper than 64"),
        ("- 1\n" * 450_000, "more than 200,000 values"),
        (BOMB, "aliases stand for more than 200,000 values"),
        (MERGE_BOMB, "aliases stand for more than 200,000 values"),
        ("x" * 2_000_001, "2,000,001 bytes, 2,000,000 are allowed"),
    ],
)
def test_what_is_not_plain_yaml_is_refused_with_its_line(text, message):
    with pytest.raises(InvalidInput, match=message):
        load_yaml(text, "f")


def test_a_byte_order_mark_is_no_content():
    assert load_yaml(b"\xef\xbb\xbfa: 1", "f").value == {"a": 1}


@given(
    st.text(st.sampled_from("ab:- \n[]{}&*!|>'\"?#%@0123.,<~\t\x00") | st.characters(), max_size=200)
    | st.binary(max_size=100)
)
def test_no_text_raises_anything_else_or_takes_long(text):
    start = time.process_time()
    with contextlib.suppress(InvalidInput):
        load_yaml(text, "f")
    assert time.process_time() - start < 1
