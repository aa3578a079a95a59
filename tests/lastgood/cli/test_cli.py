import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import lastgood
from lastgood import agent as agents
from lastgood.cli import common, main
from lastgood.release import Terms

PACKAGE = Path(lastgood.__file__).parent
OURS = (
    *("adopt", "bundle", "clear", "db", "init", "kill", "promote", "readmit", "rollback", "rotate-key"),
    *("run", "status", "stop"),
    "incident",
    "token",
)


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    """A folder of its own, and no store that another test has opened."""
    for name in ("_stores", "_serving", "_configured"):
        monkeypatch.setattr(agents, name, {})
    (tmp_path / "repository").mkdir()
    monkeypatch.chdir(tmp_path / "repository")
    monkeypatch.setenv("LASTGOOD_ACTOR", "ann")


@pytest.fixture
def call():
    def run(*words, code=0):
        result = CliRunner().invoke(main, words)
        assert result.exit_code == code, result.output
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        if code:
            assert "Traceback" not in result.output
        return result.output

    return run


@pytest.fixture
def refused(call):
    """The one line that an error of ours becomes."""

    def run(*words):
        said = call(*words, code=1)
        assert said.startswith("Error: ")
        assert said.count("\n") == 1
        return said

    return run


@pytest.fixture
def at(desk, monkeypatch):
    """The command line at the desk's store."""
    monkeypatch.setenv("LASTGOOD_DATABASE", desk.store.url)
    monkeypatch.setattr(agents, "_stores", {desk.store.url: desk.store})
    return desk


def edit(desk, statement):
    desk.hand(statement)


# -- init, db


def test_init_writes_the_files_of_a_first_release(call):
    said = call("init", "sales")
    assert "wrote bundle.yaml" in said
    assert sorted(p.name for p in Path.cwd().iterdir()) == [
        ".lastgood",
        "agent.yaml",
        "agent_example.py",
        "bundle.yaml",
        "policy.yaml",
        "prompt.md",
    ]
    assert "agent: sales" in Path("bundle.yaml").read_text()
    assert 'agent="sales"' in Path("agent_example.py").read_text()
    assert "AGENT" not in "".join(p.read_text() for p in Path.cwd().glob("*.*") if p.is_file())


def test_what_init_writes_can_be_released_and_run(call):
    call("init")
    added = call("bundle", "add", "bundle.yaml").split()
    call("adopt", "support", added[1], "--reason", "the first")
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(PACKAGE.parent)}
    subprocess.run([sys.executable, "agent_example.py", "20"], env=environment, check=True, timeout=60)
    held = sqlite3.connect(".lastgood/lastgood.db")
    runs = held.execute("SELECT run.id, status FROM run JOIN outcome ON run_id = id").fetchall()
    held.close()
    assert [status for _, status in runs] == ["ended"] * 20
    assert json.loads(call("run", "show", runs[0][0], "--json"))["outcome"]["status"] == "ended"


def test_init_overwrites_nothing(refused):
    Path("prompt.md").write_text("mine")
    assert "prompt.md exist here already; nothing was written" in refused("init")
    assert [p.name for p in Path.cwd().iterdir()] == ["prompt.md"]
    assert Path("prompt.md").read_text() == "mine"


def test_init_refuses_a_name_that_is_none(refused):
    assert "is no name" in refused("init", "Sales Team")
    assert list(Path.cwd().iterdir()) == []


def test_db_upgrade_makes_the_store_and_may_be_repeated(call):
    for _ in range(2):
        assert "is at this version's schema" in call("db", "upgrade")
    assert Path(".lastgood/lastgood.db").exists()


def test_a_reader_who_has_gone_is_no_error_to_tell_of():
    """As with `lastgood status | head -1`."""
    reader, writer = os.pipe()
    os.close(reader)
    ran = subprocess.run(
        [sys.executable, "-m", "lastgood.cli", "--help"], stdout=writer, stderr=subprocess.PIPE, check=False
    )
    os.close(writer)
    assert ran.stderr == b""


@pytest.mark.only("sqlite")
def test_db_backup_and_restore(at, call, refused, tmp_path):
    release, file = at.live(), str(tmp_path / "monday.db")
    assert "every ledger in it verifies" in call("db", "backup", file)
    assert "is there already" in refused("db", "backup", file)
    at.revert(release)
    at.store.close()
    said = call("db", "restore", file)
    assert "the store that was there is" in said
    assert "support in production: a release was live then" in said
    assert "`lastgood rollback support` ends it" in said
    assert "kill switch  on" in call("status", "support")
    assert "there is no backup at" in refused("db", "restore", "nowhere.db")


def test_db_restore_without_a_file_settles_what_is_there(at, call):
    at.live()
    assert "`lastgood clear support` lets it go on" in call("db", "restore")
    assert at.point.killed


def test_db_upgrade_of_a_newer_store(at, refused):
    edit(at, "UPDATE alembic_version SET version_num = '9999'")
    assert "upgrade the lastgood package" in refused("db", "upgrade")


# -- bundles


def test_a_bundle_is_added_shown_listed_and_compared(call):
    call("init")
    first = call("bundle", "add").split()
    Path("prompt.md").write_text("Another prompt.\n")
    second = call("bundle", "add", "bundle.yaml", "--parent", first[1], "--approver", "bob").split()
    assert (first[0], second[0]) == ("registered", "registered")
    assert first[1].removeprefix("b-") in call("bundle", "show", first[2])
    facts = json.loads(call("bundle", "show", second[1], "--json"))
    assert (facts["author"], facts["approver"], facts["parent"]) == ("ann", "bob", first[1])
    assert sorted(facts["parts"]) == ["memory", "model", "policy", "prompt", "tools"]
    listed = call("bundle", "list", "support").splitlines()
    assert [line.split()[0] for line in listed] == [
        "bundle",
        *sorted([second[1], first[1]], key=lambda b: b != second[1]),
    ]
    changed = call("bundle", "diff", first[1], second[1])
    assert "prompt" in changed
    assert "Another prompt." in changed
    assert "are the same bundle" in call("bundle", "diff", first[1], first[2])


def test_the_same_bundle_again(call):
    call("init")
    first = call("bundle", "add").split()
    assert call("bundle", "add").startswith(f"already registered as {first[1]} {first[2]}")


def test_a_bundle_without_a_file(call, refused):
    call("db", "upgrade")
    assert "nowhere.yaml" in refused("bundle", "add", "nowhere.yaml")


def test_an_unknown_bundle(at, refused):
    assert "no bundle 'b-00000000'; see `lastgood bundle list`" in refused("bundle", "show", "b-00000000")


def test_no_bundle_yet(call):
    call("db", "upgrade")
    assert "no bundle yet: `lastgood bundle add bundle.yaml`" in call("bundle", "list")


# -- control


def test_adopt(call, at):
    said = call("adopt", "support", at.candidate, "-e", "staging", "-m", "the first")
    assert said == f"adopted: support in staging serves baseline b-{at.candidate[:8]} (vouched), epoch 1\n"
    row = at.one("SELECT actor, reason FROM ledger WHERE environment = 'staging'")
    assert dict(row) == {"actor": "ann", "reason": "the first"}


def test_adopting_twice(at, refused):
    assert "has a baseline already" in refused("adopt", "support", at.candidate)


def test_rollback_of_a_live_release(call, at):
    at.live(500)
    assert call("rollback", "support") == (
        f"rolled back: support in production serves baseline b-{at.baseline[:8]} (vouched), epoch 3\n"
    )
    assert at.one("SELECT reason FROM release")["reason"] == "rolled back by hand"


def test_rollback_to_a_named_bundle(call, at):
    words = ["rollback", "support", "--to", f"b-{at.candidate[:8]}"]
    assert "was never the last known good" in call(*words, code=1)
    assert "goes with --to" in call("rollback", "support", "--vouch", code=2)
    said = call(*words, "--vouch", "--reason", "reviewed")
    assert f"serves baseline b-{at.candidate[:8]}" in said


def test_rollback_with_nowhere_to_go(at, refused):
    assert "no other last known good bundle" in refused("rollback", "support")


def test_rollback_of_a_changed_control_point(call, at):
    edit(at, "UPDATE control_point SET share_bp = 10000")
    assert "epoch 1" in call("rollback", "support")
    assert "unusable" not in call("status")


@pytest.mark.parametrize(
    "words", [["rollback"], ["kill"], ["clear"], ["status"], ["promote", "--vouch", "-m", "x"]]
)
def test_an_unknown_agent(words, at, refused):
    assert "no agent 'nobody' in production" in refused(words[0], "nobody", *words[1:])


def test_a_rollback_by_a_user_without_a_name(call, at, monkeypatch):
    monkeypatch.delenv("LASTGOOD_ACTOR")
    monkeypatch.setattr(common.getpass, "getuser", lambda: {}["no such user"])
    at.live(500)
    call("rollback", "support")
    assert at.one("SELECT actor FROM ledger ORDER BY seq DESC LIMIT 1")["actor"] == f"uid {os.getuid()}"


def test_a_reason_that_is_no_utf8_does_not_stop_a_rollback(call, at):
    at.live(500)
    call("rollback", "support", "-m", "caf\udce9")
    assert at.one("SELECT reason FROM ledger ORDER BY seq DESC LIMIT 1")["reason"] == "caf?"


def test_kill_and_clear(call, at):
    at.live(500)
    assert call("kill", "support").endswith("epoch 3, kill switch on\n")
    assert at.point.killed
    assert "cleared: " in call("clear", "support")
    assert not at.point.killed


def test_kill_and_clear_may_be_said_twice(at, call):
    assert "kill switch on" in call("kill", "support")
    assert "kill switch on" in call("kill", "support")
    assert "kill switch on" not in call("clear", "support")
    assert "kill switch on" not in call("clear", "support")


@pytest.mark.parametrize("words", [[], ["--vouch"], ["--reason", "good"]])
def test_a_person_promotes_with_a_vouch_and_a_reason_alone(words, call, at):
    at.live(500)
    assert "give --vouch and --reason" in call("promote", "support", *words, code=2)
    assert at.point.release_id


def test_a_person_promotes_as_vouched(call, at):
    at.live(500)
    said = call("promote", "support", "--vouch", "--reason", "urgent")
    assert f"promoted: support in production serves baseline b-{at.candidate[:8]} (vouched)" in said
    assert at.point.standing == "vouched"


def test_there_is_nothing_to_promote(at, refused):
    assert "has no live release to promote" in refused("promote", "support", "--vouch", "--reason", "x")


def test_readmit(call, at):
    at.revert(at.live(), "evidence")
    assert "say with --reason what was reviewed" in call("readmit", "support", at.candidate, code=2)
    assert "re-admitted" in call("readmit", "support", f"b-{at.candidate[:8]}", "--reason", "fixed")
    assert at.live()


# -- show


def test_status_of_all(call, at):
    at.live(500)
    line = call("status").splitlines()[1]
    assert line.split()[:4] == ["support", "production", f"b-{at.baseline[:8]}", "support-2023-11-14.1"]
    assert "5%" in line
    found = json.loads(call("status", "--json"))
    assert [(f["agent"], f["share"], f["kill_switch"]) for f in found] == [("support", "5%", "off")]


def test_status_of_an_empty_store(call):
    call("db", "upgrade")
    assert "no agent yet" in call("status")
    assert json.loads(call("status", "--json")) == []


def test_status_of_one(call, at):
    release_id = at.live(500)
    said = call("status", "support")
    assert release_id in said
    assert "3 rows, sound, head" in said
    facts = json.loads(call("status", "support", "--json"))
    assert facts["release"] == f"{release_id} (canary)"
    assert facts["ledger"]["rows"] == 3


def test_status_gives_machines_whole_ids(call, at):
    at.live(500)
    one, [all_of_it] = json.loads(call("status", "support", "--json")), json.loads(call("status", "--json"))
    for facts in (one, all_of_it):
        assert (facts["baseline_id"], facts["candidate_id"]) == (at.baseline, at.candidate)
        assert facts["release"].startswith(facts["release_id"])


def test_a_corrupt_row_hides_no_other(call, at, refused):
    from lastgood import control

    control.adopt(at.store, "sales", "production", at.baseline, actor="ann", reason="")
    edit(at, "UPDATE control_point SET share_bp = 7 WHERE agent = 'support'")
    found = {f["agent"]: f["baseline"] for f in json.loads(call("status", "--json"))}
    assert found["sales"].startswith("b-")
    assert found["support"].startswith("unusable: the control point of support in production was changed")
    assert "unusable" in call("status")
    assert "lastgood rollback support" in refused("status", "support")


def test_status_finds_a_ledger_that_was_edited(at, refused):
    edit(at, "UPDATE ledger SET reason = 'another'")
    assert "broken at row 1" in refused("status", "support")


def test_run_show(call, at):
    release_id = at.live(terms=Terms())
    with lastgood.run("support", "user-1", task_type="faq") as run:
        run.report(validated=True)
        run.event("note")
        with run.action("message", "c-1"):
            pass
    lastgood.report(run.id, edits=3)
    facts = json.loads(call("run", "show", run.id, "--json"))
    assert (facts["bundle_id"], facts["arm"], facts["epoch"]) == (at.candidate, "candidate", 2)
    assert (facts["release"], facts["reason"], facts["eligible"]) == (release_id, "split", True)
    assert facts["outcome"]["validated"] == 1
    assert facts["later"] == [{"operator_edits": 3}]
    assert (facts["events"], facts["actions"]) == (["note"], ["message c-1 done"])
    assert f"bundle        b-{at.candidate[:8]}" in call("run", "show", run.id)


def test_run_show_of_an_unknown_run(at, refused):
    assert "no run 'run_none' in this store" in refused("run", "show", "run_none")


# -- errors


@pytest.mark.parametrize(
    "words", [["status"], ["rollback", "support"], ["bundle", "list"], ["run", "show", "x"]]
)
def test_without_a_store(words, refused):
    assert "there is no store at" in refused(*words)
    assert list(Path.cwd().iterdir()) == []


def test_an_old_schema(at, refused):
    edit(at, "UPDATE alembic_version SET version_num = '0000'")
    assert "has schema 0000, this process needs" in refused("rollback", "support")


def test_a_store_that_is_no_database(refused, monkeypatch):
    Path("notes.db").write_text("notes " * 500)
    monkeypatch.setenv("LASTGOOD_DATABASE", "sqlite:///notes.db")
    assert "not a database" in refused("status")
    assert "not a database" in refused("db", "upgrade")


# -- as a program


def program(*words, root, **environment):
    return subprocess.run(
        [sys.executable, "-c", "import sys; from lastgood.cli import main; main(sys.argv[1:])", *words],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(root), "LASTGOOD_ACTOR": "ann", **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_an_error_is_one_line_and_exit_code_1(at):
    result = program("rollback", "nobody", root=PACKAGE.parent, LASTGOOD_DATABASE=at.store.url)
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.startswith("Error: no agent 'nobody' in production")
    assert result.stderr.count("\n") == 1


def test_help_names_every_command(at):
    result = program("--help", root=PACKAGE.parent)
    assert result.returncode == 0
    named = {line.split()[0] for line in result.stdout.partition("Commands:")[2].splitlines() if line.strip()}
    assert set(OURS) <= named


@pytest.mark.parametrize("command", ["release", "policy", "backtest"])
def test_a_pipeline_command_outside_a_checkout_says_so_in_one_line(command, tmp_path):
    shutil.copytree(PACKAGE, tmp_path / "alone" / "lastgood", ignore=shutil.ignore_patterns("__pycache__"))
    result = program(command, "--help", root=tmp_path / "alone")
    assert result.returncode == 1
    assert result.stderr.startswith(f"Error: `lastgood {command}` needs the pipeline")
    assert "in a checkout of lastgood, after `make setup`" in result.stderr
    assert result.stderr.count("\n") == 1


def test_outside_a_checkout_our_own_commands_work_and_help_says_which_do_not(tmp_path, at):
    shutil.copytree(PACKAGE, tmp_path / "alone" / "lastgood", ignore=shutil.ignore_patterns("__pycache__"))
    assert program("status", root=tmp_path / "alone", LASTGOOD_DATABASE=at.store.url).returncode == 0
    assert "(needs a checkout of lastgood)" in program("--help", root=tmp_path / "alone").stdout


def test_a_rollback_loads_no_orm(at):
    at.live(500)
    code = (
        "import sys\nfrom lastgood.cli import main\nmain(['rollback', 'support'], standalone_mode=False)\n"
        "print(sorted({n.partition('.')[0] for n in sys.modules}"
        " & {'sqlmodel', 'sqlalchemy', 'alembic', 'pydantic', 'prefect', 'yaml', 'pandas', 'scipy'}))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(PACKAGE.parent), "LASTGOOD_DATABASE": at.store.url, "LASTGOOD_ACTOR": "ann"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert result.stdout.splitlines()[-1] == "[]"
    assert at.point.release_id is None
