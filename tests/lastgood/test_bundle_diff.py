import time

from hypothesis import given
from hypothesis import strategies as st

from lastgood.bundle import KINDS, Bundle, Part
from lastgood.bundle_diff import Change, FileDiff, diff, render

FILES = st.dictionaries(
    st.sampled_from(["a", "b", "c/d"]), st.binary(max_size=5) | st.just(b"x\ny"), min_size=1
)


def bundle(*parts):
    given_parts = {part.kind: part for part in parts}
    return Bundle(given_parts.get(kind, Part.of_value(kind, "1", {})) for kind in KINDS)


def prompt(value, version="1", runtime=None):
    return bundle(Part.of_value("prompt", version, value, runtime))


def tools(files, version="1"):
    return bundle(Part.of_files("tools", version, files))


def shown(a, b):
    return render(diff(a, b))


def test_equal_bundles_differ_in_nothing():
    assert diff(prompt("x"), prompt("x")) == ()
    assert shown(prompt("x"), prompt("x")) == "no part differs\n"


def test_only_the_parts_that_changed_are_named():
    a, b = prompt("x", "1"), prompt("y", "2")
    (part,) = diff(a, b)
    assert (part.kind, part.versions, part.digests) == (
        "prompt",
        ("1", "2"),
        (a.prompt.digest, b.prompt.digest),
    )


def test_parts_come_in_order_of_kind():
    a = Bundle(Part.of_value(kind, "1", 1) for kind in KINDS)
    b = Bundle(Part.of_value(kind, "1", 2) for kind in KINDS)
    assert [part.kind for part in diff(a, b)] == list(KINDS)


def test_files_are_added_removed_and_changed():
    (part,) = diff(tools({"a": b"1", "b": b"2", "c": b"3"}), tools({"a": b"1", "b": b"x", "d": b"4"}))
    assert part.files == (
        FileDiff("b", Change.CHANGED, b"2", b"x"),
        FileDiff("c", Change.REMOVED, b"3", None),
        FileDiff("d", Change.ADDED, None, b"4"),
    )


@given(FILES, FILES)
def test_the_differences_turn_the_first_bundle_into_the_second(old, new):
    found = dict(old)
    for part in diff(tools(old), tools(new)):
        for file in part.files:
            if file.after is None:
                del found[file.path]
            else:
                found[file.path] = file.after
    assert found == new


@given(FILES, FILES)
def test_any_difference_is_shown(old, new):
    assert (shown(tools(old), tools(new)) == "no part differs\n") == (old == new)


def test_another_version_of_the_same_content_is_said_to_be_just_that():
    (part,) = diff(prompt("x", "1"), prompt("x", "2"))
    assert part.same_content
    assert render([part]) == "prompt 1 -> 2: the same content under another version\n"


def test_different_content_under_one_version_is_pointed_out():
    assert "(different content under the same version)" in shown(prompt("x"), prompt("y"))


def test_a_changed_runtime_is_shown():
    text = shown(prompt("x"), prompt("x", runtime="sha256:ab"))
    assert "  runtime: none -> sha256:ab\n" in text


def test_text_is_shown_as_a_unified_diff():
    a, b = prompt("one\ntwo\nthree\n", "1"), prompt("one\n2\nthree\n", "2")
    assert shown(a, b) == (
        f"prompt 1 -> 2: {a.prompt.digest[:12]} -> {b.prompt.digest[:12]}\n"
        "  changed: inline\n"
        "    @@ -1,3 +1,3 @@\n"
        "     one\n"
        "    -two\n"
        "    +2\n"
        "     three\n"
    )


def test_a_value_is_shown_as_indented_json():
    text = shown(prompt({"b": [1, 2], "a": 1}), prompt({"b": [1, 3], "a": 1}))
    assert '       "b": [\n         1,\n    -    2\n    +    3\n' in text


def test_the_text_one_and_the_number_one_look_different():
    text = shown(prompt("1"), prompt(1))
    assert '-"1" (no newline' in text
    assert "+1 (no newline" in text


def test_a_move_from_inline_to_a_file_shows_both():
    text = shown(prompt("x\n"), bundle(Part.of_files("prompt", "1", {"inline": b"x\n"})))
    assert "  added: inline\n" in text
    assert "  removed: inline\n" in text


def test_binary_files_are_shown_by_size_and_digest():
    text = shown(tools({"a": b"\0"}), tools({"a": b"\xff\xfe", "b": b"\0\0"}))
    assert "    1 bytes 6e340b9cffb3 -> 2 bytes " in text
    assert "    none -> 2 bytes 96a296d224f2\n" in text


def test_a_missing_newline_at_the_end_is_shown():
    text = shown(prompt("x\n"), prompt("x"))
    assert "    -x\n    +x (no newline at the end)\n" in text


def test_an_empty_file_that_is_added_is_named():
    assert "  added: b\n" in shown(tools({"a": b""}), tools({"a": b"", "b": b""}))


def test_invisible_characters_are_made_visible():
    text = shown(prompt("x\n"), prompt("x\r\n\x1b[2J\u202e\n"))
    assert "    +x\\u000d\n    +\\u001b[2J\\u202e\n" in text


def test_the_largest_texts_are_compared_in_seconds():
    old = b"\n".join(b"%d" % (n % 111) for n in range(5_000))
    new = b"\n".join(b"%d" % (-n % 111) for n in range(5_000))
    start = time.process_time()
    shown(tools({"a": old}), tools({"a": new}))
    assert time.process_time() - start < 5


def test_longer_texts_are_shown_by_size_and_digest():
    text = shown(tools({"a": b"x\n" * 5_001}), tools({"a": b"y\n" * 5_001}))
    assert "    10,002 bytes " in text
