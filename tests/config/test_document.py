"""Text that is no policy: refused with its place, soon, and with nothing but InvalidPolicy."""

import json
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from config.document import MAX_CHARS, digest_of, read_frozen
from config.policy import Policy
from lastgood.errors import CorruptRow, InvalidPolicy

_TENFOLD = "".join(f"{name}: &{name} [{', '.join([f'*{chr(ord(name) - 1)}'] * 9)}]\n" for name in "bcdefgh")
HOSTILE = {
    "alias bomb": "a: &a [x, x, x, x, x, x, x, x, x]\n" + _TENFOLD,
    "small alias bomb": "a: &a [x, x, x, x, x, x, x, x, x]\n"
    + "".join(_TENFOLD.splitlines(keepends=True)[:3]),
    "anchor inside itself": "name: x\na: &a [*a]\n",
    "deep lists": "[" * 9_000,
    "deep maps": "{a: " * 4_000,
    "deep blocks": "- " * 9_000,
    "deep keys": "? " * 9_000,
    "a megabyte": "a: 1\n" * 200_000,
    "many values": "x: [" + "1," * 9_000 + "]",
    "many wrong steps": "name: x\nsteps: [" + "{shre: x}, " * 900 + "]",
    "many merges": "name: x\n<<: [" + "{a: 1}, " * 2_000 + "]",
    "long number": "name: x\nlook_every: " + "9" * 19_000,
    "base 60": "name: x\nlook_every: " + "1:1" * 6_000,
    "long key": "name: x\n? " + "a" * 19_000 + "\n: 1",
    "long unit": "name: x\nlook_every: 1 " + "a" * 19_000,
    "impossible character": 'name: "\\UFFFFFFFF"',
    "half a surrogate pair": 'name: "\\ud800"',
    "null character": "name: \x00",
    "object tag": "name: !!python/object/apply:os.getcwd []",
    "unhashable key": "name: x\n? [a]\n: 3",
    "impossible date": "name: 2026-99-99",
    "two documents": "name: x\n---\nname: y",
    "a list": "- name: x",
    "a word": "name",
    "nothing": "",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_text_is_refused_within_a_second(text):
    start = time.process_time()
    with pytest.raises(InvalidPolicy):
        Policy.load(text + "\n")
    assert time.process_time() - start < 1


@pytest.mark.parametrize(
    "text", ["[" * 19_000, '{"name":"x","name":"y"}', '{"name":NaN}', "[]", "nil", '{"a":"\\ud800"}']
)
def test_a_frozen_policy_that_is_no_json_object_is_refused(text):
    with pytest.raises(InvalidPolicy):
        Policy.from_json(text)


def test_values_are_counted_with_what_aliases_stand_for():
    with pytest.raises(InvalidPolicy, match=r"^policy:1: a policy may have 3,000 values, this has more"):
        Policy.load(HOSTILE["small alias bomb"])


def test_a_frozen_policy_is_limited_too():
    with pytest.raises(InvalidPolicy, match=r"20,000 characters, this has 20,001"):
        read_frozen(" " * (MAX_CHARS + 1), None)


def test_a_stored_policy_that_does_not_hash_to_its_digest_is_not_used():
    text = Policy.builtin().to_json()
    with pytest.raises(CorruptRow, match=f"policy {digest_of(text)[:12]} does not hash"):
        Policy.from_json(text.replace("5%", "6%"), digest=digest_of(text))


_KEYS = st.sampled_from([*Policy.model_json_schema()["properties"], "completion", "share", "margin", "zebra"])
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9)
    | st.sampled_from(["5%", "10 min", "2 points", "act", "low", "pattern:("]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(_KEYS | st.text(max_size=5), inner, max_size=5)
    ),
    max_leaves=20,
)  # fmt: skip


def _attempt(read: Callable[[str], Policy], text: str) -> Policy | str:
    try:
        return read(text)
    except InvalidPolicy as refused:
        return str(refused)


@given(st.dictionaries(_KEYS, _VALUES, max_size=8))
def test_no_mapping_raises_anything_but_invalid_policy(data):
    text = json.dumps({"name": "x"} | data)
    for read in (Policy.load, Policy.from_json):
        policy = _attempt(read, text)
        if isinstance(policy, Policy):
            assert Policy.from_json(policy.to_json()) == policy
        else:
            assert policy.startswith("policy")


@given(st.text(max_size=200) | st.text("abc:-?[]{},&*!|>'\"%@`#~ \n\t0159.\\", max_size=60))
@example("name: x\nlook_every: !!int 3")
def test_no_text_raises_anything_but_invalid_policy(text):
    with pytest.raises(InvalidPolicy):
        Policy.load(f"{text}\n")


_SPLICE = (Path(__file__).parents[2] / "config/policies/default.yaml").read_text(encoding="utf-8")


@given(st.integers(0, len(_SPLICE)), st.integers(0, 40), st.text(":-[]{},&*!'\"% \n019azé\x00", max_size=8))
def test_a_garbled_default_loads_or_is_refused_with_a_line(start, length, noise):
    policy = _attempt(Policy.load, _SPLICE[:start] + noise + _SPLICE[start + length :] + "\n")
    assert isinstance(policy, Policy) or re.match(r"policy:\d+: ", policy)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"name: \xff", "not UTF-8 text .byte 6"),
        (b"name: x\nlease: 5\n", "mine.yaml:2: lease: 5 has no unit"),
    ],
)
def test_a_bad_file_is_refused_by_its_path(tmp_path, content, problem):
    (tmp_path / "mine.yaml").write_bytes(content)
    with pytest.raises(InvalidPolicy, match=problem):
        Policy.load(tmp_path / "mine.yaml")


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path):
    (tmp_path / "mine.yaml").write_bytes("\ufeffname: x\n".encode())
    assert Policy.load(tmp_path / "mine.yaml").name == "x"


@pytest.mark.parametrize("name", ["missing.yaml", "."])
def test_a_path_that_can_not_be_read_is_refused(tmp_path, name):
    with pytest.raises(InvalidPolicy, match="can't be read: "):
        Policy.load(tmp_path / name)


def test_a_large_file_is_not_read_to_its_end(tmp_path):
    (tmp_path / "mine.yaml").write_bytes(b"#" * 5_000_000)
    with pytest.raises(InvalidPolicy, match="20,000 characters, this has 80,001 or more"):
        Policy.load(tmp_path / "mine.yaml")
