"""A policy as people write it, and the plain values that come of it."""

import json
import re
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from config.policy import POLICIES, Policy
from evaluators.rules import HOUR, MINUTE, Guardrail, Kind, Mode, OnHarm, Step, Undecided, Waiver
from lastgood.caps import Caps
from lastgood.errors import InvalidPolicy
from lastgood.records import Records
from lastgood.triggers import RateTrigger, RepeatTrigger, SpendTrigger, Triggers


def load(body: str = "") -> Policy:
    return Policy.load("name: mine\n" + body)


def test_a_name_is_all_that_a_policy_needs():
    assert load().name == "mine"


def test_every_key_left_out_means_what_default_yaml_says():
    assert Policy.builtin("default").to_json() == Policy.load("name: default\n").to_json()


def test_default_yaml_says_every_key():
    written = yaml.safe_load((POLICIES / "default.yaml").read_text())
    assert written.keys() == json.loads(Policy.builtin().to_json()).keys()


@pytest.mark.parametrize("path", sorted(POLICIES.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_policy_that_comes_with_the_pipeline_loads_under_its_name(path):
    assert Policy.builtin(path.stem).name == path.stem


def test_an_unknown_builtin_is_refused_with_those_there_are():
    with pytest.raises(
        InvalidPolicy, match=r"no policy '../x' comes with the pipeline; there are default, low_traffic"
    ):
        Policy.builtin("../x")


def test_a_file_is_read_by_path_and_by_name(tmp_path: Path, monkeypatch):
    (tmp_path / "mine.yaml").write_text("name: mine\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert Policy.load(tmp_path / "mine.yaml") == Policy.load("mine.yaml") == load()


def test_rules_hold_every_number_the_evaluators_need():
    rules = load(
        """
mode: advise
steps: [{share: 10%, min_runs: 5, min_time: 1 h, rule_out: 3}, {share: 0.5, min_time: 2 h}]
look_every: 2 min
lost_after: 5 min
guardrails:
  rude: {column: was_rude, bad: true, margin: 1 point, weight: 0.25, matures: 1 h}
  completion: {margin: +2 points, margin_rel: 25%, weight: 0.75}
strata: {faq: 0.75, billing: 0.25}
reference: {completion: 0.92, rude: 1%}
alpha: {revert: 0.01, promote: 0.1}
block: {size: 30, time: 30 min}
history_weight: 100
invalid_after: 20 min
horizon: {runs: 900, time: 3 d}
on_undecided: ask
"""
    ).rules()
    assert rules.guardrails == (
        Guardrail("completion", "completed", False, 0.75, 0.02, 0.25, 5 * MINUTE),
        Guardrail("rude", "was_rude", True, 0.25, 0.01, None, HOUR),
    )
    assert rules.steps == (Step(1000, 5, HOUR, 3.0), Step(5000, 0, 2 * HOUR, None))
    assert rules.strata == (("billing", 0.25), ("faq", 0.75))
    assert rules.references == (("completion", 0.08), ("rude", 0.01))
    assert (rules.alpha_revert, rules.alpha_promote) == (0.01, 0.1)
    assert (rules.block_size, rules.block_time_us) == (30, 30 * MINUTE)
    assert (rules.history_weight, rules.invalid_after_us) == (100, 20 * MINUTE)
    assert (rules.look_interval_us, rules.horizon_runs, rules.horizon_us) == (2 * MINUTE, 900, 72 * HOUR)
    assert (rules.on_undecided, rules.mode) == (Undecided.ASK, Mode.ADVISE)


def test_guardrails_of_numbers_are_held_with_their_kind():
    rules = load(
        """
guardrails:
  cost: {smallest_harm: 50%}
  cost_tail: {}
  latency: {limit: 30}
  judge: {column: mark, kind: score, better: higher, scale: [1, 5], margin_own: 0.1, unit: marks}
  calls: {column: tool_calls, kind: count, cap: 50, margin_rel: 20%, matures: 1 h}
"""
    ).rules()
    held = {g.name: g for g in rules.guardrails}
    assert list(held) == ["cost", "cost_tail", "latency", "calls", "judge"]
    cost, tail, slow, calls, judge = held.values()
    assert (cost.kind, cost.bad, cost.margin_rel, cost.unit) == (Kind.RATIO, True, 0.1, "USD")
    assert (cost.smallest_harm, cost.cap) == (0.5, None)
    assert (tail.kind, tail.level, tail.column) == (Kind.QUANTILE, 0.99, "cost_usd")
    assert (slow.limit, slow.margin_abs) == (30.0, 0.02)
    assert (calls.kind, calls.cap, calls.maturity_us) == (Kind.COUNT, 50.0, HOUR)
    assert (judge.kind, judge.bad, judge.margin_abs) == (Kind.SCORE, False, 0.1)
    assert (judge.lowest, judge.highest, judge.unit) == (1.0, 5.0, "marks")


def test_what_harm_in_a_slice_does_and_what_was_accepted_are_frozen():
    policy = load(
        """
strata: [faq, tools]
on_harm: {faq: hold}
waivers:
- {guardrail: completion, slice: tools, reason: the old parser guessed, approver: ann}
"""
    )
    rules = Policy.from_json(policy.to_json(), digest=policy.digest).rules()
    assert rules.waivers == (Waiver("completion", "tools", "the old parser guessed", "ann"),)
    assert rules.on_harm_in("completion", "tools") is OnHarm.REPORT
    assert rules.on_harm_in("lost", "faq") is OnHarm.HOLD
    assert rules.on_harm_in("lost", "tools") is OnHarm.REVERT


def test_a_list_of_strata_has_equal_weights():
    assert load("strata: [b, a, c, d]").rules().strata == (("a", 0.25), ("b", 0.25), ("c", 0.25), ("d", 0.25))


def test_a_single_stratum_weighs_all():
    assert load("strata: [faq]").rules().strata == (("faq", 1.0),)


def test_a_reference_is_the_rate_at_which_the_column_is_true():
    rules = load("reference: {completion: 0.92, validation: 97%, escalation: 0.06, lost: 0.01}").rules()
    assert rules.references == (
        ("completion", 0.08),
        ("validation", 0.03),
        ("escalation", 0.06),
        ("lost", 0.01),
    )


def test_caps_are_the_ceilings_of_the_agent_side():
    caps = load(
        "caps: {spend_usd_per_hour: null, runs_per_hour: 9, actions_per_run: {refund: 0, call: 1}}"
    ).caps()
    assert caps == Caps(
        spend_usd_per_hour=None,
        spend_usd_per_run=0.5,
        runs_per_hour=9,
        actions_per_run=(("call", 1), ("refund", 0)),
        actions_per_hour=(("auto_approval", 20), ("message", 100)),
    )


def test_triggers_are_those_of_the_agent_side():
    body = """
triggers:
  zero_tolerance: [leak]
  rates: {lost: {limit: 50%, alpha: 0.01}, completion: {limit: 0.5}}
"""
    assert load(body).triggers() == Triggers(
        zero_tolerance=("leak",),
        rates=(RateTrigger("completion", 0.5, 0.001), RateTrigger("lost", 0.5, 0.01)),
    )


def test_costs_and_repeated_failures_are_triggers_of_the_agent_side():
    found = load("triggers: {cost: {limit_usd: 0.2}, repeated_failures: {times: 5}}").triggers()
    assert (found.spend, found.repeats) == (SpendTrigger(0.2, 0.001), RepeatTrigger(5, 5))
    found = load("triggers: {repeated_failures: {times: 5, of: 10}}").triggers()
    assert (found.spend, found.repeats) == (None, RepeatTrigger(5, 10))


@pytest.mark.parametrize("metric", ["corrections", "tool_malformed"])
def test_a_rate_of_what_no_guardrail_counts_by_default(metric):
    body = f"triggers: {{rates: {{{metric}: {{limit: 0.1}}}}}}"
    assert load(body).triggers().rates == (RateTrigger(metric, 0.1, 0.001),)


@pytest.mark.parametrize(
    ("body", "per_run", "per_hour"),
    [
        ("messages_per_run: 1", {"message": 1}, {"message": 100, "auto_approval": 20}),
        ("auto_approvals_per_hour: 5", {"message": 3}, {"message": 100, "auto_approval": 5}),
        ("auto_approvals_per_hour: null", {"message": 3}, {"message": 100}),
        ("{messages_per_run: 1, actions_per_run: {refund: 1}}", {"refund": 1, "message": 1}, None),
    ],
)
def test_ceilings_that_have_names_of_their_own(body, per_run, per_hour):
    caps = load(f"caps: {body}" if body.startswith("{") else f"caps: {{{body}}}").caps()
    assert dict(caps.actions_per_run) == per_run
    assert dict(caps.actions_per_hour) == (per_hour or {"message": 100, "auto_approval": 20})
    assert caps.messages_per_run == per_run["message"]
    assert caps.auto_approvals_per_hour == dict(caps.actions_per_hour).get("auto_approval")


def test_what_a_revert_and_the_end_of_the_watch_do():
    assert (load().on_revert, load().after_watch) == ("abort", "notify")
    policy = load("on_revert: finish\nafter_watch: revert")
    assert (policy.on_revert, policy.after_watch) == ("finish", "revert")


def test_malformed_calls_of_tools_are_a_guardrail_that_a_policy_may_name():
    assert "tool_malformed" not in {guardrail.name for guardrail in load().rules().guardrails}
    rules = load("guardrails: {completion: {}, tool_malformed: {margin: 1 point}}").rules()
    named = {guardrail.name: guardrail for guardrail in rules.guardrails}["tool_malformed"]
    assert (named.column, named.bad, named.margin_abs) == ("tool_malformed", True, 0.01)


def test_records_are_those_of_the_agent_side():
    body = "records: {keep: none, redact: [card, 'pattern:AB-\\d+'], max_bytes: 1_000}"
    assert load(body).records() == Records("none", ("card", r"pattern:AB-\d+"), 1_000)


def test_the_defaults_of_records_are_those_of_the_value():
    assert load().records() == Records()


def test_lease_and_driver_timeout_last_three_look_intervals():
    policy = load("look_every: 20 s")
    assert policy.lease == policy.driver_timeout == MINUTE


def test_a_guardrail_matures_when_a_silent_run_is_known_to_be_lost():
    assert {guardrail.maturity_us for guardrail in load("lost_after: 25 min").rules().guardrails} == {
        25 * MINUTE
    }


def test_eligible_risks_are_kept_in_order_and_once():
    assert load("eligible_risks: [medium, low, medium]").eligible_risks == ("low", "medium")


def test_a_policy_does_not_change():
    with pytest.raises(ValidationError, match="frozen"):
        load().name = "other"


def test_every_field_has_a_title_and_a_description():
    schema = Policy.model_json_schema()
    parts = {f"#/$defs/{name}": part for name, part in schema["$defs"].items()}
    models = [schema, *(part for part in parts.values() if "properties" in part)]
    bare = [
        f"{model['title']}.{name}"
        for model in models
        for name, field in model["properties"].items()
        if not {"title", "description"} <= (parts.get(field.get("$ref"), {}) | field).keys()
    ]
    assert bare == []


def test_a_form_shows_the_defaults_as_people_write_them():
    schema = Policy.model_json_schema()
    assert schema["properties"]["look_every"]["default"] == "1 min"
    assert schema["properties"]["steps"]["default"][0]["share"] == "5%"
    assert schema["properties"]["watch"]["default"]["time"] == "45 min"


BAD = [
    # (body after "name: mine", line, key, what is said)
    ("lok_every: 1 min", 2, "lok_every", "unknown key; did you mean 'look_every'"),
    ("zebra: 1", 2, "zebra", r"unknown key\. Known: name, mode, steps"),
    ("steps:\n- share: 5%\n  min_rnus: 3", 4, "steps[0].min_rnus", "unknown key; did you mean 'min_runs'"),
    ("caps:\n  runs_per_houre: 3", 3, "caps.runs_per_houre", "did you mean 'runs_per_hour'"),
    ("guardrails:\n  lost: {wieght: 1}", 3, "guardrails.lost.wieght", "did you mean 'weight'"),
    ("guardrails:\n  lost: {}\n  completon: {}", 4, "guardrails.completon", "did you mean 'completion'"),
    (
        "guardrails:\n  cost: {margin: 2 points}",
        3,
        "guardrails.cost.margin",
        "takes margin_rel or margin_own",
    ),
    ("guardrails:\n  lost: {margin_own: 1}", 3, "guardrails.lost.margin_own", "takes a margin in points"),
    ("guardrails:\n  cost: {bad: true}", 3, "guardrails.cost.bad", "does not go with kind: ratio"),
    ("guardrails:\n  cost: {smallest_harm: 0}", 3, "guardrails.cost.smallest_harm", "above 0"),
    ("guardrails:\n  cost: {kind: median}", 3, "guardrails.cost.kind", "is the ratio of cost_usd"),
    (
        "guardrails:\n  judge: {column: mark, kind: score, margin_own: 1, scale: [5, 1]}",
        *(3, "guardrails.judge.scale", "lower end first"),
    ),
    (
        "guardrails:\n  judge: {column: mark, kind: score, better: higher, margin_own: 4, scale: [1, 5]}",
        *(3, "guardrails.judge.margin_own", "as wide as the scale"),
    ),
    ("strata: [faq]\non_harm:\n  fa: hold", 4, "on_harm.fa", "no slice of this policy; did you mean 'faq'"),
    ("strata: [faq]\non_harm: {faq: stop}", 3, "on_harm.faq", "should be 'revert', 'hold' or 'report'"),
    (
        "strata: [faq]\nwaivers:\n- {guardrail: lots, slice: faq, reason: r, approver: a}",
        *(4, "waivers[0].guardrail", "no guardrail of this policy; did you mean 'lost'"),
    ),
    (
        "strata: [faq]\nwaivers:\n- {guardrail: lost, slice: faq, reason: r}",
        *(4, "waivers[0].approver", "is missing"),
    ),
    ("guardrails: {cost: {}}\nreference: {cost: 0.1}", 3, "reference.cost", "only a share of bad runs"),
    ("guardrails:\n  rude: {column: rude, bad: true}", 3, "guardrails.rude", "needs a margin"),
    ("guardrails:\n  rude: {column: rude, margin: 0.1}", 3, "guardrails.rude.bad", "is missing"),
    (
        "guardrails:\n  lost: {margin: 60 points}",
        3,
        "guardrails.lost.margin",
        "0.01 points to 50 points, not 60",
    ),
    (
        "guardrails:\n  lost: {margin: 0}",
        3,
        "guardrails.lost.margin",
        "0.01 points to 50 points, not 0 points",
    ),
    ("guardrails:\n  lost: {margin_rel: 2000%}", 3, "guardrails.lost.margin_rel", "1% to 1000%, not 2000%"),
    (
        "guardrails:\n  lost: {matures: 1 min}",
        3,
        "guardrails.lost.matures",
        "1 min is before lost_after .10 min",
    ),
    ("guardrails:\n  lost: {weight: 0.5}", 2, "guardrails", "the weights sum to 0.5, not 1"),
    ("guardrails:\n  lost: 5", 3, "guardrails.lost", "valid dictionary"),
    ("guardrails: {}", 2, "guardrails", "at least one guardrail"),
    ("guardrails: 3", 2, "guardrails", "valid dictionary"),
    ("look_every: 10", 2, "look_every", "10 has no unit of time; write '10 s', '10 min'"),
    ("look_every: 10 mins", 2, "look_every", "unknown unit of time 'mins'; did you mean 'min'"),
    ("look_every: 2 h", 2, "look_every", "should be 0.1 s to 1 h, not 2 h"),
    ("watch: {time: 2 h}", 2, "watch.time", "should be 30 min to 60 min"),
    ("look_every: 1 min\nlease: 60 s", 3, "lease", "no longer than look_every"),
    ("driver_timeout: 30 s", 2, "driver_timeout", "three look intervals would be 3 min"),
    ("steps: []", 2, "steps", "at least 1 item"),
    ("steps:\n- {share: 5}", 3, "steps[0].share", "1% to 99%, as '5%'"),
    ("steps:\n- min_runs: 5", 3, "steps[0].share", "is missing"),
    ("steps:\n- {share: 5%, rule_out: 3}\n- {share: 5%}", 4, "steps[1].share", "should rise"),
    ("steps:\n- {share: 5%}\n- {share: 9%}", 3, "steps[0].rule_out", "needs rule_out"),
    ("steps:\n- {share: 5%, rule_out: 3}", 3, "steps[0].rule_out", "leave it out on the last step"),
    (
        "steps:\n- {share: 5%, rule_out: 2}\n- {share: 9%, rule_out: 3}\n- {share: 20%}",
        *(4, "steps[1].rule_out", "not be above that of the step before"),
    ),
    ("steps:\n- {share: 5%, rule_out: 1}\n- {share: 9%}", 3, "steps[0].rule_out", "greater than 1"),
    ("strata:\n- faq\n- faq", 4, "strata[1]", "listed twice"),
    ("strata: [1]", 2, "strata[0]", "text; quote it"),
    ("strata: {a: 0.5, b: 0.4}", 2, "strata", "the weights sum to 0.9, not 1"),
    ("strata:\n  no: 1", 3, "", "YAML reads the key no as no text; quote it"),
    ("on: 3", 2, "", "YAML reads the key on as no text; quote it"),
    ("reference:\n  lst: 0.1", 3, "reference.lst", "no guardrail of this policy; did you mean 'lost'"),
    ("reference:\n  lost: 1.5", 3, "reference.lost", "should be above 0 and below 1, not 1.5"),
    ("triggers:\n  rates:\n    infra: {limit: 0.1}", 4, "triggers.rates.infra", "unknown metric"),
    ("triggers:\n  rates:\n    lots: {limit: 0.1}", 4, "triggers.rates.lots", "did you mean 'lost'"),
    ("triggers:\n  rates:\n    lost: {}", 4, "triggers.rates.lost.limit", "is missing"),
    ("triggers:\n  cost: {limit_usd: 0}", 3, "triggers.cost.limit_usd", "greater than 0"),
    (
        "triggers:\n  repeated_failures: {times: 5, of: 4}",
        *(3, "triggers.repeated_failures.of", "5 failures do not fit among 4 runs"),
    ),
    ("on_revert: retry", 2, "on_revert", "'abort' or 'finish'"),
    (
        "caps:\n  messages_per_run: 3\n  actions_per_run: {message: 3}",
        *(3, "caps.messages_per_run", "stands in actions_per_run as message too"),
    ),
    ("triggers:\n  zero_tolerance: [Data Leak]", 3, "triggers.zero_tolerance[0]", "such as 'my_name'"),
    ("caps: {spend_usd_per_hour: 0.1}", 2, "caps.spend_usd_per_run", "no run could start"),
    ("caps: {runs_per_hour: 0}", 2, "caps.runs_per_hour", "greater than or equal to 1, not 0"),
    ("caps: {runs_per_hour: true}", 2, "caps.runs_per_hour", "valid integer, not True"),
    ("caps: {runs_per_hour: '5'}", 2, "caps.runs_per_hour", "valid integer, not '5'"),
    ("caps:\n  actions_per_run: {Send Mail: 3}", 3, "caps.actions_per_run.Send Mail", "such as 'my_name'"),
    ("caps:\n  actions_per_run: {mail: -1}", 3, "caps.actions_per_run.mail", "greater than or equal to 0"),
    ("horizon: {runs: 100}", 2, "horizon.runs", "min_runs sum to 170, the horizon is 100"),
    ("horizon: {time: 4 h}", 2, "horizon.time", "take 250 min, the horizon is 4 h"),
    ("alpha: {revert: 0.5}", 2, "alpha.revert", "less than or equal to 0.2"),
    ("alpha: {revert: .nan}", 2, "alpha.revert", "not nan"),
    ("mode: react", 2, "mode", "should be 'act' or 'advise', not 'react'"),
    ("on_undecided: promote", 2, "on_undecided", "should be 'revert' or 'ask'"),
    ("risk_default: tiny", 2, "risk_default", "should be 'low', 'medium' or 'high'"),
    ("eligible_risks: [low, tiny]", 2, "eligible_risks[1]", "should be 'low', 'medium' or 'high'"),
    ("eligible_risks: []", 2, "eligible_risks", "at least 1 item"),
    ("records: {redact: ['pattern:(']}", 2, "records.redact[0]", "is no regular expression"),
    ("records: {redact: [names]}", 2, "records.redact[0]", "unknown redaction rule 'names'"),
    ("records: {keep: all}", 2, "records.keep", "should be 'inline', 'reference' or 'none'"),
    ("name: other", 2, "", "stands on line 1 already"),
    ("caps:\n  runs_per_hour: 1\n  runs_per_hour: 2", 4, "", "stands on line 3 already"),
    ("steps: [", 3, "", "correct the YAML"),
    ("cooldown: 2026-11-23", 2, "cooldown", "should be a duration"),
]


@pytest.mark.parametrize(
    ("body", "line", "key", "problem"), BAD, ids=[re.sub(r"\W+", "_", case[0]) for case in BAD]
)
def test_bad_input_is_refused_with_its_line_and_key(body, line, key, problem):
    with pytest.raises(InvalidPolicy) as refused:
        load(body + "\n")
    message = str(refused.value)
    assert message.startswith(f"policy:{line}: {key}")
    assert re.search(problem, message)
    assert "\n" not in message


def test_all_problems_are_told_in_the_order_of_the_text():
    with pytest.raises(InvalidPolicy) as refused:
        load("mode: react\nsteps:\n- {shre: 5%}\nlook_every: 5\n")
    assert [line.split(": ")[:2] for line in str(refused.value).splitlines()] == [
        ["policy:2", "mode"],
        ["policy:4", "steps[0].share"],
        ["policy:4", "steps[0].shre"],
        ["policy:5", "look_every"],
    ]


def test_a_long_list_of_problems_is_cut():
    with pytest.raises(InvalidPolicy, match=r"\nand 12 more$"):
        load("".join(f"key{number}: 1\n" for number in range(20)))


def test_a_policy_without_a_name_is_refused():
    with pytest.raises(InvalidPolicy, match="policy:1: name: is missing"):
        Policy.load("mode: act\n")


def test_a_policy_refuses_a_name_that_no_file_could_have():
    with pytest.raises(InvalidPolicy, match="policy:1: name: should be a name of lower-case letters"):
        Policy.load("name: My Policy\n")
