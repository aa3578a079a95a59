import os
import subprocess

import pytest

from lastgood.bundle_git import read_git
from lastgood.bundle_sources import read_file, read_folder
from lastgood.errors import InvalidBundle

#: a user's own settings and the clock don't reach these repositories
SETTINGS = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
    "GIT_AUTHOR_DATE": "2020-01-01T00:00:00Z",
    "GIT_COMMITTER_DATE": "2020-01-01T00:00:00Z",
}
ANN = ("-c", "user.name=Ann", "-c", "user.email=ann@example.org")


def git(folder, *words):
    outside = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment = outside | SETTINGS
    ran = subprocess.run(["git", *ANN, *words], cwd=folder, env=environment, capture_output=True, check=True)
    return ran.stdout.decode().strip()


def commit(root):
    git(root, "add", "-A", "-f")
    git(root, "commit", "-q", "-m", "x")
    return git(root, "rev-parse", "HEAD")


@pytest.fixture
def root(tmp_path):
    git(tmp_path, "init", "-q", "-b", "main")
    base = tmp_path / "agents" / "support"
    (base / "tools" / "deep").mkdir(parents=True)
    (base / "policy.yaml").write_bytes(b"a: 1\r\n")
    (base / "tools" / "a.py").write_bytes(b"a")
    (base / "tools" / "deep" / "b.bin").write_bytes(bytes(range(256)))
    (base / "tools" / "deep" / 'caf\u00e9 \n"x".txt').write_bytes(b"")
    return tmp_path


@pytest.fixture
def base(root):
    return root / "agents" / "support"


def test_a_file_at_a_commit_is_what_the_file_was(root, base):
    head = commit(root)
    before = read_file(base, "policy.yaml")
    (base / "policy.yaml").write_bytes(b"changed")
    assert read_git(base, f"policy.yaml@{head}") == before


def test_a_folder_at_a_commit_is_what_the_folder_was(root, base):
    (base / "tools" / "__pycache__").mkdir()
    (base / "tools" / "__pycache__" / "x").write_bytes(b"x")
    head = commit(root)
    assert read_git(base, f"tools/@{head}") == read_folder(base, "tools")


def test_the_path_may_be_at_the_root_of_the_repository(root):
    head = commit(root)
    assert set(read_git(root, f"agents/support/tools/deep/b.bin@{head}")) == {"b.bin"}


def test_an_abbreviated_commit_will_do(root, base):
    assert read_git(base, f"policy.yaml@{commit(root)[:7]}") == {"policy.yaml": b"a: 1\r\n"}


def test_the_bytes_are_the_committed_ones_whatever_filters_say(root, base):
    head = commit(root)
    (root / ".gitattributes").write_text("* text eol=lf\n")
    git(root, "config", "core.autocrlf", "true")
    assert read_git(base, f"policy.yaml@{head}") == {"policy.yaml": b"a: 1\r\n"}


@pytest.mark.parametrize("name", ["main", "v1", "HEAD", "HEAD~1", "", "3f2a9", "--all", "3F2A91C"])
def test_a_name_that_moves_is_refused(root, base, name):
    commit(root)
    git(root, "tag", "v1")
    with pytest.raises(
        InvalidBundle, match=r"is no commit hash, and a branch or tag moves; .*git rev-parse --short"
    ):
        read_git(base, f"policy.yaml@{name}")


def test_a_branch_that_looks_like_a_hash_is_refused(root, base):
    commit(root)
    git(root, "branch", "deadbee")
    with pytest.raises(InvalidBundle, match="no commit deadbee is in this repository"):
        read_git(base, "policy.yaml@deadbee")


def test_a_branch_named_like_an_older_commit_does_not_hide_it(root, base):
    old = commit(root)
    (base / "policy.yaml").write_bytes(b"changed")
    commit(root)
    git(root, "branch", old[:7])
    assert read_git(base, f"policy.yaml@{old[:7]}") == {"policy.yaml": b"a: 1\r\n"}


def test_the_hash_of_another_object_is_refused(root, base):
    commit(root)
    tree = git(root, "rev-parse", "HEAD^{tree}")
    with pytest.raises(InvalidBundle, match="no commit"):
        read_git(base, f"policy.yaml@{tree}")


def test_a_replaced_object_is_not_followed(root, base):
    old = commit(root)
    (base / "policy.yaml").write_bytes(b"changed")
    git(root, "replace", old, commit(root))
    assert read_git(base, f"policy.yaml@{old}") == {"policy.yaml": b"a: 1\r\n"}


def test_a_hooks_environment_does_not_lead_to_another_repository(root, base, tmp_path_factory, monkeypatch):
    head = commit(root)
    other = tmp_path_factory.mktemp("other")
    git(other, "init", "-q")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    assert read_git(base, f"policy.yaml@{head}") == {"policy.yaml": b"a: 1\r\n"}


@pytest.mark.parametrize("path", ["none.yaml", "tools/none", "tool", "policy.yaml/x"])
def test_a_path_that_was_not_there_is_refused(root, base, path):
    head = commit(root)
    with pytest.raises(InvalidBundle, match=f"{path} is not in commit {head}; correct the path"):
        read_git(base, f"{path}@{head}")


@pytest.mark.parametrize("path", ["../other", "/etc/passwd", ".", ""])
def test_a_path_out_of_the_folder_is_refused(root, base, path):
    head = commit(root)
    with pytest.raises(InvalidBundle, match=r"folder of bundle\.yaml|no path"):
        read_git(base, f"{path}@{head}")


def test_a_text_without_a_commit_is_refused(base):
    with pytest.raises(InvalidBundle, match="names no commit; write path@commit"):
        read_git(base, "policy.yaml")


@pytest.mark.parametrize("path", ["link", "tools", "linked/a.py"])
def test_a_symlink_is_refused(root, base, path):
    (base / "link").symlink_to("policy.yaml")
    (base / "tools" / "link").symlink_to("a.py")
    (base / "linked").symlink_to("tools")
    head = commit(root)
    with pytest.raises(InvalidBundle, match=r"is a symlink.*commit the content"):
        read_git(base, f"{path}@{head}")


def test_a_submodule_is_refused(root, base):
    head = commit(root)
    git(root, "update-index", "--add", "--cacheinfo", f"160000,{head},agents/support/tools/sub")
    git(root, "commit", "-q", "-m", "sub")
    with pytest.raises(InvalidBundle, match="sub is a submodule"):
        read_git(base, f"tools@{git(root, 'rev-parse', 'HEAD')}")


def test_a_secret_is_refused(root, base):
    (base / "tools" / ".env").write_bytes(b"x")
    head = commit(root)
    with pytest.raises(InvalidBundle, match=r"\.env looks like a secret"):
        read_git(base, f"tools@{head}")


def test_an_oversized_file_is_refused(root, base):
    (base / "policy.yaml").write_bytes(b"x" * 1_000_001)
    head = commit(root)
    with pytest.raises(InvalidBundle, match=r"1,000,001 bytes \(policy\.yaml"):
        read_git(base, f"policy.yaml@{head}")


def test_a_pointer_of_git_lfs_is_refused(root, base):
    (base / "policy.yaml").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    head = commit(root)
    with pytest.raises(InvalidBundle, match="pointer of Git LFS"):
        read_git(base, f"policy.yaml@{head}")


def test_a_folder_outside_any_repository_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(InvalidBundle, match=r"git rev-parse failed \(.*not a git repository.*or use `file:`"):
        read_git(tmp_path, "policy.yaml@3f2a91c")


def test_a_machine_without_git_is_told(base, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(InvalidBundle, match="git is not installed"):
        read_git(base, "policy.yaml@3f2a91c")
