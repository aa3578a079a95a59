r"""Plain text: what a run or a person said can't steer who shows it.

Escape sequences move a terminal's cursor, set the clipboard and hide lines; bidirectional overrides show
another text than there is, in a browser too. Each such character is shown as its escape, `\u001b`, which JSON
reads back as itself.
"""

_STEERING = {
    code: f"\\u{code:04x}"
    for code in (
        *(code for code in range(0x20) if chr(code) not in "\n\t"), *range(0x7F, 0xA0), 0x2028, 0x2029,
        *range(0x202A, 0x202F), *range(0x2066, 0x206A),
    )
}  # fmt: skip


def plain(text: str) -> str:
    """A text whose characters that steer a terminal or a page are written as escapes."""
    return text.translate(_STEERING)
