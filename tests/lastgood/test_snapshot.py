import dataclasses
import os
import threading
import time
from contextlib import suppress

import pytest

from lastgood import agent as agents
from lastgood import control, epoch_word, hearing, snapshot
from lastgood.assigning import Request, assign
from lastgood.caps import Caps
from lastgood.clock import ManualClock
from lastgood.decision import Reason
from lastgood.errors import CorruptRow, NotFound, Refused, StoreUnavailable
from lastgood.snapshot import Serving, announced_runtimes
from lastgood.store.connection import Store

HOUR = 3_600_000_000
UNITS = [f"unit-{i}" for i in range(20)]


def serving(desk, **how):
    return Serving(desk.store, desk.agent, desk.environment, **how)


@pytest.fixture(autouse=True)
def _hush(monkeypatch):
    """Read again at once; end the listeners of this test, or they would go on looking for its database."""
    monkeypatch.setattr(snapshot, "_SPREAD_NS", 0)
    yield
    for heard in list(hearing._all):
        heard.end()


def arms(desk, served):
    """The arms of some units, once the router knows what was moved: over a server that takes a moment."""
    end = time.monotonic() + 10
    while desk.store.word_path is None and time.monotonic() < end:
        decision = served.router.route("unit")
        if decision.epoch == desk.point.epoch and decision.reason is not Reason.MOVED:
            break
        time.sleep(0.005)
    return {served.router.route(unit).arm for unit in UNITS}


@pytest.mark.parametrize("jump_us", [HOUR, 24 * HOUR, -HOUR, -24 * HOUR, 365 * 24 * HOUR])
def test_a_jump_of_the_wall_clock_changes_nothing_on_the_same_boot(jump_us, desk, clock):
    desk.live(10_000)
    before = serving(desk)
    assert arms(desk, before) == {"candidate"}
    clock.wall_us += jump_us
    assert arms(desk, before) == {"candidate"}
    assert arms(desk, serving(desk)) == {"candidate"}
    clock.since_boot_us += HOUR
    assert arms(desk, before) == {"baseline"}
    assert arms(desk, serving(desk)) == {"baseline"}


def test_on_another_boot_the_wall_clock_counts(desk):
    desk.live(10_000)
    clock = ManualClock(since_boot_us=5, boot_id="another")
    other = Serving(Store(desk.store.url, clock), desk.agent, desk.environment)
    assert arms(desk, other) == {"candidate"}
    clock.advance(HOUR - 1)
    assert arms(desk, other) == {"candidate"}
    clock.advance(1)
    assert arms(desk, other) == {"baseline"}
    other.store.close()


def test_a_kill_is_seen_at_the_next_run(desk):
    desk.live(10_000)
    served = serving(desk)
    assert arms(desk, served) == {"candidate"}
    desk.kill()
    assert arms(desk, served) == {"baseline"}


def test_a_renewal_goes_on_serving_the_candidate(desk, clock):
    release_id = desk.live(10_000)
    served = serving(desk)
    arms(desk, served)
    clock.advance(HOUR - 1)
    desk.serve(release_id, 10_000)
    assert arms(desk, served) == {"candidate"}
    clock.advance(HOUR - 1)
    assert arms(desk, served) == {"candidate"}


def test_a_candidate_whose_runtime_is_not_announced_is_not_served(desk):
    desk.live(10_000, candidate=desk.register("needs", "image:2"))
    served = serving(desk)
    assert arms(desk, served) == {"baseline"}
    assert served.router.route("unit").reason is Reason.RUNTIME
    assert arms(desk, serving(desk, runtimes=frozenset({"image:2"}))) == {"candidate"}


def test_a_baseline_whose_runtime_is_not_announced_is_refused(desk):
    desk.promote(desk.live(candidate=desk.register("needs", "image:2")))
    with pytest.raises(
        Refused, match=r"needs the runtime image:2, which this process does not announce.*LASTGOOD_RUNTIME"
    ):
        arms(desk, serving(desk))


def test_runtimes_are_announced_by_the_environment(monkeypatch):
    monkeypatch.setenv("LASTGOOD_RUNTIME", " image:1, commit:abc ,")
    assert announced_runtimes() == {"image:1", "commit:abc"}


def test_a_bundle_is_read_once_a_process(desk, monkeypatch):
    from lastgood import registry

    served, reads = serving(desk), []
    real = registry.read
    monkeypatch.setattr(
        registry, "read", lambda txn, bundle_id: reads.append(bundle_id) or real(txn, bundle_id)
    )
    release_id = desk.start()
    for share_bp in (100, 200, 300):
        desk.serve(release_id, share_bp)
        reads.clear() if share_bp == 100 else None
        arms(desk, served)
    assert len(reads) <= 2


def test_threads_that_meet_a_bundle_at_once_read_it_once(desk, monkeypatch):
    from lastgood import registry

    served, reads, real = serving(desk), [], registry.read

    def slow(txn, bundle_id):
        reads.append(bundle_id)
        time.sleep(0.1)  # the other thread has asked by then
        return real(txn, bundle_id)

    monkeypatch.setattr(registry, "read", slow)

    def meet():
        with desk.store.reading() as txn:
            served.bundle(txn, desk.candidate)
        desk.store.close()

    threads = [threading.Thread(target=meet) for _ in range(2)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert reads == [desk.candidate]


def spoil(desk, hand, bundle_id):
    hand(desk.store, "UPDATE bundle SET author = 'mallory' WHERE id = ?", bundle_id)


def test_a_changed_candidate_is_not_served_and_the_baseline_goes_on(desk, hand, caplog):
    desk.live(10_000)
    spoil(desk, hand, desk.candidate)
    assert arms(desk, serving(desk)) == {"baseline"}
    assert "the candidate of support in production is not served" in caplog.text


def test_a_candidate_that_a_hand_deleted_is_not_served_and_the_baseline_goes_on(desk, hand, caplog):
    desk.live(10_000)
    hand(desk.store, "DELETE FROM bundle WHERE id = ?", desk.candidate)
    assert arms(desk, serving(desk)) == {"baseline"}
    assert "the candidate of support in production is not served" in caplog.text


def test_a_changed_baseline_is_never_served(desk, hand):
    spoil(desk, hand, desk.baseline)
    with pytest.raises(CorruptRow, match="changed behind lastgood's back"):
        arms(desk, serving(desk))


def test_a_router_that_has_never_seen_a_bundle_raises_clearly(desk, tmp_path):
    with pytest.raises(NotFound, match="no agent 'sales' in production"):
        _ = Serving(desk.store, "sales", "production").router
    with pytest.raises(StoreUnavailable, match="there is no store"):
        _ = Serving(Store(f"sqlite:///{tmp_path / 'none.db'}"), "support", "production").router


# -- with the epoch word


@pytest.fixture
def reads(monkeypatch):
    """How often a store was read."""
    seen, real = [], Store.reading
    monkeypatch.setattr(Store, "reading", lambda store: seen.append(store) or real(store))
    return seen


@pytest.mark.only("sqlite")
def test_the_store_is_read_again_only_after_a_move(desk, clock, reads):
    release_id = desk.live(10_000)
    route = serving(desk).router.route
    reads.clear()
    for _ in range(500):
        assert route("unit").arm == "candidate"
        clock.advance(10_000)
    assert reads == []
    desk.revert(release_id)
    reads.clear()
    assert [route("unit").arm for _ in range(3)] == ["baseline"] * 3
    assert len(reads) == 1


@pytest.mark.only("sqlite")
def test_every_move_is_seen_by_a_route_that_somebody_kept(desk):
    route = serving(desk).router.route
    release_id = desk.live(10_000)
    assert route("unit").arm == "candidate"
    desk.serve(release_id, 0)
    assert route("unit").reason is Reason.NO_RELEASE
    desk.serve(release_id, 10_000)
    assert route("unit").arm == "candidate"
    desk.kill()
    assert route("unit").reason is Reason.KILLED
    control.clear(desk.store, desk.agent, desk.environment, actor="ann", reason="seen")
    assert route("unit").arm == "candidate"
    desk.promote(release_id)
    assert (route("unit").reason, route("unit").bundle.id) == (Reason.NO_RELEASE, desk.candidate)
    desk.rollback()
    assert route("unit").bundle.id == desk.baseline
    assert route("unit").epoch == desk.point.epoch


@pytest.mark.only("sqlite")
def test_a_decision_after_a_kill_reads_nothing_and_a_later_one_does(desk, reads, monkeypatch):
    monkeypatch.setattr(os, "getpid", lambda: 1)
    desk.live(10_000)
    route = serving(desk).router.route
    assert route("unit").arm == "candidate"
    desk.kill()
    monkeypatch.setattr(snapshot, "_GOLDEN", 0.999)
    monkeypatch.setattr(snapshot, "_SPREAD_NS", 200_000_000)
    reads.clear()
    decision = route("unit")
    assert (decision.reason, decision.bundle.id, reads) == (Reason.MOVED, desk.baseline, [])
    time.sleep(0.25)
    assert route("unit").reason is Reason.KILLED


@pytest.mark.only("sqlite")
def test_a_decision_after_another_baseline_reads_at_once(desk, monkeypatch):
    monkeypatch.setattr(snapshot, "_SPREAD_NS", 10**12)
    release_id = desk.live(10_000)
    route = serving(desk).router.route
    assert route("unit").arm == "candidate"
    desk.promote(release_id)
    assert (route("unit").reason, route("unit").bundle.id) == (Reason.NO_RELEASE, desk.candidate)
    desk.rollback()
    assert (route("unit").reason, route("unit").bundle.id) == (Reason.NO_RELEASE, desk.baseline)


@pytest.mark.only("sqlite")
def test_while_a_move_is_being_committed_the_baseline_is_served(desk):
    desk.live(10_000)
    route = serving(desk).router.route
    with desk.store.transaction() as txn:
        epoch_word.moving(txn, desk.agent, desk.environment, baseline=True)
        assert route("unit").reason is Reason.MOVED
    assert route("unit").arm == "candidate"


@pytest.mark.only("sqlite")
def test_a_move_that_is_rolled_back_costs_one_reading(desk):
    desk.live(10_000)
    route = serving(desk).router.route
    with suppress(ZeroDivisionError), desk.store.transaction() as txn:
        epoch_word.moving(txn, desk.agent, desk.environment, baseline=True)
        raise ZeroDivisionError
    assert route("unit").arm == "candidate"


@pytest.mark.only("sqlite")
def test_an_odd_word_of_a_dead_writer_is_settled_after_a_while(desk):
    desk.live(10_000)
    route = serving(desk).router.route
    assert route("unit").arm == "candidate"
    epoch_word._began(desk.store.word_path, epoch_word.slot_of(desk.agent, desk.environment))
    assert route("unit").reason is Reason.MOVED
    until = time.monotonic() + 20
    while route("unit").arm == "baseline" and time.monotonic() < until:
        time.sleep(0.01)
    assert route("unit").arm == "candidate"


@pytest.mark.only("sqlite")
def test_an_assignment_settles_an_odd_word_at_once(desk):
    desk.live(10_000)
    served = serving(desk)
    epoch_word._began(desk.store.word_path, epoch_word.slot_of(desk.agent, desk.environment))
    assert served.router.route("unit").reason is Reason.MOVED
    assert assign(served, Request("unit", "faq", None, None)).decision.arm == "candidate"
    assert served.router.route("unit").arm == "candidate"


def damage(how, path):
    if how == "missing":
        path.unlink()
    elif how == "replaced":
        path.with_suffix(".new").write_bytes(bytes(epoch_word.SIZE))
        path.with_suffix(".new").rename(path)
    elif how == "short":
        path.with_suffix(".new").write_bytes(bytes(8))
        path.with_suffix(".new").rename(path)
    elif how == "long":
        path.with_suffix(".new").write_bytes(bytes(epoch_word.SIZE * 2))
        path.with_suffix(".new").rename(path)
    elif how == "a folder":
        path.unlink()
        path.mkdir()


@pytest.mark.only("sqlite")
@pytest.mark.parametrize("how", ["missing", "replaced", "short", "long", "a folder"])
def test_a_damaged_file_of_words_costs_speed_alone(how, desk, clock):
    release_id = desk.live(10_000)
    served = serving(desk)
    route = served.router.route
    assert route("unit").arm == "candidate"
    damage(how, desk.store.word_path)
    clock.advance(250_000)
    assert route("unit").arm == "candidate"
    assert serving(desk).router.route("unit").arm == "candidate"
    desk.revert(release_id)
    assert route("unit").arm == "baseline"
    assert route("unit").epoch == desk.point.epoch
    desk.live(10_000, candidate=desk.register("third"))
    assert route("unit").arm == "candidate"


@pytest.mark.only("sqlite")
def test_a_switch_onto_a_replaced_file_is_seen_within_a_quarter_of_a_second(desk, clock):
    release_id = desk.live(10_000)
    route = serving(desk).router.route
    assert route("unit").arm == "candidate"
    damage("replaced", desk.store.word_path)
    desk.revert(release_id)
    clock.advance(250_000)
    assert route("unit").arm == "baseline"


@pytest.mark.only("sqlite")
def test_cut_off_it_serves_what_it_saw_within_the_lease_and_then_the_baseline(desk, clock):
    desk.live(10_000)
    route = serving(desk).router.route
    desk.store.path.rename(desk.store.path.with_suffix(".away"))
    for _ in range(10):
        clock.advance(HOUR // 10 - 1)
        assert route("unit").arm == "candidate"
    clock.advance(10)
    assert route("unit").reason is Reason.LAPSED


@pytest.mark.only("sqlite")
def test_cut_off_after_a_move_it_serves_the_baseline(desk):
    release_id = desk.live(10_000)
    route = serving(desk).router.route
    desk.revert(release_id)
    desk.store.path.rename(desk.store.path.with_suffix(".away"))
    assert [route("unit").reason for _ in range(5)] == [Reason.MOVED] * 5


def test_without_a_store_the_baseline_that_was_given_is_served(desk, build, tmp_path):
    given = build("given")
    served = Serving(Store(f"sqlite:///{tmp_path / 'none.db'}"), "support", "production", fallback=given)
    assert served.known
    decision = served.router.route("unit")
    assert (decision.arm, decision.bundle, decision.eligible) == ("baseline", given, False)
    assert Serving(desk.store, "sales", "production", fallback=given).router.route("unit").bundle is given


def test_an_agent_starts_without_a_store(build, tmp_path, monkeypatch):
    given = build("given")
    for name in ("_stores", "_serving", "_configured", "_fallbacks"):
        monkeypatch.setattr(agents, name, {})
    agents.configure(database=f"sqlite:///{tmp_path / 'none.db'}", fallback={"support": given})
    with agents.run("support", "unit") as run:
        assert (run.bundle, run.reason, run.recorded) == (given, Reason.STORE, False)
    with pytest.raises(StoreUnavailable), agents.run("sales", "unit"):
        pass


@pytest.mark.only("sqlite")
def test_a_store_that_comes_takes_the_place_of_what_was_given(desk, build, monkeypatch):
    monkeypatch.setattr("lastgood.snapshot._RETRY_NS", 0)
    away = desk.store.path.rename(desk.store.path.with_suffix(".away"))
    served = serving(desk, fallback=build("given"))
    route = served.router.route
    assert route("unit").epoch == 0
    away.rename(desk.store.path)
    assert route("unit").bundle.id == desk.baseline
    assert route("unit").reason is Reason.NO_RELEASE


def capped(tools, **ceilings):
    return dataclasses.replace(
        tools.OPEN, caps=Caps(spend_usd_per_hour=None, spend_usd_per_run=None, **ceilings)
    )


def test_headroom_is_kept_current_by_assigning(desk, tools, clock):
    desk.live(10_000, terms=capped(tools, runs_per_hour=1))
    served = serving(desk)
    route = served.router.route
    assert route("unit").arm == "candidate"
    assert assign(served, Request("unit", "faq", None, None)).decision.arm == "candidate"
    assert assign(served, Request("other", "faq", None, None)).decision.reason is Reason.CAP
    assert served.router.route("unit").reason is Reason.CAP
    clock.advance(HOUR)
    desk.serve(desk.point.release_id, 10_000)
    assert assign(served, Request("third", "faq", None, None)).decision.arm == "candidate"
    assert arms(desk, served) == {"candidate"}


# -- with a server that tells of moves


@pytest.mark.only("postgres")
def test_over_a_server_decisions_read_nothing_and_moves_are_heard(desk, clock, reads):
    release_id = desk.live(10_000)
    served = serving(desk)
    assert arms(desk, served) == {"candidate"}
    route = served.router.route
    reads.clear()
    for _ in range(200):
        assert route("unit").arm == "candidate"
        clock.advance(10_000)
    assert reads == []
    desk.revert(release_id)
    assert arms(desk, served) == {"baseline"}
    assert route("unit").reason is Reason.NO_RELEASE


@pytest.mark.only("postgres")
def test_before_moves_are_heard_nothing_stands(desk, monkeypatch):
    monkeypatch.setattr(hearing, "BEGIN_S", 0.0)
    desk.live(10_000)
    served = serving(desk)
    assert assign(served, Request("unit", "faq", None, None)).decision.arm == "candidate"
    assert served.router.route("unit").reason is Reason.MOVED
    assert arms(desk, served) == {"candidate"}


@pytest.mark.only("postgres")
def test_a_deaf_router_serves_what_it_saw_within_the_lease(desk, clock):
    desk.live(10_000)
    served = serving(desk)
    assert arms(desk, served) == {"candidate"}
    for heard in list(hearing._all):
        heard._listener.stop()
    desk.kill()
    assert served.router.route("unit").arm == "candidate"
    clock.advance(HOUR)
    assert served.router.route("unit").reason is Reason.LAPSED


@pytest.mark.only("sqlite")
def test_what_was_read_before_a_move_takes_no_newer_state_away(desk):
    release_id = desk.live(10_000)
    served = serving(desk)
    router = served.router
    old = served._read()
    desk.revert(release_id)
    assert router.route("unit").reason is Reason.NO_RELEASE
    served._install(*old)  # by a thread that was held up
    assert router.snapshot.point.release_id is None
    assert router.route("unit").reason is Reason.NO_RELEASE
