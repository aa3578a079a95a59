"""References to secrets: `env:NAME` or `file:/path`, read when they are used and stored nowhere."""

import os
import re
from pathlib import Path

from lastgood import redaction
from lastgood.errors import InvalidInput

#: how a reference is written
REFERENCE = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]{0,127}|file:/\S{1,500}")
#: the permissions of anybody but the owner
_OTHERS = 0o077
#: bytes of a secret at most
_MOST = 10_000


def is_reference(text: str) -> bool:
    """Whether a text names a secret instead of being one."""
    return REFERENCE.fullmatch(text) is not None


def reveal(reference: str) -> str:
    """Return the secret that a reference names, without blanks around it.

    Raises `InvalidInput`, which names the reference and never what it holds, for a variable that is not set
    and for a file that is missing, empty or readable by others.
    """
    if not is_reference(reference):
        raise InvalidInput("a secret is given by reference: env:NAME, or file:/path of a file with mode 0600")
    kind, _, name = reference.partition(":")
    found = os.environ.get(name, "") if kind == "env" else _read(Path(name))
    if not found.strip():
        where = "is not set in this process" if kind == "env" else "is empty"
        raise InvalidInput(f"the secret {reference} {where}")
    redaction.remember(found.strip(), reference)
    return found.strip()


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_mode & _OTHERS:
                raise InvalidInput(f"the secret file {path} can be read by others: chmod 600 {path}")
            return file.read(_MOST).decode()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise InvalidInput(f"the secret file {path} can't be read: {reason}") from error
