"""The content of a path at a commit: `git: policies/support.yaml@3f2a91c`.

Git is asked for objects alone: bytes as they were committed, no filter, no checkout, no network. A commit is
named by its hash, since a branch or tag moves. The path is relative to the folder of bundle.yaml.
"""

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from lastgood.bundle_sources import check_content, check_sizes, check_text, is_left_out, plain_path
from lastgood.errors import InvalidBundle

_COMMIT = re.compile(r"[0-9a-f]{7,40}|[0-9a-f]{64}")
#: variables of git other than a person's settings: where to look for a repository, and how to read its config
_LEADS_ASTRAY = re.compile(r"GIT_(?!CONFIG_|CEILING_DIRECTORIES|DISCOVERY_ACROSS)")
#: seconds that one call of git may take
_TIMEOUT = 60


@dataclass(frozen=True, slots=True)
class _Entry:
    """One line of `git ls-tree`."""

    #: octal mode and type: `100644`, `120000` (symlink), `160000` (submodule)
    mode: str
    #: hash of the blob
    blob: str
    #: bytes
    size: int


def read_git(base: Path, text: str) -> dict[str, bytes]:
    """The file or folder `path@commit`, as `read_file` and `read_folder` give it.

    Args:
        base: the folder of bundle.yaml, in a repository.
        text: `path@commit`.

    Raises:
        InvalidBundle: no repository, no such commit or path, a name that moves, a symlink or submodule.
    """
    path, at, commit = text.rpartition("@")
    if not at:
        raise InvalidBundle(f"{text!r} names no commit; write path@commit, like prompt.md@3f2a91c")
    path = plain_path(path)
    full = _resolve(base, commit)
    prefix = os.fsdecode(_git(base, "rev-parse", "--show-prefix")).rstrip("\n")
    entries = _entries(base, full, prefix + path)
    if not entries:
        raise InvalidBundle(f"{path} is not in commit {commit}; correct the path or the commit")
    check_sizes({name: entry.size for name, entry in entries.items()})
    return _contents(base, entries)


def _resolve(base: Path, commit: str) -> str:
    """The full hash of a commit; never by way of a reference, which could bear a hash's name."""
    if not _COMMIT.fullmatch(commit):
        raise InvalidBundle(
            f"{commit!r} is no commit hash, and a branch or tag moves; write 7 or more hex digits:"
            f" `git rev-parse --short {commit or 'HEAD'}`"
        )
    objects = _git(base, "rev-parse", f"--disambiguate={commit}").decode().split()
    found = [name for name in objects if _git(base, "cat-file", "-t", name).strip() == b"commit"]
    if not found:
        raise InvalidBundle(
            f"no commit {commit} is in this repository; fetch it (a shallow clone may lack it)"
        )
    if len(found) > 1:
        raise InvalidBundle(f"{commit} begins {len(found)} commits; write more digits")
    return found[0]


def _entries(base: Path, commit: str, path: str) -> dict[str, _Entry]:
    """What lies at `path` (from the repository's root): a file by its bare name, a folder by paths in it."""
    _check_way(base, commit, path)
    listing = _git(base, "ls-tree", "-r", "-z", "-l", "--full-tree", commit, "--", path)
    entries: dict[str, _Entry] = {}
    for line in listing.split(b"\0")[:-1]:
        head, _, raw = line.partition(b"\t")
        mode, _kind, blob, size = head.decode().split()
        full = os.fsdecode(raw)
        name = full.rpartition("/")[2] if full == path else full.removeprefix(f"{path}/")
        if full != path and is_left_out(name):
            continue
        check_text(name)
        _check_mode(mode, name)
        entries[name] = _Entry(mode, blob, int(size))
    return entries


def _check_way(base: Path, commit: str, path: str) -> None:
    """Refuse a symlink on the way: git would only say that nothing is behind it."""
    steps = path.split("/")
    ways = ["/".join(steps[:count]) for count in range(1, len(steps))]
    if not ways:
        return
    for line in _git(base, "ls-tree", "-z", "--full-tree", commit, "--", *ways).split(b"\0")[:-1]:
        head, _, raw = line.partition(b"\t")
        _check_mode(head.decode().split()[0], os.fsdecode(raw))


def _check_mode(mode: str, name: str) -> None:
    if mode == "120000":
        raise InvalidBundle(f"{name} is a symlink, and what it points to can change; commit the content")
    if mode == "160000":
        raise InvalidBundle(
            f"{name} is a submodule, whose content is not in this repository; commit the content"
        )


def _contents(base: Path, entries: dict[str, _Entry]) -> dict[str, bytes]:
    names = sorted(entries)
    asked = "".join(f"{entries[name].blob}\n" for name in names).encode()
    answer = _git(base, "cat-file", "--batch", given=asked)
    found: dict[str, bytes] = {}
    start = 0
    for name in names:  # each answer is `<hash> blob <size>\n<content>\n`
        start = answer.index(b"\n", start) + 1
        end = start + entries[name].size
        found[name] = check_content(name, answer[start:end])
        start = end + 1
    return found


def _git(base: Path, *words: str, given: bytes = b"") -> bytes:
    """The output of one git command about the repository that holds `base`."""
    # A hook's GIT_DIR would name another repository; a replaced object is not the commit; a fetch can hang.
    environment = {name: value for name, value in os.environ.items() if not _LEADS_ASTRAY.match(name)}
    environment |= {
        "LC_ALL": "C",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_LITERAL_PATHSPECS": "1",
    }
    try:
        done = subprocess.run(
            ["git", *words],
            cwd=base,
            env=environment,
            input=given,
            capture_output=True,
            timeout=_TIMEOUT,
            check=False,
        )
    except FileNotFoundError:
        raise InvalidBundle(
            "git is not installed; install it, or name the content by `file:` or `folder:`"
        ) from None
    except subprocess.TimeoutExpired:
        raise InvalidBundle(f"git did not answer within {_TIMEOUT} s; try again, or use `file:`") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise InvalidBundle(
            f"git {words[0]} failed ({said[0] if said else 'no message'}); or use `file:`, `folder:`"
        )
    return done.stdout
