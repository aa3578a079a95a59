"""The seam between an agent and the world: `run.tool`."""

import asyncio
import json
import logging
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

import lastgood
from lastgood import control, registry
from lastgood.bundle import Bundle, Part
from lastgood.caps import Caps
from lastgood.errors import CapReached, InDoubt, InvalidInput, MalformedCall, Refused
from lastgood.release import Terms

pytestmark = [pytest.mark.only("sqlite"), pytest.mark.ways("store", "service")]
TEXT = {"type": "string", "minLength": 1}
TOOLS = [
    {
        "name": "send",
        "kind": "message",
        "risk": "low",
        "target": "customer",
        "undo": "recall",
        "input": {
            "type": "object",
            "properties": {"customer": TEXT, "text": TEXT},
            "required": ["customer", "text"],
            "additionalProperties": False,
        },
        "output": {"type": "object", "required": ["id"]},
    },
    {"name": "recall", "kind": "recall"},
    {"name": "refund", "kind": "refund", "key": ["order"], "undo": {"by": "hand"}},
    {"name": "approve", "kind": "approval", "key": "order", "idempotent": True},
    {"name": "search", "output": {"type": "array"}},
]


@pytest.fixture
def shop(lab):
    """The agent with a candidate whose tools are declared, serving everybody."""
    others = [Part.of_value(kind, "1", {}) for kind in ("model", "memory", "policy", "prompt")]
    bundle = Bundle([*others, Part.of_value("tools", "1", TOOLS)])
    lab.shop = registry.register(lab.store, "support", bundle, author="ann")[0].bundle.id
    lab.sent = []
    return lab


@pytest.fixture
def live(shop):
    def make(**caps):
        shop.live(terms=Terms(caps=Caps(None, None, None, **caps)), candidate=shop.shop)
        return shop

    return make


def sender(desk):
    def send(customer, text="hello"):
        desk.sent.append((customer, text))
        return {"id": f"m-{len(desk.sent)}"}

    return send


def actions(desk):
    return desk.all(
        "SELECT kind, target, state, tool, key, result, undo FROM action ORDER BY reserved_us, id"
    )


def metrics(desk):
    return [json.loads(row["metrics"]) for row in desk.all("SELECT metrics FROM outcome")]


def test_a_call_is_checked_gated_and_recorded(live):
    desk = live()
    with lastgood.run("support", "u") as run:
        assert run.bundle.id == desk.shop
        assert run.tool(sender(desk))("c-1", text="hi") == {"id": "m-1"}
    row = actions(desk)[0]
    assert (row["kind"], row["target"], row["state"], row["tool"], row["key"]) == (
        *("message", "c-1", "done", "send"),
        None,
    )
    assert json.loads(row["undo"]) == {
        "tool": "recall",
        "of": "send",
        "arguments": {"customer": "c-1", "text": "hi"},
    }
    assert json.loads(row["result"]) == {"id": "m-1"}
    assert metrics(desk) == [{"tool_malformed": False}]


def test_it_is_a_decorator_too_and_keeps_the_function_s_name(live):
    desk = live()
    with lastgood.run("support", "u") as run:

        @run.tool(name="send")
        def tell(**named):
            """Tell somebody something."""
            desk.sent.append(named)
            return {"id": 1}

        tell(customer="c-1", text="hi")
    assert tell.__doc__ == "Tell somebody something."
    assert desk.sent == [{"customer": "c-1", "text": "hi"}]


@pytest.mark.parametrize(
    ("args", "named", "said"),
    [
        (("c-1", ""), {}, r"\$.text"),
        ((1, "hi"), {}, r"\$.customer: 1 is not of type 'string'"),
        (("c-1",), {"loud": True}, "unexpected keyword argument 'loud'"),
        ((), {}, "missing a required argument: 'customer'"),
        ((object(), "hi"), {}, "it is no JSON value"),
        ((float("nan"), "hi"), {}, "it is no JSON value"),
    ],
)
def test_a_malformed_call_has_no_effect_and_is_counted(args, named, said, live):
    desk = live()
    with lastgood.run("support", "u") as run:
        with pytest.raises(MalformedCall, match=said):
            run.tool(sender(desk))(*args, **named)
        run.tool(sender(desk))("c-1", "hi")
    assert len(desk.sent) == len(actions(desk)) == 1
    assert metrics(desk) == [{"tool_malformed": True}]


def test_an_answer_that_does_not_fit_is_refused_after_its_effect(live):
    desk = live()
    with lastgood.run("support", "u") as run:
        with pytest.raises(MalformedCall, match=r"its results do not fit the manifest: .*'id' is a required"):
            run.tool(lambda customer, text: {}, name="send")("c-1", "hi")
        with pytest.raises(MalformedCall, match="its results"):
            run.tool(lambda: "text", name="search")()
    assert [row["state"] for row in actions(desk)] == ["done"]
    assert metrics(desk) == [{"tool_malformed": True}]


def test_a_tool_without_a_kind_leaves_no_row(live):
    desk = live()
    with lastgood.run("support", "u") as run:
        assert run.tool(lambda: [1], name="search")() == [1]
    assert actions(desk) == []


def test_an_undeclared_tool_is_refused(live):
    live()
    with lastgood.run("support", "u") as run, pytest.raises(Refused, match="the tool 'delete' of run"):
        run.tool(lambda: None, name="delete")


def test_a_run_may_call_only_the_tools_that_it_names(live):
    live()
    with lastgood.run("support", "u", tools=["search"]) as run:
        with pytest.raises(Refused, match=r"may call \(search\)"):
            run.tool(lambda: None, name="send")
        with pytest.raises(MalformedCall):
            run.tool(lambda: None, name="search")()


def test_an_undeclared_kind_of_action_is_refused(live):
    desk = live()
    with lastgood.run("support", "u") as run:
        with pytest.raises(Refused, match=r"delete of run .* declares no such kind .*approval, message"):
            run.action("delete", "c-1")
        with run.action("message", "c-1"):
            pass
    assert [row["kind"] for row in actions(desk)] == ["message"]


def test_a_bundle_that_declares_nothing_lets_every_name_through(shop):
    with lastgood.run("support", "u") as run:
        assert run.tool(lambda x: x + 1, name="anything")(1) == 2
        with run.action("whatever"):
            pass


def test_a_failing_tool_gives_its_share_of_the_hour_back(live):
    desk = live(actions_per_hour=(("message", 1),))
    with lastgood.run("support", "u") as run:
        with pytest.raises(ZeroDivisionError):
            run.tool(lambda customer, text: 1 / 0, name="send")("c-1", "hi")
        run.tool(sender(desk))("c-1", "hi")
        with pytest.raises(CapReached) as reached:
            run.tool(sender(desk))("c-2", "hi")
    assert sorted(row["state"] for row in actions(desk)) == ["done", "failed"]
    error = reached.value
    assert (error.cap, error.level, error.used) == ("actions_per_hour:message", 1, 1)
    assert error.frees_us == desk.clock.now_us() // 3_600_000_000 * 3_600_000_000 + 3_600_000_000


def test_the_ceiling_of_a_run_says_so_in_fields(live):
    desk = live(actions_per_run=(("message", 1),))
    with lastgood.run("support", "u") as run:
        run.tool(sender(desk))("c-1", "hi")
        with pytest.raises(CapReached) as reached:
            run.tool(sender(desk))("c-1", "hi")
    error = reached.value
    assert (error.cap, error.level, error.used, error.frees_us) == ("actions_per_run:message", 1, 1, None)


# -- keys


def test_a_resumed_run_gets_what_the_call_returned_and_its_effect_is_once(live):
    desk = live()
    with lastgood.run("support", "u") as run:
        made = run.tool(sender(desk), key="welcome")("c-1", "hi")
        run.suspend()
    with lastgood.resume(run.id) as again:
        assert again.tool(sender(desk), key="welcome")("c-1", "hi") == made == {"id": "m-1"}
        assert again.tool(sender(desk), key="bye")("c-1", "hi") == {"id": "m-2"}
    assert len(desk.sent) == 2


def test_the_key_may_come_from_the_arguments_or_the_manifest(live):
    desk, refunds = live(), []
    with lastgood.run("support", "u") as run:
        send = run.tool(sender(desk), key=lambda customer, text: customer)
        assert [send("c-1", "hi")["id"], send("c-1", "ho")["id"], send("c-2", "hi")["id"]] == [
            "m-1",
            "m-1",
            "m-2",
        ]
        refund = run.tool(lambda order, amount: refunds.append(order) or len(refunds), name="refund")
        assert [refund("o-1", 5), refund("o-1", 9), refund("o-2", 5)] == [1, 1, 2]
        with pytest.raises(InvalidInput, match="lacks order, which the manifest's key names"):
            run.tool(lambda: None, name="refund")()
    undo = json.loads(next(row["undo"] for row in actions(desk) if row["key"] == 'refund:["o-1"]'))
    assert undo == {"by": "hand", "of": "refund", "arguments": {"order": "o-1", "amount": 5}}


def test_arguments_that_json_lacks_tell_calls_apart_by_their_text(live):
    desk, made = live(), []
    with lastgood.run("support", "u") as run:
        refund = run.tool(lambda order: made.append(order), name="refund")  # noqa: PLW0108  a tool is a function
        for number in (1, 2, 1):
            refund(uuid.UUID(int=number))
    assert [order.int for order in made] == [1, 2]
    told = sorted(json.loads(row["undo"])["arguments"]["order"] for row in actions(desk))
    assert told == [str(uuid.UUID(int=number)) for number in (1, 2)]


def test_a_key_that_would_be_the_same_for_every_call_is_refused_before_the_effect(live):
    desk, made = live(), []
    with lastgood.run("support", "u") as run:
        refund = run.tool(lambda order: made.append(order), name="refund")  # noqa: PLW0108  a tool is a function
        with pytest.raises(InvalidInput, match="argument order is of type object"):
            refund(object())
    assert (made, actions(desk)) == ([], [])


def test_an_argument_that_json_lacks_hides_no_other_from_who_undoes_the_call(live):
    @dataclass
    class Client:
        password: str = "correct horse"

    desk, at = live(), datetime(2026, 11, 29, tzinfo=UTC)
    with lastgood.run("support", "u") as run:
        run.tool(lambda order, at, client: None, name="refund")("7", [at], Client())
    told = json.loads(actions(desk)[0]["undo"])["arguments"]
    assert told == {"order": "7", "at": ["2026-11-29 00:00:00+00:00"]}


def test_a_failed_call_with_a_key_is_made_again(live):
    desk, tries = live(actions_per_hour=(("refund", 1),)), []

    def refund(order):
        tries.append(order)
        return 1 // (len(tries) - 1)

    with lastgood.run("support", "u") as run:
        guarded = run.tool(refund)
        with pytest.raises(ZeroDivisionError):
            guarded("o-1")
        assert [guarded("o-1"), guarded("o-1")] == [1, 1]
    assert tries == ["o-1", "o-1"]
    assert [row["state"] for row in actions(desk)] == ["done"]


def test_a_call_whose_end_is_not_known_is_not_repeated(live):
    """What a kill -9 between the effect and its record leaves behind."""
    desk, calls = live(), []
    with lastgood.run("support", "u") as run:
        run.tool(lambda order: calls.append(order) or len(calls), name="refund")("o-1")
        desk.hand("UPDATE action SET state = 'reserved', result = NULL")
        with pytest.raises(InDoubt, match=r"with the key 'refund:\[\"o-1\"\]' was begun and never settled"):
            run.tool(lambda order: calls.append(order) or len(calls), name="refund")("o-1")
    assert calls == ["o-1"]


def test_an_idempotent_tool_is_called_again_when_its_end_is_not_known(live):
    desk, calls = live(actions_per_run=(("approval", 1),)), []
    with lastgood.run("support", "u") as run:
        approve = run.tool(lambda order: calls.append(order) or len(calls), name="approve")
        approve("o-1")
        desk.hand("UPDATE action SET state = 'reserved', result = NULL")
        approve("o-1")
    assert calls == ["o-1", "o-1"]
    assert [row["state"] for row in actions(desk)] == ["done"]


@pytest.mark.parametrize("result", [object(), "x" * 70_000])
def test_a_result_that_can_not_be_kept_is_not_made_up(result, live):
    live()
    with lastgood.run("support", "u") as run:
        refund = run.tool(lambda order: result, name="refund")
        assert refund("o-1") is result
        with pytest.raises(Refused, match="took effect before, and what it returned could not be kept"):
            refund("o-1")


def test_without_a_key_or_an_undo_nothing_of_the_result_is_kept(live):
    desk = live()
    with lastgood.run("support", "u") as run:
        run.tool(lambda: "private", name="recall")()
    assert [row["result"] for row in actions(desk)] == [None]


# -- async


def test_an_async_tool_stays_async(live):
    desk = live()

    async def send(customer, text):
        await asyncio.sleep(0)
        return sender(desk)(customer, text)

    async def work():
        async with lastgood.run("support", "u") as run:
            guarded = run.tool(send, key="one")
            first = await guarded("c-1", "hi")
            again = await guarded("c-1", "hi")
            with pytest.raises(MalformedCall):
                await guarded("c-1", "")
            return first, again

    assert asyncio.run(work()) == ({"id": "m-1"}, {"id": "m-1"})
    assert (len(desk.sent), [row["state"] for row in actions(desk)]) == (1, ["done"])


def test_an_object_whose_call_is_async_is_awaited_before_it_is_settled(live):
    desk = live()

    class Recall:
        async def __call__(self):
            raise KeyError

    async def work():
        async with lastgood.run("support", "u") as run:
            with pytest.raises(KeyError):
                await run.tool(Recall(), name="recall")()

    asyncio.run(work())
    assert [row["state"] for row in actions(desk)] == ["failed"]


def test_an_async_tool_that_fails_or_is_cancelled_is_settled(live):
    desk, begun = live(), asyncio.Event()

    async def send(customer, text):
        if text == "fail":
            raise ZeroDivisionError
        begun.set()
        await asyncio.sleep(60)

    async def work():
        async with lastgood.run("support", "u") as run:
            with pytest.raises(ZeroDivisionError):
                await run.tool(send)("c-1", "fail")
            task = asyncio.create_task(run.tool(send)("c-1", "hang"))
            await begun.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(work())
    assert [row["state"] for row in actions(desk)] == ["failed", "failed"]


# -- revert, kill, stop


def test_after_a_revert_a_call_is_refused(live):
    desk = live()
    with lastgood.run("support", "u") as run:
        send = run.tool(sender(desk))
        desk.revert(desk.point.release_id)
        with pytest.raises(Refused, match="its release was reverted"):
            send("c-1", "hi")
    assert desk.sent == []


def test_a_stop_denies_both_arms_until_it_is_cleared(shop):
    place = (shop.store, "support", "production")
    shop.live(5_000, candidate=shop.shop)
    release_id = shop.point.release_id
    assert control.stop(*place, actor="ann", reason="the mail server is haunted")
    assert not control.stop(*place, actor="bob", reason="again")
    for candidate in (True, False):
        unit = shop.units(release_id, 5_000, candidate=candidate)[0]
        with (
            lastgood.run("support", unit) as run,
            pytest.raises(
                Refused, match=r"was stopped by ann \(the mail server is haunted\); `lastgood stop"
            ),
            run.action("message"),
        ):
            pass
    assert control.unstop(*place, actor="ann", reason="exorcised")
    assert not control.unstop(*place, actor="ann", reason="again")
    with lastgood.run("support", "u") as run, run.action("message"):
        pass
    said = [row["action"] for row in shop.all("SELECT action FROM ledger ORDER BY seq DESC LIMIT 2")]
    assert said == ["unstop", "stop"]


def test_a_run_that_is_not_recorded_goes_through_unrecorded(live, caplog):
    desk = live()
    desk.promote(desk.point.release_id)
    with lastgood.run("support", "u") as run:
        assert run.bundle.id == desk.shop
    caplog.set_level(logging.WARNING)
    desk.store.path.rename(desk.store.path.with_suffix(".gone"))
    with lastgood.run("support", "v") as run:
        assert not run.recorded
        assert run.tool(sender(desk))("c-1", "hi") == {"id": "m-1"}
        with pytest.raises(MalformedCall):
            run.tool(sender(desk))("c-1", "")
    assert f"send of run {run.id} is not recorded" in caplog.text
