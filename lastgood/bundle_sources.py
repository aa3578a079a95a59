"""Files and folders that a bundle.yaml names, read byte for byte.

What a folder gives is the same read from disk or from a commit (`lastgood.bundle_git`):

- left out: folders of version control and caches that tools write beside the code (`LEFT_OUT`);
- refused: symlinks, devices, and files that usually hold secrets (`SECRETS`): a bundle is stored for good;
- everything else counts, other hidden files too.
"""

import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from lastgood.bundle import MAX_BUNDLE_BYTES, MAX_FILES
from lastgood.errors import InvalidBundle

#: names of folders and files that are no content
LEFT_OUT: Final = frozenset({
    ".git", ".hg", ".svn", ".DS_Store", "Thumbs.db",
    "__pycache__", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".ipynb_checkpoints",
    ".venv", "node_modules",
})  # fmt: skip
#: names of files that usually hold secrets
SECRETS: Final = re.compile(r"\.env|\.netrc|\.npmrc|\.pypirc|id_(rsa|dsa|ecdsa|ed25519)|.*\.pem")
_LFS = b"version https://git-lfs.github.com/spec/"


def is_left_out(path: str) -> bool:
    """Whether a relative POSIX path is no content."""
    steps = path.split("/")
    return path.endswith(".pyc") or any(step in LEFT_OUT for step in steps)


def check_sizes(sizes: Mapping[str, int]) -> None:
    """Refuse too many files, too many bytes, or a secret, before a byte is read.

    Args:
        sizes: bytes by path.
    """
    if not sizes:
        raise InvalidBundle("no file is in it; add one, or write the content as `inline:`")
    if len(sizes) > MAX_FILES:
        raise InvalidBundle(f"more than {MAX_FILES:,} files are in it; name a smaller folder")
    for path in sizes:
        if SECRETS.fullmatch(path.rpartition("/")[2]):
            raise InvalidBundle(
                f"{path} looks like a secret and a bundle is stored for good; move it out of the folder,"
                " an agent reads secrets from its environment"
            )
    total = sum(sizes.values())
    if total > MAX_BUNDLE_BYTES:
        largest = sorted(sizes, key=lambda path: -sizes[path])[:3]
        raise InvalidBundle(
            f"{total:,} bytes ({', '.join(f'{path} {sizes[path]:,}' for path in largest)}),"
            f" a bundle may hold {MAX_BUNDLE_BYTES:,}; keep large data elsewhere and name it here by digest"
        )


def check_content(path: str, content: bytes) -> bytes:
    """`content`, if it is what it seems; a pointer of Git LFS is not."""
    if content.startswith(_LFS):
        raise InvalidBundle(
            f"{path} is a pointer of Git LFS, not the content; `git lfs pull`, name it by `file:`"
        )
    return content


def plain_path(text: str) -> str:
    """A relative POSIX path without `.` and a closing slash; InvalidBundle for a way out of the folder."""
    if not text or "\0" in text or "\\" in text:
        raise InvalidBundle(f"{text!r} is no path; write a relative one with forward slashes")
    check_text(text)
    steps = [step for step in text.split("/") if step not in {"", "."}]
    if text.startswith("/") or ".." in steps:
        raise InvalidBundle(f"{text} leads out of the folder of bundle.yaml; copy it in, and name it there")
    if not steps:
        raise InvalidBundle(
            "the folder of bundle.yaml itself can't be a part; put the files into a folder in it"
        )
    return "/".join(steps)


def read_file(base: Path, text: str) -> dict[str, bytes]:
    """The file `text` in `base`, by its bare name."""
    path = plain_path(text)
    info = _look(base, path)
    if stat.S_ISDIR(info.st_mode):
        raise InvalidBundle(f"{text} is a folder; write `folder: {text}`")
    name = path.rpartition("/")[2]
    check_sizes({name: info.st_size})
    return {name: _read(base / path, text)}


def read_folder(base: Path, text: str) -> dict[str, bytes]:
    """All files under the folder `text` in `base`, by their paths in it."""
    path = plain_path(text)
    info = _look(base, path)
    if not stat.S_ISDIR(info.st_mode):
        raise InvalidBundle(f"{text} is a file; write `file: {text}`")
    sizes: dict[str, int] = {}
    for name, size in _walk(base / path, ""):
        sizes[name] = size
        if len(sizes) > MAX_FILES:
            break
    check_sizes(sizes)
    return {name: _read(base / path / name, f"{path}/{name}") for name in sorted(sizes)}


def _look(base: Path, path: str) -> os.stat_result:
    """The status of `path`; every step on the way to it must be real."""
    here, seen = base, ""
    info = base.lstat()
    for step in path.split("/"):
        here, seen = here / step, f"{seen}/{step}".lstrip("/")
        try:
            info = here.lstat()
        except FileNotFoundError:
            raise InvalidBundle(f"{seen} is missing; create it, or correct the path") from None
        except (OSError, ValueError) as error:
            raise InvalidBundle(f"{seen} can't be read: {error}; correct the path or its rights") from None
        _check_mode(info.st_mode, seen)
    return info


def _check_mode(mode: int, path: str) -> None:
    if stat.S_ISLNK(mode):
        raise InvalidBundle(f"{path} is a symlink, and what it points to can change; copy the content here")
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise InvalidBundle(f"{path} is neither a file nor a folder; remove it")


def _walk(folder: Path, prefix: str) -> Iterator[tuple[str, int]]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise InvalidBundle(
            f"{prefix or folder.name} can't be read: {error.strerror}; correct its rights"
        ) from None
    for entry in entries:
        path = prefix + entry.name
        if is_left_out(path):
            continue
        info = entry.stat(follow_symlinks=False)
        _check_mode(info.st_mode, path)
        check_text(path)
        if stat.S_ISDIR(info.st_mode):
            yield from _walk(folder / entry.name, f"{path}/")
        else:
            yield path, info.st_size


def check_text(path: str) -> None:
    """Refuse a path that is not UTF-8: Python holds its stray bytes as surrogates."""
    try:
        path.encode()
    except UnicodeEncodeError:
        raise InvalidBundle(f"the file name {path!r} is not UTF-8; rename the file") from None


def _read(path: Path, shown: str) -> bytes:
    """Read one regular file; it may have changed since it was looked at."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(handle, "rb") as file:  # noqa: PTH123  # pathlib can't open without following symlinks
            _check_mode(os.fstat(handle).st_mode, shown)
            content = file.read(MAX_BUNDLE_BYTES + 1)
    except OSError as error:
        raise InvalidBundle(f"{shown} can't be read: {error.strerror}; correct its rights") from None
    check_sizes({shown: len(content)})
    return check_content(shown, content)
