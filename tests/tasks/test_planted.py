"""Twenty planted secrets through a run, a release and its end: none in the database, a report or a log."""

import io
import logging

import pytest
from click.testing import CliRunner

from config.policy import Policy
from config.profile import Profile
from lastgood import cli, profile
from lastgood.errors import LastgoodError
from lastgood.running import Run
from tasks import policies, report, transports, undoing
from tests.planted import CORES, PLANTED


@pytest.fixture
def log():
    written, logger = io.StringIO(), logging.getLogger("lastgood")
    handler = logging.StreamHandler(written)
    logger.addHandler(handler)
    yield written.getvalue
    logger.removeHandler(handler)


def held(path):
    """Every byte of the store's files."""
    return b"".join(each.read_bytes() for each in sorted(path.glob("*")) if each.is_file())


def none_in(content, where):
    text = content.decode("utf-8", "replace") if isinstance(content, bytes) else content
    assert [name for name, core in CORES.items() if core in text] == [], where


def test_runs_and_releases_keep_no_planted_secret(world, tmp_path, log, monkeypatch):
    started = world.start()
    for name, planted in PLANTED.items():
        run = world.run(f"unit of {name}")
        with pytest.raises(RuntimeError):
            fails(world, planted)
        assert run.recorded
    monkeypatch.setenv("LASTGOOD_DATABASE", world.store.url)
    said = [revert(world, planted) for planted in PLANTED.values()]
    none_in("\n".join(said), "commands")
    none_in(report.build(world.store, started).markdown, "report")
    none_in(log(), "log")
    world.store.close()
    none_in(held(tmp_path), "files")


def fails(world, planted):
    with Run(world.store, world.assign()) as failing:
        failing.input = {"text": f"my key is {planted}", planted: ["so", planted]}
        failing.output = f"never tell anybody {planted}"
        failing.event("note", said=planted)
        raise RuntimeError(f"refused: {planted}")


def revert(world, planted):
    """Two moves by hand whose reasons hold a secret, and one that is refused."""
    runner = CliRunner()
    words = [["kill"], ["clear"], ["rollback", "--to", planted]]
    done = [
        runner.invoke(cli.main, [word[0], "support", *word[1:], "-m", f"see {planted}"]) for word in words
    ]
    assert [each.exit_code for each in done[:2]] == [0, 0], [each.output for each in done]
    return "\n".join(each.output for each in done)


@pytest.mark.parametrize("name", PLANTED)
def test_no_policy_and_no_profile_is_stored_with_one(world, name, tmp_path):
    planted = " ".join(PLANTED[name].split())
    with pytest.raises(LastgoodError) as refused:
        policies.keep(
            world.store, Policy.load(f"name: small\nrecords: {{redact: ['pattern:{planted}']}}"), "ann"
        )
    none_in(str(refused.value), "the policy's error")
    text = Profile.load(f"agent: support\nowner: {planted[:200]!r}").to_json()
    with world.store.transaction() as txn, pytest.raises(LastgoodError) as refused:
        profile.store_body(txn, "support", text, actor="ann")
    none_in(str(refused.value), "the profile's error")
    world.store.close()
    none_in(held(tmp_path), "files")


@pytest.mark.parametrize("name", PLANTED)
def test_what_receivers_and_handlers_say_is_kept_without_one(name):
    def echo(*_):
        return transports.Failure(f"answered 500: {PLANTED[name]}")

    def fail(*_):
        raise OSError(PLANTED[name])

    none_in(transports.tried(echo, None, None).error, "a receiver's answer")
    none_in(transports.tried(fail, None, None).error, "a transport's error")
    none_in(undoing.judged(RuntimeError(PLANTED[name])).why, "a handler's error")
    none_in(undoing.of_result({"residue": PLANTED[name]}).why, "a handler's answer")
