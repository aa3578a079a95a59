"""An environment built from the project's own files is pinned throughout, and Prefect schedules in it.

Some versions install well and still break Prefect: with a newer fastapi most client calls answer 422, with a
newer SQLAlchemy the scheduler dies silently. So the proof is `read_flows()` through the client and a run that
the server's scheduler made. Where CI runs the suite, in a fresh clone after `make setup`, that environment is
the one; elsewhere a copy of the checkout gets its own, which takes a minute.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.utils import canonicalize_name

pytestmark = pytest.mark.prefect

#: seconds that each part may take at most
INSTALL, WATCH = 300, 150


@pytest.fixture(scope="module")
def fresh(
    tmp_path_factory: pytest.TempPathFactory,
    checkout: Path,
    copy_checkout: Callable[..., Path],
    clean_environment: dict[str, str],
) -> Iterator[Path]:
    """A checkout right after `make setup`."""
    if os.environ.get("CI") and Path(sys.prefix) == checkout / ".venv":
        yield checkout
        return
    root = copy_checkout(tmp_path_factory.mktemp("fresh") / "clone")
    # The interpreter under the running venv: the suite may have been set up with `make setup PYTHON=...`.
    command = ["make", "setup", f"PYTHON={Path(sys.base_prefix, 'bin', 'python3')}"]
    try:
        result = subprocess.run(
            command,
            check=False,
            cwd=root,
            env=clean_environment,
            capture_output=True,
            text=True,
            timeout=INSTALL,
        )
        assert result.returncode == 0, result.stdout + result.stderr
        yield root
    finally:
        shutil.rmtree(root / ".venv", ignore_errors=True)  # 0.8 GB


def test_nothing_was_installed_that_constraints_txt_does_not_pin(fresh: Path) -> None:
    command = [str(fresh / ".venv" / "bin" / "python"), "-m", "pip", "list", "--format=json"]
    listed = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    installed = {(canonicalize_name(each["name"]), each["version"]) for each in listed}
    lines = (fresh / "constraints.txt").read_text("utf-8").splitlines()
    pinned = {
        (canonicalize_name(name), version) for name, _, version in (line.partition("==") for line in lines)
    }
    # `python -m venv` of Python 3.11 brings its own setuptools.
    extra = {each for each in installed - pinned if each[0] not in {"lastgood", "setuptools"}}
    assert extra == set()


def test_it_answers_read_flows_and_runs_one_scheduled_flow(
    fresh: Path, tmp_path: Path, real_server: Callable[..., Any], background: Callable[..., Any]
) -> None:
    python = str(fresh / ".venv" / "bin" / "python")
    tick = [python, str(fresh / "tests" / "contracts" / "tick.py")]
    with (
        real_server(python, tmp_path) as environment,
        background([*tick, "serve"], tmp_path / "serve.log", environment),
    ):
        watched = subprocess.run(
            [*tick, "watch"], check=False, env=environment, capture_output=True, text=True, timeout=WATCH
        )
    said = "\n".join(log.read_text()[-3000:] for log in sorted(tmp_path.glob("*.log")))
    assert watched.returncode == 0, f"{watched.stdout}{watched.stderr}\n{said}"
    assert json.loads(watched.stdout)["flows"] == ["tick"]
