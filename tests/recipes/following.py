"""A recipe as a reader follows it: the blocks of its page, from top to bottom, as they stand there.

A block whose first line is a comment with a file's name (`# agent.py`, `// agent.ts`) is that file. A block
of `sh` is typed into one shell, which lasts for the whole page; one of `sh fails` ends with an error, and the
page says so. A block of `text` is what the shell block before it prints, `…` standing for anything. There is
no other kind: a block that nobody would run is an error.
"""

import contextlib
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RECIPES = ROOT / "docs/recipes"
_FENCE = re.compile(r"^```([^\n`]*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_FILE = re.compile(r"(?:#|//) ([\w./-]+\.\w+)\n")
#: seconds that one block of a shell may take; the first installs packages
_PATIENCE_S = 600.0
#: seconds that its processes have to end
_ENDING_S = 30.0
#: what a word of another page's shell must not be taken for
_HERE = ("VIRTUAL_ENV", "PYTHONPATH", "LASTGOOD_", "PREFECT_", "MAKE", "MFLAGS", "PYTEST_")


class NobodyRuns(AssertionError):
    """A block of a page is no file, no command and nothing that a command prints."""


@dataclass(frozen=True)
class Block:
    """One block of code of a page."""

    #: `file`, `sh`, `fails` or `text`
    kind: str
    text: str
    #: where it begins on the page
    line: int
    #: of a file: its path in the reader's folder
    name: str = ""


def blocks(page: str) -> list[Block]:
    """The blocks of a page; raises `NobodyRuns` for one that nobody would run."""
    found: list[Block] = []
    for fence in _FENCE.finditer(page):
        language, text, line = fence[1].strip(), fence[2], page.count("\n", 0, fence.start()) + 1
        named = _FILE.match(text)
        if language in {"sh", "sh fails"}:
            found.append(Block("fails" if language.endswith("fails") else "sh", text, line))
        elif language == "text" and found and found[-1].kind in {"sh", "fails"}:
            found.append(Block("text", text, line))
        elif language != "text" and named:
            found.append(Block("file", text, line, named[1]))
        else:
            raise NobodyRuns(f"line {line}: the block of {language or 'no language'} is run by nobody")
    _check_used(found)
    return found


def _check_used(found: list[Block]) -> None:
    """Every file is named by a command after it, or by another file, which may import it."""
    for at, block in enumerate(found):
        if block.kind != "file":
            continue
        stem = re.escape(Path(block.name).stem)
        used = re.compile(rf"{re.escape(block.name)}|\b(?:import|from) {stem}\b|/{stem}\.js")
        texts = [each.text for each in found[at + 1 :] if each.kind in {"sh", "fails"}]
        texts += [each.text for each in found if each.kind == "file" and each is not block]
        if not any(used.search(text) for text in texts):
            raise NobodyRuns(f"line {block.line}: the file {block.name} is used by nobody")


def page(name: str) -> str:
    """The text of one recipe."""
    return (RECIPES / f"{name}.md").read_text(encoding="utf-8")


def reader(own: Mapping[str, str], programs: str | Path) -> dict[str, str]:
    """The environment of a reader whose `programs` come first, and what is his own in it."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(_HERE)}
    return {**plain, "PATH": f"{programs}:{plain['PATH']}", "LASTGOOD_ACTOR": "reader", **own}


def _lives(group: int) -> bool:
    """Whether any process of a group is there, and no zombie."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, found = stat.read_text(encoding="utf-8").rpartition(")")[2].split()[:3]
            if int(found) == group and state != "Z":
                return True
    return False


class Shell:
    """A shell in a folder; what was left in the background ends with it."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder = folder
        self._typed = 0
        self._bash = subprocess.Popen(
            ["bash", "--norc", "-e"],
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def type(self, text: str, *, fails: bool = False) -> str:
        """Run a block; return what it printed. Raises `AssertionError` where it ended otherwise."""
        self._typed += 1
        script, said = (self._folder / f".typed-{self._typed}.{end}" for end in ("sh", "out"))
        script.write_text(text, encoding="utf-8")
        wanted = f'source "{script}" >"{said}" 2>&1 </dev/null'
        assert self._bash.stdin is not None
        assert self._bash.stdout is not None
        self._bash.stdin.write(f"set +e; {wanted}; echo $?; set -e\n" if fails else f"{wanted}; echo 0\n")
        self._bash.stdin.flush()
        late = threading.Timer(_PATIENCE_S, self._bash.kill)
        late.start()
        code = self._bash.stdout.readline().strip()
        late.cancel()
        printed = said.read_text(encoding="utf-8", errors="replace") if said.exists() else ""
        right = code.isdigit() and (code != "0") == fails
        assert right, f"{text}\nended with {code or 'an error'}:\n{printed}"
        return printed

    def close(self) -> None:
        """End it, with what it left in the background: first what can end what it started itself."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._bash.pid, number)
            until = time.monotonic() + _ENDING_S
            while _lives(self._bash.pid) and time.monotonic() < until:
                time.sleep(0.05)
        self._bash.communicate()


@dataclass
class Followed:
    """A page that is followed."""

    text: str
    folder: Path
    environment: Mapping[str, str]
    #: what differs here from what the page says: a port, the checkout's place, a host that answers
    swaps: Mapping[str, str] = field(default_factory=dict)
    #: what happens elsewhere in the meantime: after the shell block that holds the key
    after: Mapping[str, Callable[[], object]] = field(default_factory=dict)
    #: of each shell block: what it printed
    printed: list[str] = field(default_factory=list)

    def go(self) -> "Followed":
        """Follow it to its end."""
        found = blocks(self.text)
        for word in (*self.swaps, *self.after):
            assert any(word in block.text for block in found), f"the page has no {word!r} any more"
        shell = Shell(self.folder, self.environment)
        try:
            for block in found:
                self._take(block, shell)
        finally:
            shell.close()
        return self

    def _take(self, block: Block, shell: Shell) -> None:
        text = block.text
        for word, other in self.swaps.items():
            text = text.replace(word, other)
        if block.kind == "file":
            path = self.folder / block.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        elif block.kind == "text":
            check_said(block, text, self.printed[-1])
        else:
            self.printed.append(shell.type(text, fails=block.kind == "fails"))
            for word, happens in self.after.items():
                if word in block.text:
                    happens()


def check_said(block: Block, wanted: str, printed: str) -> None:
    """Raise `AssertionError` unless these lines were printed, in this order; others may stand between."""
    left = printed.splitlines()
    for line in wanted.splitlines():
        shape = re.compile(re.escape(line.rstrip()).replace("…", ".*"))
        while left and not shape.fullmatch(left[0].rstrip()):
            del left[0]
        assert left, f"line {block.line} of the page: nobody printed {line!r}:\n{printed}"
        del left[0]
