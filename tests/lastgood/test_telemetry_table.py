import pytest

from lastgood import telemetry_table
from lastgood.errors import InvalidInput


def test_a_file_of_the_team_is_read_before_ours(tmp_path, monkeypatch):
    path = tmp_path / "telemetry.yaml"
    path.write_text(
        "attributes: {agent: app.agent, task_type: [app.intent]}\n"
        "operations: {run_agent: run}\nevaluations: {toxic: incidents, tone: metric:tone}\n"
    )
    monkeypatch.setenv(telemetry_table.VARIABLE, str(path))
    found = telemetry_table.table()
    assert found.text("agent", {"gen_ai.agent.name": "ours", "app.agent": "theirs"}) == "theirs"
    assert found.text("agent", {"gen_ai.agent.name": "ours"}) == "ours"
    assert (found.operations["run_agent"], found.operations["execute_tool"]) == ("run", "tool")
    assert found.evaluations["toxic"] == "incidents"


def test_a_file_that_is_not_there_is_said(monkeypatch):
    monkeypatch.setenv(telemetry_table.VARIABLE, "/nowhere.yaml")
    with pytest.raises(InvalidInput, match="which is not there"):
        telemetry_table.table()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "write a map"),
        ({"spans": {}}, "write a map"),
        ({"attributes": {"mood": "x"}}, "attributes.mood is no word of ours"),
        ({"attributes": {"agent": 7}}, "attributes.agent names an attribute"),
        ({"operations": {"x": "fly"}}, "write one of run, model, tool, memory, none"),
        ({"evaluations": {"x": "mood"}}, "write metric:NAME"),
        ({"operations": [1]}, "operations is a map by name"),
    ],
)
def test_what_can_not_be_in_it_is_named(given, said):
    with pytest.raises(InvalidInput, match=said):
        telemetry_table.extended(given, "telemetry.yaml")
