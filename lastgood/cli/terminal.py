r"""What commands print is text: nothing that a run or a person said can steer the terminal.

Escape sequences move the cursor, set the clipboard and hide lines; bidirectional overrides show another
text than there is. Each such character is printed as its escape, `\u001b`, which JSON reads back as itself.
"""

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

_STEERING = {
    code: f"\\u{code:04x}"
    for code in (
        *(code for code in range(0x20) if chr(code) not in "\n\t"), *range(0x7F, 0xA0), 0x2028, 0x2029,
        *range(0x202A, 0x202F), *range(0x2066, 0x206A),
    )
}  # fmt: skip


def plain(text: str) -> str:
    """A text whose characters that steer a terminal are written as escapes."""
    return text.translate(_STEERING)


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


__all__ = ["Plain", "plain", "printing_plainly"]
