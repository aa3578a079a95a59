"""What the forms offer: what is registered now, and nothing that would be refused."""

import re

import jsonschema
import pytest

from lastgood import control
from tasks import choices

SCHEMA = {
    "type": "object",
    "properties": {
        "agent": {"type": "string", "title": "agent"},
        "candidate": {"type": "string", "title": "candidate", "description": "which"},
        "policy": {"type": "string", "default": "default"},
        "environment": {"type": "string", "default": "production"},
        "to": {"type": "string", "default": ""},
        "note": {"type": "string", "default": ""},
    },
    "required": ["agent", "candidate"],
}


def field(world, name, schema=SCHEMA):
    return choices.amended(schema, choices.read(world.store))["properties"][name]


def test_each_bundle_is_offered_once_by_id_and_name_the_newest_first(world):
    newest = world.bundle("newest")
    offered = field(world, "candidate")["enum"]
    assert [choices.reference(each) for each in offered[:1]] == [f"b-{newest[:8]}"]
    assert all(re.fullmatch(r"b-[0-9a-f]{8} support-\S+", each) for each in offered)
    assert {choices.reference(each) for each in offered} == {
        f"b-{each[:8]}" for each in (newest, world.candidate, world.baseline)
    }
    assert len(offered) == 3


def test_agents_environments_and_policies_are_those_that_exist(world):
    control.adopt(world.store, "billing", "staging", world.baseline, actor="ann", reason="")
    world.policy()
    assert field(world, "agent")["enum"] == ["billing", "support"]
    assert field(world, "environment")["enum"] == ["production", "staging"]
    assert field(world, "policy")["enum"] == ["default", "low_traffic", "small"]
    assert field(world, "to")["enum"][0] == ""


def test_every_field_has_a_title_and_keeps_its_help(world):
    found = field(world, "candidate")
    assert (found["title"], found["description"]) == ("Candidate", "which")
    assert field(world, "note") == {"type": "string", "default": "", "title": "Note", "maxLength": 500}


def test_doing_it_again_changes_nothing_and_what_is_gone_goes(world):
    now = choices.read(world.store)
    once = choices.amended(SCHEMA, now)
    assert choices.amended(once, now) == once
    empty = choices.amended(once, choices.Choices())
    assert all("enum" not in found for found in empty["properties"].values())
    assert "enum" not in SCHEMA["properties"]["agent"]


@pytest.mark.parametrize(
    ("name", "wrong"),
    [("agent", "nobody"), ("candidate", "b-00000000"), ("policy", "nope"), ("note", "x" * 501)],
)
def test_what_is_not_offered_is_refused(world, name, wrong):
    schema = choices.amended(SCHEMA, choices.read(world.store))
    right = {"agent": "support", "candidate": schema["properties"]["candidate"]["enum"][0]}
    jsonschema.validate(right, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**right, name: wrong}, schema)


@pytest.mark.prefect
def test_every_parameter_of_every_deployment_has_a_title_a_bound_and_help(world):
    from prefect.utilities.callables import parameter_schema

    from flows.__main__ import SERVED

    for served in SERVED:
        schema = parameter_schema(served.flow.fn).model_dump()
        for name, found in choices.amended(schema, choices.read(world.store))["properties"].items():
            where = f"{served.name}: {name}"
            assert found["type"] == "string", where  # what degrades to no JSON editor, and automations pass
            assert found["title"] == choices.FIELDS[name]["title"], where
            assert found["description"], where
            assert "maxLength" in found, where


def test_what_a_form_calls_a_bundle_is_what_it_offers(world):
    assert choices.label(world.store, world.candidate) in field(world, "candidate")["enum"]


def test_a_choice_is_read_back_as_a_reference():
    assert choices.reference("b-3f2a90bc support-2026-11-29.1") == "b-3f2a90bc"
    assert choices.reference("support-2026-11-29.1") == "support-2026-11-29.1"
    assert choices.reference("  ") == ""


def test_what_may_be_left_empty_may_hold_nothing(world):
    schema = {"properties": {"bundle": {"type": "string", "default": ""}}}
    found = field(world, "bundle", schema)
    assert found["enum"][0] == ""
    jsonschema.validate("", found)
