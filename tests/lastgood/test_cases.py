"""Case files: Datasets of pydantic-evals, read strictly."""

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from lastgood import cases
from lastgood.cases import Case
from lastgood.checks import Completes, Contains, EqualsExpected
from lastgood.errors import InvalidInput, NotFound
from lastgood.fixtures import Fixtures, ToolFixture
from lastgood.replaying import Played

CASE = Case(
    "refund-twice", {"order": "7"}, (Completes(), Contains("sent")), "it was sent",
    Fixtures((ToolFixture("find", {"order": "7"}, {"state": "sent"}),), ("email",)),
    {"agent": "support", "incident": "inc_1"}, attempts=5, needed=3, own={"team": "orders"},
)  # fmt: skip
#: texts that YAML 1.1 or 1.2 could take for something else
TRICKY = [
    *(
        "yes",
        "no",
        "012",
        "1e3",
        "0x1f",
        "null",
        "~",
        "1:30",
        "2026-11-23",
        "- a",
        "a: b",
        "#",
        "é",
        "a\nb\n",
    ),
    *(" a", "", "true", "<<", "=", "=="),
]


def test_a_case_is_read_back_as_it_was_written():
    assert cases.read_text(cases.write([CASE], "support"), "file") == [CASE]
    assert cases.from_json(cases.to_json(CASE), "the store") == CASE


def test_what_is_ours_stands_under_metadata_lastgood_alone():
    entry = CASE.to_entry()
    assert set(entry) == {"name", "inputs", "expected_output", "metadata", "evaluators"}
    assert set(entry["metadata"]) == {"team", "lastgood"}


@given(
    st.lists(st.sampled_from(TRICKY) | st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"])))
)
def test_texts_stay_texts_in_any_yaml(texts):
    case = Case("x", texts, (Completes(),))
    text = cases.write([case], "support")
    assert yaml.safe_load(text)["cases"][0]["inputs"] == texts
    assert not any(word in text.split() for word in ("yes", "1e3", "012", "1:30"))


def test_a_digest_is_of_what_is_replayed_and_checked():
    again = Case(**{**CASE.__dict__, "name": "other", "told": {}})
    changed = Case(**{**CASE.__dict__, "expected": "it was lost"})
    assert again.digest == CASE.digest != changed.digest


#: a file of one case, to go on with
ONE = "cases:\n- inputs: 1\n  evaluators: [Completes]\n"


def file_of(text):
    return cases.read_text(text, "f.yaml")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[]", "f.yaml:1: no case file"),
        ("cases: []\nx: 1", "f.yaml:2: unknown key 'x'"),
        ("cases:\n- name: a", "f.yaml:2: a case has at least `inputs`"),
        ("cases:\n- inputs: 1\n  evaluators: [Completes]\n  extra: 1", "f.yaml:4: unknown key 'extra'"),
        ("cases:\n- inputs: 1", "has no evaluators, so nothing could fail"),
        ("cases:\n- inputs: 1\n  evaluators:\n  - Completes\n  - Judge", "f.yaml:5: no evaluator 'Judge'"),
        ("cases:\n- inputs: 1\n  evaluators: Completes", "`evaluators` is a list"),
        (f"{ONE}  metadata: {{lastgood: 1}}", "`metadata.lastgood` are maps"),
        (f"{ONE}  metadata: {{lastgood: {{redact: ['pattern:(']}}}}", r"'\(' is no regular expression"),
        (f"{ONE}  metadata: {{lastgood: {{needed: 2}}}}", "`needed` of `attempts`"),
        (f"{ONE}  metadata: {{lastgood: {{fixtures: [{{tool: a, x: 1}}]}}}}", r"fixtures\[0\] has the"),
        (f"{ONE}  name: a\n{ONE[7:]}  name: a", "two cases are called 'a'"),
        ("cases: [", "f.yaml:2:"),
    ],
)  # fmt: skip
def test_a_file_that_is_none_names_the_line_and_what_is_wrong(text, why):
    with pytest.raises(InvalidInput, match=why):
        file_of(text)


def test_evaluators_of_the_whole_file_count_for_every_case():
    [case] = file_of("evaluators: [Completes]\ncases:\n- inputs: 1\n  evaluators: [EqualsExpected]")
    assert case.checks == (EqualsExpected(), Completes())


def test_a_folder_is_read_in_order_and_an_empty_one_says_so(tmp_path):
    for name in ("b", "a"):
        (tmp_path / f"{name}.yaml").write_text(cases.write([Case(name, 1, (Completes(),))], "x"))
    (tmp_path / "promptfoo-x.yaml").write_text("tests: []")
    assert [case.name for case in cases.read_folder(tmp_path)] == ["a", "b"]
    with pytest.raises(NotFound, match="cases export"):
        cases.read_folder(tmp_path / "none")


def test_a_case_is_tried_until_it_is_decided():
    shown = iter([False, True, True, True, False])
    tried = cases.attempt(
        Case("x", 1, (Completes(),), attempts=5, needed=3),
        lambda: Played(error=None if next(shown) else "KeyError: 'x'"),
    )
    assert tried.passed
    assert len(tried.judged) == 4


def test_a_case_that_can_not_pass_any_more_is_tried_no_further():
    tried = cases.attempt(Case("x", 1, (Completes(),), attempts=5, needed=3), lambda: Played(error="E: x"))
    assert (tried.passed, len(tried.judged)) == (False, 3)
    assert tried.why == ("Completes: it raised E: x",)


def test_a_missing_answer_fails_at_once_and_says_which():
    tried = cases.attempt(
        Case("x", 1, (Completes(),), attempts=5, needed=3), lambda: Played(missing=("GET /x",))
    )
    assert (tried.passed, tried.unanswered, len(tried.judged)) == (False, True, 1)
    assert tried.why == ("no recorded answer to GET /x",)
