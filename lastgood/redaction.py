"""Redaction: no secret in what this process writes down, be it a log, an error, a row or an artifact.

`clean` takes out three things: values that `lastgood.secret` revealed to this process, values of environment
variables that are named like secrets, and whatever has the shape of a known kind of secret.
"""

import logging
import os
import re
import sys
import traceback
from functools import lru_cache
from types import TracebackType

from lastgood import shapes

#: characters from which a value is looked for: a shorter one would be found in ordinary words
_LEAST = 8
_NAMED = re.compile(
    r"(?i)(^|_)(PASSWORD|PASSWD|PASSPHRASE|SECRET|SECRETS|TOKEN|KEY|KEYS|CREDENTIALS?|DSN)(_|$)"
)
#: value: the reference that it was read by
_revealed: dict[str, str] = {}


def remember(value: str, reference: str) -> None:
    """Have a revealed secret read as its reference from now on."""
    if len(value) >= _LEAST:
        _revealed[value] = reference


@lru_cache(maxsize=4_096)
def _is_secret_name(name: str) -> bool:
    return _NAMED.search(name) is not None


def _is_word(value: str) -> bool:
    """A plain word such as `production`: a variable may be named like a secret and hold none."""
    return value.isalpha() and len(value) < 2 * _LEAST


def _values() -> dict[str, str]:
    named = {
        value: f"env:{name}"
        for name, value in os.environ.items()
        if len(value) >= _LEAST and _is_secret_name(name) and not _is_word(value)
    }
    return named | _revealed


def clean(text: str) -> str:
    """A text without secrets: known values read `[env:NAME]`, known shapes `[secret]`."""
    values = _values()
    for value in sorted(values, key=len, reverse=True):
        if value in text:
            text = text.replace(value, f"[{values[value]}]")
    return shapes.masked(text)


def excepthook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """What a process says that dies of an exception, cleaned; for `sys.excepthook`."""
    sys.stderr.write(clean("".join(traceback.format_exception(kind, error, trace))))


class Filter(logging.Filter):
    """Cleans each record of a logger, its exception and its traceback included."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let it pass, cleaned."""
        try:
            said = record.getMessage()
        except Exception:  # noqa: BLE001  a bad format is for logging to complain of
            return True
        record.msg, record.args = clean(said), None
        if record.exc_info and record.exc_info[0] is None:
            record.exc_info = None  # asked for outside of an exception: it would say "NoneType: None"
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = clean(record.exc_text)
        return True


def watch_over(*loggers: str) -> None:
    """Have what these loggers write cleaned from now on; twice is once."""
    for name in loggers:
        logger = logging.getLogger(name)
        if not any(isinstance(each, Filter) for each in logger.filters):
            logger.addFilter(Filter())


__all__ = ["Filter", "clean", "excepthook", "remember", "watch_over"]
