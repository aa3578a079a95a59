"""`make mutation`: change the pure parts of the control point, caps and triggers in one place at a time.

Each mutant runs the tests of its module in a process of its own, until one fails. Prints who survived and the
share that was killed, and ends with an error where a module falls short of 90%.
"""

import argparse
import importlib
import importlib.machinery
import importlib.util
import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import Any

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]

from mutants import Mutant, mutants  # noqa: E402  found by the line above

ROOT = Path(__file__).parents[2]
#: least share of mutants that the tests of a module have to kill
LEAST = 0.9
#: seconds after which a mutant that still runs counts as killed: it never ends
PATIENCE_S = 180


@dataclass(frozen=True, slots=True)
class Pure:
    """The pure part of one module, and what holds it."""

    module: str
    #: files of tests, under tests/lastgood
    tests: tuple[str, ...]
    #: functions and methods that are pure; none named: all are
    names: tuple[str, ...] = ()
    #: whether its tests do without a store, and so without the fixtures and what these import
    alone: bool = False


PARTS = (
    Pure("moves", ("test_moves.py",), alone=True),
    Pure("caps", ("test_caps.py",), alone=True),
    Pure("triggers", ("test_triggers.py",), alone=True),
    Pure("reserving", ("test_reserving.py",), ("Claim", "window", "run_claims", "most_usd", "_above")),
    Pure(
        "judging",
        ("test_judging.py",),
        ("Charge", "Court", "Court.watches_baseline", "Court.charge", "_cost"),
    ),
    Pure("releasing", ("test_releasing.py", "test_acting.py"), ("Ending", "Ending.quarantines", "fence_of")),
    Pure("points", ("test_points.py",), ("Expect.of", "from_row", "_checked", "_terms", "_changed", "_row")),
)


class _Mutated(importlib.machinery.SourceFileLoader):
    """Loads a module from code that was changed."""

    code: CodeType

    def get_code(self, fullname: str) -> CodeType:
        return self.code


class _Finder:
    """Finds the changed module in place of its file."""

    def __init__(self, name: str, path: Path, code: CodeType) -> None:
        self.name, self.loader = name, _Mutated(name, str(path))
        self.loader.code = code

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        return importlib.util.spec_from_loader(name, self.loader) if name == self.name else None


class _Quick:
    """Quick tests first; of Hypothesis few examples, the same every time, and no smaller one looked for."""

    def pytest_sessionstart(self) -> None:
        from hypothesis import Phase, settings

        settings.register_profile(
            "mutation",
            deadline=None,
            derandomize=True,
            database=None,
            max_examples=25,
            phases=[Phase.explicit, Phase.generate],
        )
        settings.load_profile("mutation")

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        items.sort(key=lambda item: ("desk" in item.fixturenames, hasattr(item.obj, "hypothesis")))


def _fails(part: Pure, code: CodeType) -> bool:
    """Whether the tests of a part fail on a changed module, in a process of its own."""
    child = os.fork()
    if child == 0:
        _become(part, code)
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status != 0
        time.sleep(0.01)
    os.killpg(child, 9)
    os.waitpid(child, 0)
    return True


def _become(part: Pure, code: CodeType) -> None:
    """Run the tests and end with what they say."""
    import pytest

    status = 1
    try:
        os.setpgid(0, 0)
        nowhere = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(nowhere, number)
        name, tests = f"lastgood.{part.module}", ROOT / "tests" / "lastgood"
        sys.meta_path.insert(0, _Finder(name, ROOT / "lastgood" / f"{part.module}.py", code))
        with tempfile.TemporaryDirectory() as folder:
            options = [
                "-x",
                "-q",
                "-k",
                "not postgres",
                "-p",
                "no:xdist",
                "-p",
                "no:cacheprovider",
                "-p",
                "no:lastgood",
            ]
            options += ["--assert=plain"]  # pytest would load what comes with our plugin past the finder
            options += ["--noconftest"] if part.alone else []
            files = [str(tests / file) for file in part.tests]
            status = int(pytest.main([*options, f"--basetemp={folder}/tests", *files], plugins=[_Quick()]))
    finally:
        os._exit(status)


def _preload(parts: list[Pure]) -> None:
    """Import once what every mutant needs, none of it of this project."""
    for name in ("pytest", "hypothesis"):
        importlib.import_module(name)
    for name in ("alembic.command", "numpy", "sqlmodel") if not all(part.alone for part in parts) else ():
        importlib.import_module(name)


def _noticed(part: Pure, mutant: Mutant) -> bool:
    noticed = _fails(part, mutant.code)
    if not noticed:
        print(f"    survived: lastgood/{part.module}.py:{mutant.line}: {mutant.change}", flush=True)
    return noticed


def score(part: Pure, workers: int) -> tuple[int, int]:
    """How many mutants a part has, and how many of them its tests noticed."""
    path = ROOT / "lastgood" / f"{part.module}.py"
    if _fails(part, compile(path.read_text(), str(path), "exec", dont_inherit=True)):
        msg = f"the tests of {part.module} fail without any change: {', '.join(part.tests)}"
        raise SystemExit(msg)
    every = list(mutants(path, part.names))
    with ThreadPoolExecutor(workers) as pool:
        return len(every), sum(pool.map(lambda mutant: _noticed(part, mutant), every))


def asked_for(words: list[str]) -> tuple[list[Pure], int]:
    """All parts, or the modules named, and how many mutants to try at once."""
    asked = argparse.ArgumentParser(description=__doc__)
    known = [part.module for part in PARTS]
    asked.add_argument("modules", nargs="*", help=f"default: all of {', '.join(known)}")
    asked.add_argument("--workers", type=int, default=1, help="mutants that are tried at once")
    given = asked.parse_args(words)
    if unknown := sorted(set(given.modules) - set(known)):  # `choices` would refuse to have none named
        asked.error(f"no such module: {', '.join(unknown)}; there are {', '.join(known)}")
    return [part for part in PARTS if part.module in (given.modules or known)], given.workers


def main() -> int:
    """Try all parts, or the modules named."""
    parts, workers = asked_for(sys.argv[1:])
    os.nice(10)
    _preload(parts)
    short, found = [], []
    for part in parts:
        began = time.monotonic()
        found.append((part.module, *score(part, workers)))
        name, number, noticed = found[-1]
        print(f"{name}: {noticed} of {number} in {time.monotonic() - began:.0f} s", flush=True)
        if noticed < LEAST * number:
            short.append(name)
    found.append(("all", sum(row[1] for row in found), sum(row[2] for row in found)))
    print("\n| module | mutants | killed |\n|---|---|---|")
    for name, number, noticed in found:
        print(f"| {name} | {number} | {noticed / number:.1%} |")
    if short:
        print(f"below {LEAST:.0%}: {', '.join(short)}", file=sys.stderr)
    return 1 if short else 0


if __name__ == "__main__":
    sys.exit(main())
