import hmac
import os
import re
import stat
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

import lastgood
from lastgood import identity, recorder
from lastgood.assigning import Request, assign
from lastgood.errors import BadToken, InvalidInput, NotFound
from lastgood.identity import Keys, Wrong
from lastgood.outcome import Outcome
from lastgood.recorder import Report, record_batch
from lastgood.snapshot import Serving

KEYS = Keys("b", {"a": b"a" * 32, "b": b"b" * 32})
RUN = {"id": "run_1", "bundle_id": "f" * 64, "epoch": 7}
NOW = 1_700_000_000_000_000
#: nothing here depends on the kind of store, but for what says so itself
pytestmark = pytest.mark.only("sqlite")


@pytest.fixture(autouse=True)
def _key(monkeypatch):
    monkeypatch.setenv("LASTGOOD_RUN_KEY", "b:" + "b" * 32 + ", a:" + "a" * 32)


@pytest.fixture
def run(desk):
    served = Serving(desk.store, desk.agent, desk.environment)
    return assign(served, Request("u", "faq", None, None))


def token(keys=KEYS, run_id="run_1", bundle_id="f" * 64, epoch=7, expires_us=NOW + 1):
    return identity.sign(keys, run_id, bundle_id, epoch, expires_us)


def test_a_token_stands_for_its_run():
    assert identity.refusal(KEYS, token(), RUN, NOW) is None


def test_an_older_key_still_verifies():
    assert identity.refusal(KEYS, token(Keys("a", KEYS.secrets)), RUN, NOW) is None


@pytest.mark.parametrize(
    ("brought", "wrong"),
    [
        (None, Wrong.MISSING),
        ("", Wrong.MISSING),
        ("run_1", Wrong.FORGED),
        ("lg0" + token()[3:], Wrong.FORGED),
        (token()[:-1] + ("0" if token()[-1] != "0" else "1"), Wrong.FORGED),
        (token().replace(".7.", ".8."), Wrong.FORGED),
        (token() + "é", Wrong.FORGED),
        (token(Keys("c", {"c": b"c" * 32})), Wrong.UNKNOWN_KEY),
        (token(Keys("a", {"a": b"x" * 32})), Wrong.FORGED),
        (token(run_id="run_2"), Wrong.CROSSED),
        (token(bundle_id="e" * 64), Wrong.CROSSED),
        (token(epoch=8), Wrong.CROSSED),
        (token(expires_us=NOW), Wrong.EXPIRED),
    ],
)
def test_any_other_token_is_refused(brought, wrong):
    assert identity.refusal(KEYS, brought, RUN, NOW) is wrong
    assert "is refused and counted" in wrong.say("run_1")


@given(st.text())
def test_no_text_but_its_token_stands_for_a_run(text):
    assert identity.refusal(KEYS, text, RUN, NOW) in {Wrong.MISSING, Wrong.FORGED, Wrong.UNKNOWN_KEY}


@given(secret=st.binary(min_size=1, max_size=200), text=st.text(st.characters(codec="utf-8")))
def test_the_signature_is_hmac_of_sha256(secret, text):
    right, keys = hmac.new(secret, text.encode(), "sha256").hexdigest(), Keys("a", {"a": secret})
    for _ in range(2):  # what was begun once is not used up
        assert keys.signature("a", text) == right
    assert keys.signature("b", text) is None


# -- keys


def test_keys_of_the_environment(desk):
    assert identity.keys(desk.store) == KEYS


def test_no_secret_is_shown():
    assert repr(KEYS) == "Keys(a, b)"


@pytest.mark.parametrize("given", ["secret", "a:short", "a b:" + "s" * 16, ":" + "s" * 16, ","])
def test_keys_of_the_environment_that_can_not_be(given, desk, monkeypatch):
    monkeypatch.setenv("LASTGOOD_RUN_KEY", given)
    with pytest.raises(InvalidInput, match="of LASTGOOD_RUN_KEY can't be used") as refused:
        identity.keys(desk.store)
    assert "short" not in str(refused.value)


def test_the_key_file_is_made_at_first_need_and_the_owner_s_alone(desk, monkeypatch):
    monkeypatch.delenv("LASTGOOD_RUN_KEY")
    found = identity.keys(desk.store)
    path = identity.key_file(desk.store)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert identity.keys(desk.store) == found
    assert path.read_text() == f"{found.newest} {found.secrets[found.newest].decode()}\n"
    assert sorted(each.name for each in path.parent.glob("*.keys*")) == [path.name]


def test_processes_that_make_the_file_at_once_agree(desk, clean_environment):
    code = (
        "import sys; from lastgood import identity; from lastgood.store.connection import Store; "
        "print(identity.keys(Store(sys.argv[1])).newest)"
    )
    command = [sys.executable, "-c", code, desk.store.url]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, env=clean_environment) for _ in range(4)]
    assert len({process.communicate(timeout=60)[0] for process in started}) == 1


def test_who_makes_the_file_second_takes_the_first_one(desk, monkeypatch):
    monkeypatch.delenv("LASTGOOD_RUN_KEY")
    path = identity.key_file(desk.store)
    identity._create(path, "first " + "1" * 32 + "\n")
    identity._create(path, "second " + "2" * 32 + "\n")
    assert identity.keys(desk.store).newest == "first"


@pytest.mark.parametrize(
    ("text", "mode", "said"),
    [
        ("a " + "s" * 16, 0o640, "others may read the key file"),
        ("", 0o600, "holds no key"),
        ("a", 0o600, "key 1 of"),
        ("é " + "s" * 16, 0o600, "can't be read"),
    ],
)
def test_a_key_file_that_can_not_be_used(text, mode, said, desk, monkeypatch):
    monkeypatch.delenv("LASTGOOD_RUN_KEY")
    path = identity.key_file(desk.store)
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    with pytest.raises(InvalidInput, match=said):
        identity.keys(desk.store)


def test_a_key_file_that_can_not_be_made(desk, monkeypatch):
    monkeypatch.delenv("LASTGOOD_RUN_KEY")
    monkeypatch.setattr(os, "open", lambda *_: (_ for _ in ()).throw(PermissionError("no")))
    with pytest.raises(InvalidInput, match="can't be made: no; set LASTGOOD_RUN_KEY"):
        identity.keys(desk.store)


@pytest.mark.only("postgres")
def test_without_a_file_of_its_own_a_store_needs_the_variable(desk, monkeypatch):
    monkeypatch.delenv("LASTGOOD_RUN_KEY")
    with pytest.raises(InvalidInput, match="set LASTGOOD_RUN_KEY to ID:SECRET"):
        identity.keys(desk.store)


def test_a_rotation_refuses_nothing_under_way(lab, monkeypatch):
    monkeypatch.delenv("LASTGOOD_RUN_KEY")
    with lastgood.run("support", "u") as run:
        before = run.token
    key_id = identity.rotate(lab.store)
    assert run.token.split(".")[1] == key_id != before.split(".")[1]
    lastgood.report(run.id, edits=1, token=before)
    assert stat.S_IMODE(identity.key_file(lab.store).stat().st_mode) == 0o600


def test_keys_of_the_environment_are_rotated_there(desk):
    with pytest.raises(InvalidInput, match="put a new ID:SECRET in front"):
        identity.rotate(desk.store)


# -- reports


def test_the_token_of_a_run_names_what_served_it(lab):
    with lastgood.run("support", "u") as run:
        version, key_id, run_id, bundle_id, epoch, expires_us, _ = run.token.split(".")
    assert (version, key_id, run_id, bundle_id, epoch) == ("lg1", "b", run.id, lab.baseline, "1")
    assert int(expires_us) == lab.clock.now_us() + identity.LIFETIME_US


def test_a_report_with_the_run_s_token_counts(lab):
    lastgood.configure(require_tokens=True)
    with lastgood.run("support", "u") as run:
        pass
    lastgood.report(run.id, edits=1, token=run.token)
    lastgood.report(run.id, event="note", edits=2, token=run.token)
    assert len(lab.all("SELECT * FROM late_report")) == 2


def test_a_report_without_one_is_refused_and_counted(lab):
    lastgood.configure(require_tokens=True)
    with lastgood.run("support", "u") as run:
        pass
    with lastgood.run("support", "v") as other:
        pass
    for fields in ({"edits": 1}, {"event": "data_leak"}):
        with pytest.raises(BadToken, match="it brings no token"):
            lastgood.report(run.id, **fields)
    with pytest.raises(BadToken, match="belongs to another run"):
        lastgood.report(run.id, edits=1, token=other.token)
    assert lab.all("SELECT * FROM late_report") == lab.all("SELECT * FROM event") == []
    assert lab.all("SELECT agent, reason, n FROM refusal ORDER BY reason") == [
        {"agent": "support", "reason": "crossed", "n": 1},
        {"agent": "support", "reason": "missing", "n": 2},
    ]


def test_a_token_that_is_given_is_checked_even_where_none_is_required(lab):
    with lastgood.run("support", "u") as run:
        pass
    lastgood.report(run.id, edits=1)
    lab.clock.advance(identity.LIFETIME_US)
    with pytest.raises(BadToken, match="has expired"):
        lastgood.report(run.id, edits=2, token=run.token)
    with pytest.raises(NotFound):
        lastgood.report("run_none", edits=2, token=run.token)


def test_a_run_is_resumed_with_its_token(lab):
    with lastgood.run("support", "u") as run:
        run.suspend()
    lastgood.configure(require_tokens=True)
    with pytest.raises(BadToken, match="it brings no token"), lastgood.resume(run.id):
        pass
    with lastgood.resume(run.id, token=run.token) as again:
        assert again.id == run.id


def test_a_batch_from_outside_writes_what_has_its_token(desk, run):
    good = identity.sign(KEYS, run.run_id, run.bundle.id, run.decision.epoch, desk.clock.now_us() + 1)
    served = Serving(desk.store, desk.agent, desk.environment)
    other = assign(served, Request("v", "faq", None, None))
    reports = [
        Report(run.run_id, Outcome(completed=True), token=good),
        Report(other.run_id, Outcome(completed=True), token=good),
        Report("run_none", Outcome(completed=True), token=good),
    ]
    batch = record_batch(desk.store, reports, keys=KEYS)
    assert (batch.new, batch.duplicates) == (1, ())
    assert [run_id for run_id, _ in batch.refused] == [other.run_id, "run_none"]
    assert [row["run_id"] for row in desk.all("SELECT run_id FROM outcome")] == [run.run_id]
    assert desk.all("SELECT agent, reason, n FROM refusal ORDER BY reason") == [
        {"agent": "support", "reason": "crossed", "n": 1},
        {"agent": "", "reason": "unknown_run", "n": 1},
    ]


def test_an_outcome_that_is_forged_into_a_batch_reverts_nothing(desk):
    desk.live()
    served = Serving(desk.store, desk.agent, desk.environment)
    forged = [
        Report(
            assign(served, Request(f"u{n}", "faq", None, None)).run_id, Outcome(completed=False, cost_usd=1e6)
        )
        for n in range(5)
    ]
    assert record_batch(desk.store, forged, keys=KEYS).new == 0
    assert desk.point.release_id is not None
    assert desk.one("SELECT n FROM refusal")["n"] == 5


def test_a_message_never_holds_a_token(desk, run):
    brought = token()
    with pytest.raises(BadToken) as refused:
        recorder.record_late(desk.store, run.run_id, {"edits": 1}, token=brought)
    assert not re.search(brought[-20:], str(refused.value))
