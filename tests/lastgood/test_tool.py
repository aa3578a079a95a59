"""What a tools part declares, and what a registration refuses."""

import pytest

from lastgood import registry
from lastgood.bundle import Bundle, Part
from lastgood.errors import InvalidBundle
from lastgood.tool import Tool, check_tools, manifest_of, risk_with_tools
from lastgood.tool_schema import misfit

pytestmark = pytest.mark.only("sqlite")
SCHEMA = {"type": "object", "properties": {"order": {"type": "string"}}, "required": ["order"]}


def part(value, **given):
    return Part.of_value("tools", "1", value, **given)


def with_tools(value):
    others = [Part.of_value(kind, "1", {}) for kind in ("model", "memory", "policy", "prompt")]
    return Bundle([*others, part(value)])


@pytest.mark.parametrize(
    "value",
    [
        [{"name": "refund", "kind": "refund", "risk": "high"}],
        {"tools": [{"name": "refund", "kind": "refund", "risk": "high"}], "other": 1},
        {"tools": {"refund": {"kind": "refund", "risk": "high"}}},
        [{"type": "function", "function": {"name": "refund"}, "kind": "refund", "risk": "high"}],
    ],
)
def test_a_tool_in_each_of_its_forms(value):
    manifest = manifest_of(part(value))
    assert manifest.tools == {"refund": Tool("refund", "refund", "high")}
    assert (manifest.kinds, manifest.risk, manifest.problems) == ({"refund"}, "high", ())


@pytest.mark.parametrize("name", ["input", "input_schema", "inputSchema", "parameters"])
def test_the_input_schema_under_the_names_of_others(name):
    assert manifest_of(part([{"name": "refund", name: SCHEMA}])).tools["refund"].input == SCHEMA


@pytest.mark.parametrize("name", ["output", "output_schema", "outputSchema"])
def test_the_output_schema_under_the_names_of_others(name):
    manifest = manifest_of(part([{"name": "refund", name: SCHEMA}]))
    assert manifest.tools["refund"].output == SCHEMA
    assert manifest.checks


@pytest.mark.parametrize("value", ["a text", [], {}, {"tools": 3}, [1, {"title": "no name"}], 7])
def test_a_part_that_declares_no_tool(value):
    assert (manifest_of(part(value)).tools, manifest_of(part(value)).problems) == ({}, ())


def test_a_part_of_several_files_declares_no_tool():
    assert manifest_of(Part.of_files("tools", "1", {"a.py": b"1", "b.py": b"2"})).tools == {}


def test_a_bare_name_is_a_tool_without_a_say():
    manifest = manifest_of(part(["search", {"tools": 1}, {"name": "b"}]))
    assert set(manifest.tools) == {"search", "b"}
    assert (manifest.kinds, manifest.risk, manifest.checks) == (frozenset(), None, False)


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        ({"kind": "Send Message"}, "the kind 'Send Message' is none"),
        ({"kind": 3}, "the kind 3 is none"),
        ({"risk": "deadly"}, "the risk 'deadly' is none; write one of low, medium, high"),
        ({"undo": 3}, "undo names the tool that undoes a call"),
        ({"undo": "gone"}, "undo names 'gone', which is not declared"),
        ({"target": ["a"]}, "target names one argument"),
        ({"key": 3}, "key names an argument, or is a list of them"),
        ({"key": ["order", 3]}, "key names an argument, or is a list of them"),
        ({"idempotent": "yes"}, "idempotent is true or false"),
        ({"input": "text"}, "its input is no JSON schema"),
        ({"output": []}, "its output is no JSON schema"),
        ({"input": {"type": "objekt"}}, "the input schema of the tool 'refund' is no JSON schema"),
        ({"output": {"$ref": "https://example.com/s.json"}}, "which is never fetched"),
        (
            {"input": {"properties": {"a": {"anyOf": [{"$ref": "other.json"}]}}}},
            "'other.json', which is never",
        ),
    ],
)
def test_a_declaration_that_can_not_be_is_not_registered(declared, said, desk):
    bundle = with_tools([{"name": "refund", **declared}])
    with pytest.raises(InvalidBundle, match=said):
        registry.register(desk.store, "support", bundle, author="ann")
    assert desk.one("SELECT count(*) AS n FROM bundle")["n"] == 2


def test_a_tool_that_is_declared_twice_is_not_registered():
    with pytest.raises(InvalidBundle, match="'refund' is declared twice"):
        check_tools(with_tools(["refund", "refund"]))


def test_a_declaration_that_can_not_be_read_counts_as_the_highest_risk():
    manifest = manifest_of(part([{"name": "refund", "risk": "deadly", "kind": "refund"}]))
    assert manifest.tools == {"refund": Tool("refund", risk="high")}


def test_schemas_that_refer_to_their_own_definitions():
    inside = {"$defs": {"order": {"type": "string"}}, "properties": {"order": {"$ref": "#/$defs/order"}}}
    check_tools(with_tools([{"name": "refund", "input": inside, "undo": {"by": "hand"}, "key": "order"}]))
    assert misfit(inside, {"order": "o-1"}) is None
    assert misfit(inside, {"order": 1}) == "$.order: 1 is not of type 'string'"
    assert "does not hold" in misfit({"$ref": "#/$defs/none"}, {})


def test_a_long_value_is_cut_in_a_message():
    assert len(misfit({"type": "string"}, list(range(1_000)))) < 300


@pytest.mark.parametrize(
    ("risk", "names", "found"),
    [
        (None, None, "high"),
        ("low", None, "high"),
        (None, ["search"], None),
        ("medium", ["search"], "medium"),
        ("medium", ["note"], "medium"),
        (None, ["note"], "low"),
        ("deadly", None, "deadly"),
        (None, [], None),
    ],
)
def test_a_run_is_as_risky_as_the_riskiest_tool_that_it_may_call(risk, names, found):
    first = with_tools([{"name": "note", "risk": "low"}, "search"])
    second = with_tools([{"name": "refund", "risk": "high"}, "search"])
    assert risk_with_tools(risk, [first, second], names) == found
