"""`import lastgood` is light: an agent's process loads none of what the operator and the pipeline need."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = (
    "alembic",
    "click",
    "httpx",
    "jsonschema",
    "matplotlib",
    "numpy",
    "pandas",
    "prefect",
    "pydantic",
    "scipy",
    "sqlalchemy",
    "sqlmodel",
    "yaml",
)


def loaded_by(statement: str, folder: Path) -> set[str]:
    """The top-level modules that a fresh interpreter holds after a statement."""
    code = f"{statement}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, check=True, capture_output=True, text=True, timeout=60
    )
    return {name.partition(".")[0] for name in json.loads(result.stdout)}


@pytest.fixture(scope="module")
def loaded(checkout: Path) -> set[str]:
    return loaded_by("import lastgood", checkout)


@pytest.mark.parametrize("name", HEAVY)
def test_import_lastgood_does_not_load(name: str, loaded: set[str]) -> None:
    assert importlib.util.find_spec(name), f"{name} is not installed, so its absence would prove nothing"
    assert "lastgood" in loaded
    assert name not in loaded


def test_a_module_that_is_loaded_is_seen(checkout: Path) -> None:
    assert "yaml" in loaded_by("import lastgood\nimport yaml", checkout)


def test_the_checkout_comes_before_an_installed_copy(checkout: Path) -> None:
    where = "import lastgood; print(lastgood.__file__)"
    result = subprocess.run(
        [sys.executable, "-c", where], cwd=checkout, check=True, capture_output=True, text=True, timeout=60
    )
    assert Path(result.stdout.strip()) == checkout / "lastgood" / "__init__.py"
