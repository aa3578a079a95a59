"""The checkout as git sees it, and copies of it to plant faults in."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def checkout() -> Path:
    """The root of this checkout."""
    return Path(__file__).parents[2]


@pytest.fixture(scope="session")
def copy_checkout(checkout: Path) -> Callable[..., Path]:
    """Copy what git tracks or would add, optionally only under some paths, as a clone would have it."""

    def copy(target: Path, *paths: str) -> Path:
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *paths],
            cwd=checkout,
            check=True,
            capture_output=True,
            text=True,
        ).stdout.split("\0")
        for name in sorted({name for name in listed if name and (checkout / name).is_file()}):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(checkout / name, target / name)
        return target

    return copy
