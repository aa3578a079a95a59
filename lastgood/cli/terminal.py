"""What commands print is text: nothing that a run or a person said can steer the terminal."""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any

from lastgood.plain import plain


class Plain:
    """A text stream that prints plainly; it says that it is no terminal, so that nobody colours its text."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text, plainly; bytes are no text."""
        if not isinstance(text, str):
            raise TypeError(f"a text is written here, not {type(text).__name__}")
        self._stream.write(plain(text))
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Write texts."""
        for line in lines:
            self.write(line)

    def isatty(self) -> bool:
        """Whether it may be coloured."""
        return False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def printing_plainly() -> Iterator[None]:
    """Have standard output print plainly."""
    before = sys.stdout
    sys.stdout = Plain(before)
    try:
        yield
    finally:
        sys.stdout = before
        try:
            before.flush()
        except (
            BrokenPipeError
        ):  # whoever read it has gone, as `| head` does: Python would complain at its end
            os.dup2(os.open(os.devnull, os.O_WRONLY), before.fileno())


__all__ = ["Plain", "plain", "printing_plainly"]
