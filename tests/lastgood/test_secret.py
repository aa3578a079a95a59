import os

import pytest

from lastgood.errors import InvalidInput
from lastgood.secret import is_reference, reveal


def test_a_variable_is_read_when_it_is_used(monkeypatch):
    monkeypatch.setenv("HOOK", " https://x \n")
    assert reveal("env:HOOK") == "https://x"


def test_a_file_of_its_owner_alone_is_read(tmp_path):
    path = tmp_path / "hook"
    path.write_text("abc\n")
    path.chmod(0o600)
    assert reveal(f"file:{path}") == "abc"


def test_a_file_that_others_can_read_is_refused(tmp_path):
    path = tmp_path / "hook"
    path.write_text("abc")
    path.chmod(0o640)
    with pytest.raises(InvalidInput, match=f"can be read by others: chmod 600 {path}"):
        reveal(f"file:{path}")


@pytest.mark.parametrize("reference", ["env:LASTGOOD_NOT_SET", "file:/does/not/exist"])
def test_a_secret_that_is_missing_is_named(reference):
    assert reference.removeprefix("env:").removeprefix("file:") not in os.environ
    with pytest.raises(InvalidInput, match=reference.partition(":")[2]):
        reveal(reference)


@pytest.mark.parametrize("content", [b"", b" \n", b"\xff\xfe"])
def test_a_file_without_a_text_is_refused(tmp_path, content):
    path = tmp_path / "hook"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(InvalidInput, match=r"is empty|no UTF-8"):
        reveal(f"file:{path}")


@pytest.mark.parametrize("text", ["https://x", "env:", "env:1A", "file:relative", "env:A B", "file:/a b"])
def test_what_is_no_reference_is_refused_unsaid(text):
    assert not is_reference(text)
    with pytest.raises(InvalidInput, match="given by reference") as error:
        reveal(text)
    assert text not in str(error.value) or text == "env:"
