"""The checks of a case: what each sees, and how a file names it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastgood import checks
from lastgood.checks import (
    ActionOfKind,
    ActionsAtMost,
    Completes,
    Contains,
    CostsAtMost,
    Differs,
    Equals,
    EqualsExpected,
    MaxDuration,
    NoActionOfKind,
    NoEvent,
    NoMalformedCalls,
    NotEscalated,
    Subject,
    Validates,
)
from lastgood.errors import InvalidInput
from lastgood.rehearsal import Act
from lastgood.replaying import Played

FINE = Played(output="sent", outcomes=({"completed": True, "cost_usd": 0.2},), seconds=1.0)


def played(**fields):
    return Played(**{"output": "sent", "seconds": 1.0, **fields})


@pytest.mark.parametrize(
    ("check", "bad"),
    [
        (Completes(), played(error="KeyError: 'x'")),
        (Completes(), played(outcomes=({"completed": False, "error": None},))),
        (Validates(), played(outcomes=({"validated": False},))),
        (Validates(), played(error="KeyError: 'x'")),
        (NoMalformedCalls(), played(outcomes=({"metrics": {"tool_malformed": True}},))),
        (NotEscalated(), played(outcomes=({"escalated": True},))),
        (NoActionOfKind("refund"), played(actions=(Act("refund", "o-7"),))),
        (ActionsAtMost("message", 1), played(actions=(Act("message"), Act("message")))),
        (NoEvent("data_leak"), played(events=(("data_leak", {}),))),
        (CostsAtMost(0.5), played(outcomes=({"cost_usd": 0.4}, {"cost_usd": 0.4}))),
        (CostsAtMost(0.5), played(outcomes=({"cost_usd": None},))),
        (Differs("lost"), played(output="lost")),
        (Equals("sent"), played(output="lost")),
        (Contains("sent"), played(output="lost")),
        (MaxDuration(2), played(seconds=3.0)),
    ],
)
def test_a_check_fails_on_what_it_is_about_and_passes_on_a_fine_replay(check, bad):
    assert check.why_not(Subject(FINE)) is None
    assert check.why_not(Subject(bad))


def test_an_action_that_is_wanted_has_its_kind_and_target():
    acted = Subject(played(actions=(Act("refund", "o-7"),)))
    assert ActionOfKind("refund").why_not(acted) is None
    assert ActionOfKind("refund", "o-7").why_not(acted) is None
    assert "o-8" in ActionOfKind("refund", "o-8").why_not(acted)
    assert ActionOfKind("message").why_not(acted)


def test_what_is_expected_counts_where_the_case_says_it():
    assert EqualsExpected().why_not(Subject(FINE, expected="sent")) is None
    assert "not 'lost'" in EqualsExpected().why_not(Subject(FINE, expected="lost"))
    assert EqualsExpected().why_not(Subject(FINE)) is None


@pytest.mark.parametrize(
    ("output", "check", "passes"),
    [
        ("It Was sent", Contains("was"), False),
        ("It Was sent", Contains("was", case_sensitive=False), True),
        (["a", "b"], Contains("b"), True),
        ({"state": "sent", "n": 1}, Contains({"state": "sent"}), True),
        ({"state": "sent"}, Contains({"state": "lost"}), False),
        ({"state": "sent"}, Contains("state"), True),
        (17, Contains("7", as_strings=True), True),
        (17, Contains("7"), False),
    ],
)
def test_containing_means_what_it_does_in_pydantic_evals(output, check, passes):
    assert (check.why_not(Subject(played(output=output))) is None) is passes


@pytest.mark.parametrize(
    ("entry", "check"),
    [
        ("Completes", Completes()),
        ({"Contains": "sent"}, Contains("sent")),
        ({"Contains": {"value": {"a": 1}}}, Contains({"a": 1})),
        ({"Contains": {"value": "x", "case_sensitive": False}}, Contains("x", case_sensitive=False)),
        ({"ActionsAtMost": {"kind": "message", "most": 2}}, ActionsAtMost("message", 2)),
    ],
)
def test_a_check_is_read_and_written_as_pydantic_evals_does(entry, check):
    assert checks.read(entry, "here") == check
    assert checks.read(checks.write(check), "here") == check


@given(st.sampled_from(checks.OWN + checks.SHARED), st.data())
def test_whatever_is_written_is_read_back(kind, data):
    text, flag, number = st.text(), st.booleans(), st.floats(0, 9)
    values = {
        "kind": text, "target": st.none() | text, "most": st.integers(0, 9), "name": text, "usd": number,
        "value": text | st.integers() | st.lists(text), "case_sensitive": flag, "as_strings": flag,
        "seconds": number,
    }  # fmt: skip
    check = kind(**{name: data.draw(values[name]) for name in kind.__dataclass_fields__})
    assert checks.read(checks.write(check), "here") == check


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ("LLMJudge", "no evaluator 'LLMJudge' is known here .*--lastgood-evaluator"),
        ({"Contains": {"vale": 1}}, "Contains takes value, case_sensitive, as_strings"),
        ({"Completes": 1}, "Completes takes nothing, and was given 1"),
        ({"NoEvent": {}}, "NoEvent takes name"),
        ({"A": 1, "B": 2}, "is no check"),
        (7, "is no check"),
    ],
)
def test_a_check_that_can_not_be_says_so(entry, why):
    with pytest.raises(InvalidInput, match=f"^here.*{why}"):
        checks.read(entry, "here")
