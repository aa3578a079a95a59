import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastgood.unicode14 import _touched, normalise

ACTIVE = [
    chr(code)
    for code in range(0x110000)
    if unicodedata.ucd_3_2_0.category(chr(code)) != "Cn"
    and (unicodedata.ucd_3_2_0.decomposition(chr(code)) or unicodedata.ucd_3_2_0.combining(chr(code)))
]


@given(st.text(st.sampled_from(ACTIVE) | st.characters(max_codepoint=0x7F), max_size=30))
def test_old_text_is_normalised_as_python_does(text):
    assert normalise(text) == unicodedata.normalize("NFC", text)


def test_every_old_character_is_normalised_as_python_does():
    assert [char for char in ACTIVE if normalise(char) != unicodedata.normalize("NFC", char)] == []


@pytest.mark.parametrize(
    "text",
    [
        "e\U00010efd\u0301",  # Unicode 15 made U+10EFD a mark below, which lets e and acute combine over it
        "a\U0001e08f\u0323",  # Unicode 15 made U+1E08F a mark above, which sorts behind the dot below
        "\U000105d2\u0307",  # Unicode 16 made the two combine into U+105C9
    ],
)
def test_a_code_point_newer_than_unicode_14_stands_still(text):
    assert normalise(text) == text


def test_text_on_both_sides_of_a_newer_code_point_is_normalised():
    assert normalise("e\u0301\U0001fae8e\u0301") == "\u00e9\U0001fae8\u00e9"


def test_no_code_point_newer_than_unicode_14_is_given_to_python(monkeypatch):
    monkeypatch.setattr(unicodedata, "normalize", lambda _form, run: f"<{run}>")
    assert normalise("e\U00010efd\u0301\U0001fae8") == "<e>\U00010efd<\u0301>\U0001fae8"


def test_no_unassigned_code_point_is_given_to_python():
    unassigned = (chr(code) for code in range(0x110000) if unicodedata.category(chr(code)) == "Cn")
    assert not _touched().search("".join(unassigned))


@given(st.text())
def test_normalising_again_changes_nothing(text):
    assert normalise(normalise(text)) == normalise(text)
