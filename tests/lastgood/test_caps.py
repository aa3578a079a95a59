from lastgood.caps import Caps


def test_what_a_policy_that_says_nothing_allows():
    assert Caps() == Caps(
        spend_usd_per_hour=5.0,
        spend_usd_per_run=0.5,
        runs_per_hour=500,
        actions_per_run=(),
        actions_per_hour=(),
    )


def test_a_ceiling_without_a_number_is_none():
    caps = Caps(None, None, None)
    assert (caps.spend_usd_per_hour, caps.spend_usd_per_run, caps.runs_per_hour) == (None, None, None)


def test_messages_of_a_run_and_approvals_of_an_hour_are_found_by_their_kinds():
    caps = Caps(
        actions_per_run=(("note", 9), ("message", 3), ("auto_approval", 7)),
        actions_per_hour=(("auto_approval", 2), ("message", 8)),
    )
    assert (caps.messages_per_run, caps.auto_approvals_per_hour) == (3, 2)


def test_without_a_ceiling_for_a_kind_there_is_none():
    caps = Caps(actions_per_run=(("note", 9),))
    assert (caps.messages_per_run, caps.auto_approvals_per_hour) == (None, None)
