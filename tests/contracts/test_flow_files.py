"""A flow file has a name of its own and holds flows alone.

Prefect loads `flows/release.py` as a top-level module called `release`, with flows/ first on sys.path: a flow
file that has the name of an importable module would hide it, and a class defined there gets two identities.
"""

import ast
import importlib.util
from pathlib import Path

import pytest

#: what the pipeline is made of; more may come
EXPECTED = {"release", "evaluate_canaries", "rollback"}
FUNCTION = ast.FunctionDef | ast.AsyncFunctionDef


def files(checkout: Path) -> list[Path]:
    """The flow files: `__init__` and `__main__` are never loaded by Prefect."""
    return [path for path in sorted((checkout / "flows").glob("*.py")) if not path.stem.startswith("__")]


def hidden(stem: str) -> bool:
    """Whether a flow file of this name would hide an importable module."""
    return importlib.util.find_spec(stem) is not None


def is_flow(decorator: ast.expr) -> bool:
    """`@flow`, `@flow(...)`, `@prefect.flow` or `@prefect.flow(...)`."""
    called = decorator.func if isinstance(decorator, ast.Call) else decorator
    return getattr(called, "attr", getattr(called, "id", None)) == "flow"


def faults(source: str) -> list[str]:
    """What a flow file must not define: types, and functions that are no flows."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ClassDef | ast.Lambda):
            found.append(f"line {node.lineno}: {type(node).__name__}")
        elif isinstance(node, FUNCTION) and not any(map(is_flow, node.decorator_list)):
            found.append(f"line {node.lineno}: {node.name} is no @flow")
    return found


def flows_in(source: str) -> list[str]:
    """The names of the flows that a file defines."""
    functions = [node for node in ast.parse(source).body if isinstance(node, FUNCTION)]
    return [node.name for node in functions if any(map(is_flow, node.decorator_list))]


def test_the_planned_flows_are_there(checkout: Path) -> None:
    assert {path.stem for path in files(checkout)} >= EXPECTED


def test_no_flow_file_hides_an_importable_module(checkout: Path) -> None:
    assert [path.name for path in files(checkout) if hidden(path.stem)] == []


def test_flow_files_hold_flows_alone(checkout: Path) -> None:
    found = {path.name: faults(path.read_text("utf-8")) for path in files(checkout)}
    assert {name: problems for name, problems in found.items() if problems} == {}


def test_every_flow_file_defines_a_flow(checkout: Path) -> None:
    assert [path.name for path in files(checkout) if not flows_in(path.read_text("utf-8"))] == []


@pytest.mark.parametrize(
    ("name", "taken"),
    [("config", True), ("tasks", True), ("json", True), ("release", False), ("watch", False)],
)
def test_the_check_knows_which_names_are_taken(name: str, taken: bool) -> None:
    assert hidden(name) is taken


@pytest.mark.parametrize(
    "planted",
    [
        "class Step: ...",
        "def helper(): ...",
        "async def helper(): ...",
        "@task\ndef helper(): ...",
        "pick = lambda state: state",
        "@flow\ndef release():\n    def helper(): ...",
    ],
)
def test_a_planted_fault_is_found(planted: str) -> None:
    assert len(faults(planted)) == 1


@pytest.mark.parametrize(
    "allowed",
    [
        "@flow\ndef release(): ...",
        "@flow(name='release')\nasync def release(): ...",
        "@prefect.flow(log_prints=True)\ndef release(): ...",
    ],
)
def test_a_flow_is_no_fault(allowed: str) -> None:
    assert faults(allowed) == []
    assert flows_in(allowed) == ["release"]
