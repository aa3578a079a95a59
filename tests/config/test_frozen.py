"""A frozen policy: canonical JSON with every default resolved, the same digest after every round trip."""

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.metrics import KNOWN
from config.policy import Policy


def _seconds(least: int, most: int) -> st.SearchStrategy[str]:
    return st.integers(least, most).map(lambda seconds: f"{seconds} s")


@st.composite
def _steps(draw):
    shares = sorted(draw(st.sets(st.integers(100, 9_900), min_size=1, max_size=5)))
    harms = sorted(draw(st.lists(st.floats(1.1, 20), min_size=len(shares) - 1, max_size=len(shares) - 1)))[
        ::-1
    ]
    gates = [{"rule_out": harm} for harm in harms] + [{}]
    return [
        {
            "share": share / 10_000,
            "min_runs": draw(st.integers(0, 100)),
            "min_time": draw(_seconds(0, 3_600)),
            **gate,
        }
        for share, gate in zip(shares, gates, strict=True)
    ]


_MARGINS = st.fixed_dictionaries(
    {},
    optional={
        "margin": st.floats(0.0001, 0.5),
        "margin_rel": st.floats(0.01, 10),
        "matures": _seconds(900, 9_000),
    },
)


def _without_points(guardrails):
    """A ratio's margin is relative."""
    return {
        name: {key: value for key, value in entry.items() if key != "margin" or KNOWN[name].kind != "ratio"}
        for name, entry in guardrails.items()
    }


_GUARDRAILS = st.dictionaries(st.sampled_from(sorted(KNOWN)), _MARGINS, min_size=1).map(_without_points)
_POLICIES = st.fixed_dictionaries(
    {"name": st.from_regex(r"[a-z0-9][a-z0-9._-]{0,20}", fullmatch=True)},
    optional={
        "mode": st.sampled_from(["act", "advise"]),
        "steps": _steps(),
        "look_every": _seconds(1, 3_600),
        "eligible_risks": st.lists(st.sampled_from(["low", "medium", "high"]), min_size=1),
        "risk_default": st.sampled_from(["low", "medium", "high"]),
        "lost_after": _seconds(1, 900),
        "caps": st.fixed_dictionaries(
            {},
            optional={
                "spend_usd_per_hour": st.none() | st.floats(1, 1e6),
                "runs_per_hour": st.none() | st.integers(1, 10**7),
                "actions_per_run": st.dictionaries(
                    st.from_regex(r"[a-z]{1,9}", fullmatch=True), st.integers(0, 99)
                ),
            },
        ),
        "guardrails": _GUARDRAILS,
        "strata": st.lists(st.text(min_size=1, max_size=20), unique=True, max_size=9),
        "triggers": st.fixed_dictionaries(
            {},
            optional={
                "rates": st.dictionaries(
                    st.just("lost"), st.fixed_dictionaries({"limit": st.floats(0.01, 0.9)})
                )
            },
        ),
        "alpha": st.fixed_dictionaries({"revert": st.floats(0.001, 0.2)}),
        "block": st.fixed_dictionaries({"size": st.integers(2, 1_000), "time": _seconds(1, 86_400)}),
        "records": st.fixed_dictionaries({"redact": st.just(["email", "pattern:\x7f\u2028é+"])}),
        "cooldown": _seconds(0, 86_400),
    },
)


@given(_POLICIES)
def test_a_policy_means_the_same_after_a_round_trip(raw):
    policy = Policy.from_json(json.dumps(raw))
    again = Policy.from_json(policy.to_json(), digest=policy.digest)
    assert again == policy
    assert again.to_json() == policy.to_json()
    assert (again.rules(), again.caps(), again.triggers()) == (
        policy.rules(),
        policy.caps(),
        policy.triggers(),
    )


@given(_GUARDRAILS.filter(lambda guardrails: len(guardrails) > 1))
def test_the_order_of_keys_means_nothing(guardrails):
    turned = dict(reversed(guardrails.items()))
    one, other = (
        Policy.from_json(json.dumps({"name": "x", "guardrails": each})) for each in (guardrails, turned)
    )
    assert [g.name for g in one.rules().guardrails] == [g.name for g in other.rules().guardrails]


def test_the_same_value_written_differently_has_one_digest():
    one = Policy.load("name: x\nlease: 1 h\nsteps: [{share: 5%}]\nguardrails: {lost: {margin: +2 points}}\n")
    other = Policy.load(
        "guardrails: {lost: {margin: 0.02}}\nsteps: [{share: 0.05}]\nlease: 3600 s\nname: x\n"
    )
    assert one.digest == other.digest


def test_another_meaning_has_another_digest():
    assert Policy.load("name: x\n").digest != Policy.load("name: x\nlease: 4 min\n").digest


def test_the_digest_is_the_sha256_of_the_canonical_json():
    policy = Policy.load("name: x\nstrata: [größe]\n")
    data = json.loads(policy.to_json())
    canonical = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert policy.to_json() == canonical
    assert policy.digest == hashlib.sha256(canonical.encode()).hexdigest()


def _complete(data: object, schema: dict, root: dict) -> list[str]:
    """Names of fields that a resolved value leaves out."""
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rsplit("/", 1)[1]]
    if isinstance(data, list):
        return [name for item in data for name in _complete(item, schema.get("items", {}), root)]
    if not isinstance(data, dict):
        return []
    fields = schema.get("properties", {})
    inner = schema.get("additionalProperties") or {}
    return [name for name in fields if name not in data] + [
        name for key, item in data.items() for name in _complete(item, fields.get(key, inner), root)
    ]


@pytest.mark.parametrize("name", ["default", "low_traffic"])
def test_a_frozen_policy_leaves_nothing_to_the_defaults_of_the_code(name):
    schema = Policy.model_json_schema()
    assert _complete(json.loads(Policy.builtin(name).to_json()), schema, schema) == []


@pytest.mark.parametrize("mode", ["python", "json"])
def test_a_flow_can_pass_a_policy_as_a_parameter(mode):
    policy = Policy.builtin("low_traffic")
    assert Policy.model_validate(policy.model_dump(mode=mode)) == policy


def test_a_frozen_policy_can_be_read_as_yaml():
    policy = Policy.builtin("low_traffic")
    assert Policy.load(policy.to_json() + "\n") == policy
