import os

import pytest

from lastgood.bundle_sources import LEFT_OUT, plain_path, read_file, read_folder
from lastgood.errors import InvalidBundle


@pytest.fixture
def tools(tmp_path):
    folder = tmp_path / "tools"
    folder.mkdir()
    (folder / "a.py").write_bytes(b"a")
    return folder


def test_a_file_counts_by_its_bare_name(tmp_path, tools):
    assert read_file(tmp_path, "tools/a.py") == {"a.py": b"a"}


def test_a_folder_counts_by_the_paths_in_it(tmp_path, tools):
    (tools / "deep" / "er").mkdir(parents=True)
    (tools / "deep" / "er" / "b.bin").write_bytes(bytes(range(256)))
    assert read_folder(tmp_path, "tools") == {"a.py": b"a", "deep/er/b.bin": bytes(range(256))}


@pytest.mark.parametrize("junk", sorted(LEFT_OUT))
def test_junk_is_left_out(tmp_path, tools, junk):
    (tools / junk).mkdir()
    (tools / junk / "x").write_bytes(b"x")
    (tools / "b.pyc").write_bytes(b"x")
    assert read_folder(tmp_path, "tools") == {"a.py": b"a"}


def test_other_hidden_files_count(tmp_path, tools):
    (tools / ".toolrc").write_bytes(b"x")
    assert read_folder(tmp_path, "tools") == {".toolrc": b"x", "a.py": b"a"}


@pytest.mark.parametrize("name", [".env", "id_rsa", "server.pem", "deep/.netrc"])
def test_what_looks_like_a_secret_is_refused(tmp_path, tools, name):
    (tools / name).parent.mkdir(exist_ok=True)
    (tools / name).write_bytes(b"x")
    with pytest.raises(InvalidBundle, match=f"{name} looks like a secret"):
        read_folder(tmp_path, "tools")


def test_a_folder_without_files_is_refused(tmp_path, tools):
    (tools / "a.py").unlink()
    (tools / "__pycache__").mkdir()
    with pytest.raises(InvalidBundle, match="no file is in it"):
        read_folder(tmp_path, "tools")


@pytest.mark.parametrize("place", ["tools/link.py", "tools/deep/link.py"])
def test_a_symlink_in_a_folder_is_refused(tmp_path, tools, place):
    (tools / "deep").mkdir()
    (tmp_path / place).symlink_to(tools / "a.py")
    with pytest.raises(InvalidBundle, match=r"link\.py is a symlink.*copy the content here"):
        read_folder(tmp_path, "tools")


def test_a_linked_folder_in_a_folder_is_refused(tmp_path, tools):
    (tmp_path / "other").mkdir()
    (tools / "link").symlink_to(tmp_path / "other")
    with pytest.raises(InvalidBundle, match="link is a symlink"):
        read_folder(tmp_path, "tools")


def test_a_symlink_on_the_way_is_refused(tmp_path, tools):
    (tmp_path / "way").symlink_to(tools)
    with pytest.raises(InvalidBundle, match="way is a symlink"):
        read_file(tmp_path, "way/a.py")
    with pytest.raises(InvalidBundle, match="way is a symlink"):
        read_folder(tmp_path, "way")


def test_a_pipe_is_refused_at_once(tmp_path, tools):
    os.mkfifo(tools / "pipe")
    with pytest.raises(InvalidBundle, match="pipe is neither a file nor a folder"):
        read_folder(tmp_path, "tools")
    with pytest.raises(InvalidBundle, match="pipe is neither a file nor a folder"):
        read_file(tmp_path, "tools/pipe")


def test_a_pointer_of_git_lfs_is_refused(tmp_path, tools):
    (tools / "a.py").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 3\n")
    with pytest.raises(InvalidBundle, match=r"tools/a\.py is a pointer of Git LFS"):
        read_folder(tmp_path, "tools")


def test_an_oversized_folder_is_refused_with_its_largest_files(tmp_path, tools):
    for name, size in (("big", 600_000), ("huge", 700_000), ("small", 1)):
        (tools / name).write_bytes(b"x" * size)
    with pytest.raises(InvalidBundle, match=r"1,300,002 bytes \(huge 700,000, big 600,000, a\.py 1\)"):
        read_folder(tmp_path, "tools")


def test_a_sparse_giant_is_refused_without_reading_it(tmp_path, tools):
    with (tools / "a.py").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(InvalidBundle, match="1,099,511,627,776 bytes"):
        read_file(tmp_path, "tools/a.py")


def test_too_many_files_are_refused(tmp_path, tools):
    for number in range(1_000):
        (tools / str(number)).touch()
    with pytest.raises(InvalidBundle, match="more than 1,000 files"):
        read_folder(tmp_path, "tools")


def test_a_file_name_that_is_not_utf8_is_refused(tmp_path, tools):
    with open(os.fsencode(tools) + b"/caf\xe9", "wb"):  # noqa: PTH123  pathlib takes no bytes
        pass
    with pytest.raises(InvalidBundle, match="is not UTF-8; rename the file"):
        read_folder(tmp_path, "tools")


def test_a_name_longer_than_the_file_system_allows_is_refused(tmp_path):
    with pytest.raises(InvalidBundle, match="can't be read"):
        read_file(tmp_path, "x" * 5_000)


@pytest.mark.parametrize("text", ["a/b", "./a/b", "a//b/", "a/./b"])
def test_a_path_is_made_plain(text):
    assert plain_path(text) == "a/b"


@pytest.mark.parametrize("text", ["..", "a/..", "a/../../b", "/a", "", ".", "/", "a\0b", "a\\b", "\ud800"])
def test_a_path_stays_in_the_folder(text):
    with pytest.raises(InvalidBundle):
        plain_path(text)
