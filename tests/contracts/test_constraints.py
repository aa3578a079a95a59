"""constraints.txt pins what the project asks for, and names no index."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


@pytest.fixture(scope="module")
def lines(checkout: Path) -> list[str]:
    text = (checkout / "constraints.txt").read_text("utf-8")
    return [line for line in text.splitlines() if not line.startswith("#")]


def asked_for(checkout: Path) -> list[Requirement]:
    """What pyproject.toml names: to build, to run, and in its dependency groups."""
    project = tomllib.loads((checkout / "pyproject.toml").read_text("utf-8"))
    groups = [
        each for group in project["dependency-groups"].values() for each in group if isinstance(each, str)
    ]
    extras = [
        each for extra in project["project"].get("optional-dependencies", {}).values() for each in extra
    ]
    named = [*project["build-system"]["requires"], *project["project"]["dependencies"], *groups, *extras]
    return [Requirement(each) for each in named]


def test_every_line_is_a_name_and_a_version(lines: list[str]) -> None:
    assert [line for line in lines if not re.fullmatch(r"[a-z0-9][a-z0-9._-]*==[0-9][a-z0-9.]*", line)] == []


def test_every_package_is_named_once(lines: list[str]) -> None:
    names = [canonicalize_name(line.partition("==")[0]) for line in lines]
    assert len(names) == len(set(names))


def test_every_requirement_is_pinned_to_a_version_that_it_allows(checkout: Path, lines: list[str]) -> None:
    pins = {canonicalize_name(name): version for name, version in (line.split("==") for line in lines)}
    wanted = asked_for(checkout)
    assert wanted
    for requirement in wanted:
        pin = pins.get(canonicalize_name(requirement.name))
        assert pin is not None, f"{requirement} is not in constraints.txt"
        assert requirement.specifier.contains(pin), f"{requirement} refuses the pinned {pin}"
