import hashlib
import json
import subprocess
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastgood.bundle import KINDS, MAX_BUNDLE_BYTES, Bundle, Part, check_name, readable_name
from lastgood.errors import CorruptRow, InvalidBundle, NotFound

TEXT = st.text("ab\u00e9\u00c5\u1e69 \n", max_size=10)
MAPS = st.dictionaries(TEXT, TEXT | st.integers(), max_size=4)


def bundle(**values):
    given_values = {kind: values.get(kind, {}) for kind in KINDS}
    return Bundle(Part.of_value(kind, "1", value) for kind, value in given_values.items())


def filled(size):
    """Five parts of `size` bytes of content in all."""
    parts = [Part.of_value(kind, "1", 0) for kind in KINDS[:4]]
    return [*parts, Part.of_files("tools", "1", {"a": bytes(size - 4 - 1)})]


def test_the_id_is_the_sha256_over_kinds_and_digests_in_order():
    one = bundle(prompt="hi")
    pairs = [[kind, one[kind].digest] for kind in sorted(KINDS)]
    assert one.id == hashlib.sha256(json.dumps(pairs, separators=(",", ":")).encode()).hexdigest()


def test_the_short_id_is_its_beginning():
    assert bundle().short == "b-" + bundle().id[:8]


@given(st.permutations(KINDS))
def test_the_order_of_parts_does_not_matter(kinds):
    parts = [Part.of_value(kind, "1", kind) for kind in kinds]
    assert Bundle(parts) == Bundle(Part.of_value(kind, "1", kind) for kind in KINDS)


@given(MAPS, st.randoms())
def test_the_order_of_keys_does_not_change_the_id(value, random):
    items = list(value.items())
    random.shuffle(items)
    assert bundle(model=dict(items)).id == bundle(model=value).id


@given(TEXT)
def test_the_form_of_text_does_not_change_the_id(text):
    decomposed = unicodedata.normalize("NFD", text)
    assert bundle(prompt=decomposed, model={decomposed: 1}).id == bundle(prompt=text, model={text: 1}).id


@given(st.sampled_from(KINDS), TEXT, TEXT)
def test_the_id_changes_exactly_when_content_does(kind, one, other):
    assert (bundle(**{kind: one}).id == bundle(**{kind: other}).id) == (one == other)


def test_the_same_content_under_another_kind_is_another_bundle():
    assert bundle(prompt="a", memory="b").id != bundle(prompt="b", memory="a").id


def test_versions_do_not_change_the_id():
    assert Bundle(Part.of_value(kind, "2", {}) for kind in KINDS).id == bundle().id


def test_each_part_is_found_by_name():
    one = bundle(prompt=1, model=2, tools=3, memory=4, policy=5)
    assert [part.data for part in (one.prompt, one.model, one.tools, one.memory, one.policy)] == [
        1,
        2,
        3,
        4,
        5,
    ]
    assert one["prompt"] is one.prompt


def test_another_part_is_not_found():
    with pytest.raises(NotFound, match="no part 'prompts'; its parts are memory"):
        bundle()["prompts"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_missing_part_is_named(kind):
    with pytest.raises(InvalidBundle, match=f"part {kind} is missing"):
        Bundle(part for part in bundle().parts if part.kind != kind)


def test_a_part_given_twice_is_named():
    with pytest.raises(InvalidBundle, match="part tools is given 2 times"):
        Bundle([*bundle().parts, bundle().tools])


def test_the_largest_bundle_is_allowed():
    assert sum(part.size for part in Bundle(filled(MAX_BUNDLE_BYTES)).parts) == MAX_BUNDLE_BYTES


def test_one_byte_more_is_refused_with_the_sizes():
    with pytest.raises(InvalidBundle, match=r"1,000,001 bytes \(tools 999,997, memory 1"):
        Bundle(filled(MAX_BUNDLE_BYTES + 1))


def test_the_runtimes_are_those_of_its_parts():
    parts = [
        Part.of_value(kind, "1", 0, "sha256:ab" if kind in {"tools", "policy"} else None) for kind in KINDS
    ]
    assert Bundle(parts).runtimes == {"sha256:ab"}
    assert bundle().runtimes == frozenset()


def test_a_stored_bundle_that_hashes_to_its_id_is_given_back():
    assert Bundle.verified(bundle().parts, bundle().id) == bundle()


def test_a_stored_bundle_with_another_part_is_corrupt():
    with pytest.raises(CorruptRow, match=f"make {bundle(prompt='x').short}"):
        Bundle.verified(bundle(prompt="x").parts, bundle().id)


def test_a_stored_bundle_without_a_part_is_corrupt():
    with pytest.raises(CorruptRow, match="part tools is missing"):
        Bundle.verified(bundle().parts[:4], bundle().id)


@pytest.mark.parametrize("name", ["support", "a", "0", "support-2026-11-23.1", "a" * 64])
def test_a_name_is_given_back(name):
    assert check_name(name, "agent") == name


@pytest.mark.parametrize("name", ["", "A", "a b", "-a", ".a", "a/b", "a\n", "\u00e9", "a" * 65])
def test_another_text_is_no_name(name):
    with pytest.raises(InvalidBundle, match=r"agent .* is no name"):
        check_name(name, "agent")


def test_the_readable_name_is_the_first_free_one_of_the_day():
    day_us = 1_795_392_000_000_000  # 2026-11-23 00:00 UTC
    assert readable_name("support", day_us, {}) == "support-2026-11-23.1"
    assert readable_name("support", day_us - 1, {}) == "support-2026-11-22.1"
    taken = {"support-2026-11-23.1", "support-2026-11-23.2"}
    assert readable_name("support", day_us, taken) == "support-2026-11-23.3"


def test_the_readable_name_of_a_long_agent_is_a_name():
    name = readable_name("a" * 64, 0, {})
    assert check_name(name, "bundle").endswith("-1970-01-01.1")


def test_importing_bundles_loads_no_yaml():
    code = (
        "import sys, lastgood.bundle; sys.exit('yaml' in sys.modules or 'lastgood.unicode14' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
