"""The wheel holds `lastgood/` alone: the checkout's other folders never land in a user's site-packages."""

import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def wheel(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The text of every file of the wheel, by its name there."""
    out = tmp_path_factory.mktemp("wheel")
    command = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        str(out),
        str(checkout),
    ]
    built = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert built.returncode == 0, built.stdout + built.stderr
    (path,) = out.glob("*.whl")
    with zipfile.ZipFile(path) as file:
        return {name: file.read(name).decode(errors="replace") for name in file.namelist()}


def dist_info(wheel: dict[str, str], name: str) -> str:
    """One file of the wheel's description of itself."""
    (text,) = (text for path, text in wheel.items() if path.endswith(f".dist-info/{name}"))
    return text


def test_its_package_is_the_folder_lastgood_file_for_file(checkout: Path, wheel: dict[str, str]) -> None:
    on_disk = {
        path.relative_to(checkout).as_posix()
        for path in (checkout / "lastgood").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name for name in wheel if ".dist-info/" not in name} == on_disk


def test_it_carries_the_type_marker_and_the_migrations(wheel: dict[str, str]) -> None:
    assert "lastgood/py.typed" in wheel
    assert any(name.startswith("lastgood/store/migrations/versions/") for name in wheel)


def test_it_carries_the_licence(wheel: dict[str, str]) -> None:
    assert dist_info(wheel, "licenses/LICENSE").lstrip().startswith("Apache License")


def test_it_asks_for_nothing_that_only_the_pipeline_needs(wheel: dict[str, str]) -> None:
    asked = Parser().parsestr(dist_info(wheel, "METADATA")).get_all("Requires-Dist", [])
    wanted = " ".join(each for each in asked if "extra ==" not in each)  # an extra is asked for by name
    assert "sqlmodel" in wanted
    assert [name for name in ("prefect", "fastapi", "pandas", "scipy", "pyarrow") if name in wanted] == []


def test_it_installs_the_command(wheel: dict[str, str]) -> None:
    assert "lastgood = lastgood.cli:main" in dist_info(wheel, "entry_points.txt")
