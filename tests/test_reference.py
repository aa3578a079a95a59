"""docs/reference says what the code says."""

import importlib.util
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture(scope="module")
def generate():
    spec = importlib.util.spec_from_file_location("generate_reference", DOCS / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["cli.md", "policy.md", "profile.md"])
def test_the_reference_is_what_make_reference_writes(generate, name):
    assert (DOCS / "reference" / name).read_text("utf-8") == generate.pages()[name], "run `make reference`"


@pytest.mark.parametrize("name", ["policy.md", "profile.md"])
def test_every_field_is_explained(generate, name):
    assert [line for line in generate.pages()[name].splitlines() if line.endswith("|  |")] == []
