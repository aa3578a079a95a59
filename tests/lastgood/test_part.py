import hashlib
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastgood.errors import CorruptRow, InvalidBundle, InvalidInput, NotFound
from lastgood.part import KINDS, Part

PATHS = st.lists(st.text("abc\u00e9.-_", min_size=1, max_size=4), min_size=1, max_size=3).map("/".join)
PATHS = PATHS.filter(lambda path: not {".", ".."} & set(path.split("/")))
FILES = st.dictionaries(PATHS, st.binary(max_size=20), min_size=1, max_size=4)


def test_the_digest_is_the_sha256_of_the_body():
    part = Part.of_value("prompt", "12", "Be kind.")
    assert part.body == b'{"form":"inline","value":"Be kind."}'
    assert part.digest == hashlib.sha256(part.body).hexdigest()


@given(FILES, st.sampled_from(KINDS), st.none() | st.just("sha256:ab"))
def test_files_come_back_from_the_body(files, kind, runtime):
    part = Part.of_files(kind, "1", files, runtime)
    again = Part.from_body(kind, "1", part.body, part.digest)
    assert (dict(again.files), again.runtime, again.digest) == (files, runtime, part.digest)


@given(st.recursive(st.text("a\u00e9 \n") | st.integers() | st.none(), st.lists, max_leaves=5))
def test_a_value_comes_back_from_the_body(value):
    part = Part.of_value("memory", "1", value)
    assert Part.from_body("memory", "1", part.body, part.digest).data == value


@given(FILES, st.data())
def test_any_changed_byte_changes_the_digest(files, data):
    path = data.draw(st.sampled_from(sorted(files)))
    content = files[path] or b"\0"
    index = data.draw(st.integers(0, len(content) - 1))
    changed = (
        content[:index] + bytes([content[index] ^ data.draw(st.integers(1, 255))]) + content[index + 1 :]
    )
    before = Part.of_files("tools", "1", {**files, path: content})
    assert Part.of_files("tools", "1", {**files, path: changed}).digest != before.digest


@given(FILES)
def test_a_renamed_file_changes_the_digest(files):
    renamed = {f"x/{path}": content for path, content in files.items()}
    assert Part.of_files("tools", "1", renamed).digest != Part.of_files("tools", "1", files).digest


@given(FILES, st.integers(0), st.integers(1, 255))
def test_any_changed_byte_of_a_stored_body_is_found(files, place, flip):
    part = Part.of_files("tools", "7", files)
    index = place % len(part.body)
    body = part.body[:index] + bytes([part.body[index] ^ flip]) + part.body[index + 1 :]
    with pytest.raises(CorruptRow, match=r"part tools \(version 7\)"):
        Part.from_body("tools", "7", body, part.digest)


@pytest.mark.parametrize("body", [b"", b"x", b"[]", b"{}", b'{"form":"other"}', b"\xff", b"3"])
def test_a_body_of_another_writer_is_corrupt_though_it_hashes(body):
    part = Part.from_body("tools", "7", body, hashlib.sha256(body).hexdigest())
    with pytest.raises(CorruptRow, match=r"part tools \(version 7\)"):
        part.data  # noqa: B018


@pytest.mark.parametrize(("kind", "version"), [("other", "1"), ("tools", ""), ("tools", "two words")])
def test_a_stored_part_with_a_bad_label_is_corrupt(kind, version):
    part = Part.of_value("tools", "1", [])
    with pytest.raises(CorruptRow, match="changed behind"):
        Part.from_body(kind, version, part.body, part.digest)


def test_the_runtime_is_content():
    assert Part.of_value("tools", "1", [], "a").digest != Part.of_value("tools", "1", [], "b").digest


def test_the_version_is_not_content():
    assert Part.of_value("tools", "1", []).digest == Part.of_value("tools", "2", []).digest


@pytest.mark.parametrize("version", ["", " 1", "1 ", "1\n", "v" * 65, "\u0661", "-1"])
def test_a_version_is_a_short_plain_word(version):
    with pytest.raises(InvalidBundle, match="part tools: the version"):
        Part.of_value("tools", version, [])


@pytest.mark.parametrize("runtime", ["", "two words", "x" * 201, "\u00e9"])
def test_a_runtime_is_a_plain_word(runtime):
    with pytest.raises(InvalidBundle, match="part tools: the runtime"):
        Part.of_value("tools", "1", [], runtime)


def test_there_are_five_kinds():
    with pytest.raises(InvalidBundle, match="'toolz' is no kind of part"):
        Part.of_value("toolz", "1", [])


@pytest.mark.parametrize(
    "path", ["", "/etc/passwd", "../x", "a/../b", "a//b", "./a", "a/", "a\\b", "a\nb", "a\0"]
)
def test_a_path_is_relative_and_plain(path):
    with pytest.raises(InvalidBundle, match="the path"):
        Part.of_files("tools", "1", {path: b""})


def test_paths_that_are_equal_in_nfc_are_refused():
    with pytest.raises(InvalidBundle, match="same in NFC"):
        Part.of_files("tools", "1", {"\u00e9": b"", "e\u0301": b""})


@pytest.mark.parametrize("count", [0, 1_001])
def test_the_number_of_files_is_bounded(count):
    with pytest.raises(InvalidBundle, match=f"{count:,} files; a part has 1 to 1,000"):
        Part.of_files("tools", "1", {str(number): b"" for number in range(count)})


def test_a_value_without_a_canonical_form_is_refused_with_its_place():
    with pytest.raises(InvalidInput, match=r"part model\.value\.t is nan"):
        Part.of_value("model", "1", {"t": float("nan")})


def test_a_file_is_found_by_either_form_of_its_name():
    part = Part.of_files("tools", "1", {"caf\u00e9.txt": b"x"})
    assert part.file("cafe\u0301.txt") == part.file("caf\u00e9.txt") == b"x"


def test_a_file_that_is_not_there_names_those_that_are():
    with pytest.raises(NotFound, match=r"no file 'c'; its files are: a, b"):
        Part.of_files("tools", "1", {"b": b"", "a": b""}).file("c")


def test_an_inline_part_has_no_files():
    with pytest.raises(NotFound, match="its content is inline"):
        Part.of_value("tools", "1", []).file("c")


def test_files_are_sorted_and_refuse_a_change():
    files = Part.of_files("tools", "1", {"b": b"", "a-": b"", "a/b": b""}).files
    assert list(files) == ["a-", "a/b", "b"]
    with pytest.raises(TypeError):
        files["c"] = b""


def test_text_is_inline_text_or_the_only_file():
    assert Part.of_value("prompt", "1", "hi").text == "hi"
    assert Part.of_files("prompt", "1", {"p.md": b"caf\xc3\xa9\r\n"}).text == "caf\u00e9\r\n"


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (Part.of_value("prompt", "1", {}), r"read \.data"),
        (Part.of_files("prompt", "1", {"a": b"", "b": b""}), r"holds 2 files; read \.files"),
        (Part.of_files("prompt", "1", {"a.png": b"\xff"}), r"not UTF-8 text; read \.file\('a\.png'\)"),
    ],
)
def test_other_content_is_no_text(part, message):
    with pytest.raises(InvalidBundle, match=message):
        part.text  # noqa: B018


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("m.json", b'{"a": [1]}'),
        ("m.yaml", b"a: [1]"),
        ("m.YML", b"a:\n- 1\n"),
        ("m.json", b'\xef\xbb\xbf{"a":[1]}'),
    ],
)
def test_data_is_the_parsed_only_file(path, content):
    assert Part.of_files("model", "1", {path: content}).data == {"a": [1]}


@pytest.mark.parametrize(
    ("path", "content", "message"),
    [
        ("m.json", b"{\n,", r"m\.json:2: "),
        ("m.json", b'{"a": 1, "a": 2}', "key 'a' stands twice"),
        ("m.json", b"NaN", "NaN is not JSON"),
        ("m.json", b"\xff", "not UTF-8"),
        ("m.json", b"[" * 200_000, "nested too deeply"),
        ("m.json", b"1" * 5_000, "quote the number"),
        ("m.yaml", b"a: 1\na: 2\n", r"m\.yaml:2: the key 'a'"),
        ("m.txt", b"x", r"neither \.json nor \.yaml"),
    ],
)
def test_a_file_that_can_not_be_parsed_is_refused(path, content, message):
    with pytest.raises(InvalidBundle, match=message):
        Part.of_files("model", "1", {path: content}).data  # noqa: B018


def test_data_is_parsed_once_and_shared():
    part = Part.of_value("model", "1", {"a": [1]})
    assert part.data is part.data


def test_size_counts_paths_and_content():
    assert Part.of_files("tools", "1", {"ab": b"123", "c": b""}).size == 6
    assert Part.of_value("tools", "1", {"a": "\u00e9"}).size == len(b'{"a":"\xc3\xa9"}')


def test_a_part_can_be_pickled_after_it_was_read():
    part = Part.of_files("tools", "1", {"a": b"x"}, "r")
    assert part.files
    assert pickle.loads(pickle.dumps(part)) == part


def test_the_content_is_not_in_the_repr():
    assert "secret" not in repr(Part.of_value("prompt", "1", "secret"))
