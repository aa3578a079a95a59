"""What the agents of the soak were told, read back from their diaries (`tests/soak/agent.py`)."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Told:
    """One decision as the agent that made it saw it."""

    #: the process, and when it was born, microseconds since boot
    process: str
    born_us: int
    unit: str
    run_id: str
    agent: str
    bundle_id: str
    arm: str
    epoch: int
    #: whether the store took it; else the run was served the baseline that was last seen
    recorded: bool
    #: microseconds since boot: before it was asked for, and when it was known
    begun_us: int
    got_us: int


@dataclass(frozen=True, slots=True)
class Left:
    """A bundle that must not be served any more: whoever took it away was told that this is committed."""

    agent: str
    bundle_id: str
    #: microseconds since boot at which the call returned
    at_us: int
    #: `leak`, `hand` or `HTTP`
    by: str


@dataclass(slots=True)
class Diaries:
    """All that all processes were told."""

    #: units of runs that were asked for, and the agent of each
    tried: dict[str, str] = field(default_factory=dict)
    told: list[Told] = field(default_factory=list)
    #: outcomes that are known to be written: by run whether it completed, and when that was known
    sure: dict[str, tuple[bool, int]] = field(default_factory=dict)
    left: list[Left] = field(default_factory=list)
    #: runs that raised, by error
    failed: list[str] = field(default_factory=list)

    def read(self, lines: Iterable[str]) -> None:
        """Read one diary; the last line of a killed process may be cut."""
        process, born_us, open_, dropped = "", 0, {}, set()
        for kind, *words in _words(lines):
            if kind == "born":
                (process, born_us), open_ = words, {}
            elif kind == "try":
                self.tried[words[0]] = words[1]
            elif kind == "run":
                unit, run_id, *rest = words
                self.told.append(Told(process, born_us, unit, run_id, *rest))
            elif kind == "end":
                open_[words[0]] = words[1]
            elif kind == "drop":
                dropped.add(words[0])
                self.sure.pop(words[0], None)
            elif kind == "sure":
                self.sure |= {each: (done, words[0]) for each, done in open_.items() if each not in dropped}
                open_ = {}
            elif kind == "leak":
                self.left.append(Left(*words, by="leak"))
            else:
                self.failed.append(words[0])


def _words(lines: Iterable[str]) -> Iterator[list]:
    for line in lines:
        try:
            yield json.loads(line)
        except ValueError:
            continue


def read(folder: Path) -> Diaries:
    """Read every diary of a folder."""
    found = Diaries()
    for path in sorted(folder.glob("*.diary")):
        with path.open(encoding="utf-8") as lines:
            found.read(lines)
    return found
