"""Mutants are what they say, and a module whose tests notice too few of them ends in an error."""

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from mutants import mutants  # noqa: E402  found by the line above

SOURCE = '''"""A docstring."""

__all__ = ["free"]


def free(used: int, most: int = 3) -> int | None:
    """Another."""
    if used < most and not used == 7:
        return most - used
    raise ValueError(f"{used} is too much")


class Meter:
    def full(self):
        return True
'''
CAPS = "def full(used):\n    return used >= 5\n"


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "meter.py"
    path.write_text(SOURCE)
    return path


def test_what_decides_is_changed_and_words_are_left_alone(source):
    assert sorted(mutant.change for mutant in mutants(source)) == [
        "3 -> 2",
        "3 -> 4",
        "7 -> 6",
        "7 -> 8",
        "True -> False",
        "most - used -> most + used",
        "not used == 7 -> used == 7",
        "raise ValueError(f'{used} is too much') -> pass",
        "return True -> return None",
        "return most - used -> return None",
        "used < most -> used <= most",
        "used < most -> used >= most",
        "used < most and (not used == 7) -> not (used < most and (not used == 7))",
        "used < most and (not used == 7) -> used < most or not used == 7",
        "used == 7 -> used != 7",
    ]


def test_a_mutant_behaves_as_it_says_and_the_next_one_does_not(source):
    def full(mutant):
        made = {"__name__": "meter"}
        exec(mutant.code, made)
        return made["Meter"]().full()

    found = {mutant.change: full(mutant) for mutant in mutants(source, ("Meter.full",))}
    assert found == {"return True -> return None": None, "True -> False": False}


@pytest.mark.parametrize(
    ("words", "modules"), [([], "moves caps triggers reserving judging releasing points"), (["caps"], "caps")]
)
def test_all_parts_are_tried_where_none_is_named(words, modules, monkeypatch):
    spec = importlib.util.spec_from_file_location("mutation_run", HERE / "run.py")
    run = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "mutation_run", run)
    monkeypatch.setattr(sys, "path", [*sys.path])
    spec.loader.exec_module(run)
    assert [part.module for part in run.asked_for(words)[0]] == modules.split()


@pytest.mark.parametrize(
    ("tested", "code", "said"),
    [
        ("[full(5), full(4)] == [True, False]", 0, "| caps | 5 | 100.0% |"),
        ("full(9)", 1, "below 90%: caps"),
        ("full(0)", 1, "the tests of caps fail without any change"),
    ],
)
def test_a_module_whose_tests_notice_too_little_ends_in_an_error(tested, code, said, tmp_path):
    for folder in ("lastgood", "tests/lastgood", "tests/mutation"):
        (tmp_path / folder).mkdir(parents=True)
    for name in ("run.py", "mutants.py"):
        shutil.copy(HERE / name, tmp_path / "tests" / "mutation")
    (tmp_path / "lastgood" / "__init__.py").touch()
    (tmp_path / "lastgood" / "caps.py").write_text(CAPS)
    test = f"from lastgood.caps import full\n\n\ndef test_full():\n    assert {tested}\n"
    (tmp_path / "tests" / "lastgood" / "test_caps.py").write_text(test)
    command = [sys.executable, tmp_path / "tests" / "mutation" / "run.py", "caps"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=120)
    assert ran.returncode == code, ran.stderr
    assert said in ran.stdout + ran.stderr
