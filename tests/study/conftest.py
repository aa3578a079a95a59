"""The study runs as a script: its modules import each other by name."""

import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent


@pytest.fixture(scope="module", autouse=True)
def on_path():
    """The study's folder, found by its modules' names."""
    sys.path.insert(0, str(FOLDER))
    yield
    sys.path.remove(str(FOLDER))
