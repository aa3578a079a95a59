"""`make setup` builds .venv when it is missing or stale, and only then.

A shell script stands in for Python: it answers the questions of the Makefile and writes down what was asked.
"""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

PYTHON = """#!/bin/sh
echo "$*" >> "$LOG"
case "$*" in
  -V) echo Python 3.12.1 ;;
  "-m venv"*) mkdir -p .venv/bin && cp "$0" .venv/bin/python
    echo "command = python -m venv --clear $PWD/.venv" > .venv/pyvenv.cfg ;;
esac
"""
#: what a version manager leaves for a version that is not there
SHIM = "#!/bin/sh\necho 'command not found' >&2\nexit 127\n"
TOOLS = ("cat", "cp", "expand", "grep", "make", "mkdir", "rm", "sed", "sh")


def script(path: Path, text: str) -> None:
    path.write_text(text, "utf-8")
    path.chmod(0o755)


class Checkout:
    """A checkout with nothing but what `make setup` reads, and a PATH with nothing but what it may use."""

    def __init__(self, root: Path, tools: Path) -> None:
        self.root = root
        self.tools = tools

    def make(self, *words: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": str(self.tools), "LOG": str(self.tools / "log"), "HOME": str(self.tools)}
        return subprocess.run(
            ["make", *words],
            check=False,
            cwd=self.root,
            env=environment,
            capture_output=True,
            text=True,
            timeout=30,
        )

    def asked(self) -> list[str]:
        """What the Pythons were asked since the last time."""
        log = self.tools / "log"
        lines = log.read_text("utf-8").splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return [line for line in lines if line.startswith("-m")]


@pytest.fixture
def bare(tmp_path: Path, copy_checkout: Callable[..., Path]) -> Checkout:
    """A fresh clone on a machine without Python."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in TOOLS:
        found = shutil.which(name)
        assert found
        (tools / name).symlink_to(found)
    return Checkout(
        copy_checkout(tmp_path / "a clone", "Makefile", "pyproject.toml", "constraints.txt"), tools
    )


@pytest.fixture
def ready(bare: Checkout) -> Checkout:
    """A clone whose setup is done."""
    script(bare.tools / "python3.12", PYTHON)
    assert bare.make("setup").returncode == 0
    assert bare.asked()
    return bare


def make_older(path: Path) -> None:
    """Set a file's time an hour back, which makes what it is compared with newer."""
    then = path.stat().st_mtime - 3600
    os.utime(path, (then, then))


def test_without_a_python_it_says_so_in_one_line_with_the_way_out(bare: Checkout) -> None:
    script(bare.tools / "python3.13", SHIM)
    result = bare.make("setup")
    assert result.returncode != 0
    (line,) = [line for line in result.stderr.splitlines() if not line.startswith("make:")]
    assert "no Python 3.11 or newer" in line
    assert "make setup PYTHON=" in line
    assert not (bare.root / ".venv").exists()


def test_a_python_that_does_not_run_is_passed_over(bare: Checkout) -> None:
    script(bare.tools / "python3.13", SHIM)
    script(bare.tools / "python3.11", PYTHON)
    result = bare.make("setup")
    assert result.returncode == 0, result.stderr
    assert "(python3.11)" in result.stdout


def test_it_installs_the_checkout_with_its_constraints(bare: Checkout) -> None:
    script(bare.tools / "python3.12", PYTHON)
    assert bare.make("setup").returncode == 0
    venv, pip, install = bare.asked()
    assert venv == "-m venv --clear .venv"
    assert pip.endswith("-c constraints.txt --upgrade pip")
    assert "-c constraints.txt --build-constraint constraints.txt -e . --group dev" in install


def test_a_python_given_by_hand_is_used(bare: Checkout) -> None:
    script(bare.tools / "mine", PYTHON)
    result = bare.make("setup", "PYTHON=mine")
    assert result.returncode == 0, result.stderr
    assert "(mine)" in result.stdout


def test_a_second_setup_does_nothing(ready: Checkout) -> None:
    result = ready.make("setup")
    assert (result.returncode, result.stdout, ready.asked()) == (0, "", [])


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_a_change_of_what_is_asked_for_renews_the_environment(ready: Checkout, name: str) -> None:
    make_older(ready.root / ".venv" / ".installed")
    for other in {"pyproject.toml", "constraints.txt"} - {name}:
        for _ in range(2):
            make_older(ready.root / other)
    result = ready.make("setup")
    assert "renewing" in result.stdout
    assert [line for line in ready.asked() if "venv" in line] == []


def test_a_moved_checkout_is_built_anew(ready: Checkout, tmp_path: Path) -> None:
    ready.root = ready.root.rename(tmp_path / "elsewhere")
    assert "building" in ready.make("setup").stdout


def test_an_environment_whose_python_is_gone_is_built_anew(ready: Checkout) -> None:
    (ready.root / ".venv" / "bin" / "python").unlink()
    make_older(ready.root / ".venv" / ".installed")
    assert "building" in ready.make("setup").stdout


def test_a_failed_install_leaves_the_environment_stale(ready: Checkout) -> None:
    make_older(ready.root / ".venv" / ".installed")
    failing = PYTHON.replace("esac", '  "-m pip"*) exit 1 ;;\nesac')
    script(ready.root / ".venv" / "bin" / "python", failing)
    assert ready.make("setup").returncode != 0
    script(ready.root / ".venv" / "bin" / "python", PYTHON)
    assert "renewing" in ready.make("setup").stdout


def test_make_alone_prints_every_command(bare: Checkout) -> None:
    result = bare.make()
    assert result.returncode == 0
    commands = ("setup", "test", "check", "demo", "bench", "clean")
    assert [name for name in commands if f"make {name} " not in result.stdout] == []
