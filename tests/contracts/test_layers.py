"""The layers hold, and each import contract breaks when its violation is planted in a copy of the tree."""

import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

FOLDERS = ("lastgood", "evaluators", "config", "tasks", "flows", "examples")

#: per contract what breaks it: lines to append, by file
PLANTS: dict[str, list[dict[str, str]]] = {
    "layers": [
        {"lastgood/planted.py": "import evaluators"},
        {"evaluators/planted.py": "import config"},
        {"config/planted.py": "import tasks"},
        {"tasks/planted.py": "import flows"},
        {"flows/planted.py": "import examples"},
        {"lastgood/planted.py": "def late():\n    import tasks.commands"},
    ],
    "prefect": [
        {"lastgood/planted.py": "import prefect"},
        {"evaluators/planted.py": "from prefect import task"},
        {"config/planted.py": "from prefect.input import RunInput"},
        {"examples/planted.py": "from prefect import flow"},
    ],
    "commands": [
        {"tasks/commands/planted.py": "import prefect"},
        {"tasks/commands/planted.py": "import tasks.planted", "tasks/planted.py": "import prefect"},
    ],
    "frames": [
        {"lastgood/planted.py": "import pandas"},
        {"config/planted.py": "from scipy import stats"},
        {"flows/planted.py": "import numpy as np"},
    ],
    "orm": [
        {"lastgood/planted.py": "from sqlmodel import Session"},
        {"evaluators/planted.py": "import sqlalchemy"},
        {"flows/planted.py": "from lastgood import errors\nimport sqlmodel"},
        {"config/planted.py": "import alembic"},
    ],
    "agent": [
        {
            "lastgood/__init__.py": "import lastgood.planted",
            "lastgood/planted.py": "import lastgood.store.planted",
        }
        | {"lastgood/store/planted.py": "def late():\n    import sqlmodel"},
        {"lastgood/__init__.py": "import lastgood.planted", "lastgood/planted.py": "import httpx"},
    ],
    "pure": [
        {"evaluators/planted.py": "import time"},
        {"evaluators/planted.py": "from pathlib import Path"},
        {"evaluators/planted.py": "from datetime import datetime"},
    ],
}


def lint(tree: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run import-linter over a tree with the tree's own contracts."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-logo", "--no-cache", *options]
    return subprocess.run(command, check=False, cwd=tree, capture_output=True, text=True, timeout=60)


@pytest.fixture
def tree(tmp_path: Path, copy_checkout: Callable[..., Path]) -> Path:
    return copy_checkout(tmp_path, "pyproject.toml", *FOLDERS)


def test_every_contract_is_kept(tree: Path) -> None:
    result = lint(tree)
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_contract_has_planted_violations(checkout: Path) -> None:
    declared = tomllib.loads((checkout / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    assert {contract["id"] for contract in declared} == set(PLANTS)


@pytest.mark.parametrize(
    ("contract", "plant"), [(contract, plant) for contract, plants in PLANTS.items() for plant in plants]
)
def test_a_planted_violation_breaks_its_contract(tree: Path, contract: str, plant: dict[str, str]) -> None:
    for name, lines in plant.items():
        with (tree / name).open("a", encoding="utf-8") as file:
            file.write(f"\n{lines}\n")
    result = lint(tree, "--contract", contract)
    assert result.returncode == 1, result.stdout + result.stderr
    assert "0 kept, 1 broken" in result.stdout
    assert "planted" in result.stdout


def test_every_folder_with_code_is_a_package(checkout: Path) -> None:
    # Without its `__init__.py` a folder loses against a package of the same name in site-packages.
    folders = {path.parent for folder in FOLDERS for path in (checkout / folder).rglob("*.py")}
    assert {checkout / folder for folder in FOLDERS} <= folders
    assert [str(folder) for folder in sorted(folders) if not (folder / "__init__.py").is_file()] == []
