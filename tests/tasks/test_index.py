"""The table of all live releases."""

import re

from lastgood import control
from tasks import driving, index, report


def test_without_a_live_release_it_says_so(quiet_world):
    made = index.build(quiet_world.store)
    assert (made.headline, made.table) == ("no live release", [])
    assert made.markdown == "# Releases\n\n**no live release**\n"


def test_a_live_release_is_a_row_with_a_link_to_its_report(world):
    release_id = world.start()
    driver = driving.begin(world.store, release_id, "me")
    world.step(driver)
    made = index.build(world.store)
    assert made.headline == "1 live release"
    assert made.table == [
        {
            "agent": "support",
            "environment": "production",
            "candidate": f"b-{world.candidate[:8]}",
            "stage": "canary",
            "share": "20%",
            "looks": 0,
            "verdict": "no look yet",
            "next": "Another look; 20% of the eligible runs go to the candidate (step 1 of 2, then 50%).",
            "release": release_id,
            "report": report.key_of(release_id),
        }
    ]
    key = report.key_of(release_id)
    assert f"[report](../key/{key}) |" in made.markdown
    assert "[report](../artifact/7-8) |" in index.build(world.store, {key: "7-8"}).markdown


def test_its_key_is_one_that_prefect_takes():
    assert re.fullmatch(r"[a-z0-9-]+", index.KEY)


def test_an_ended_release_is_in_it_no_more(world):
    world.start()
    control.rollback(world.store, "support", "production", actor="ann", reason="by hand")
    assert index.build(world.store).table == []


def test_a_point_that_a_hand_edited_hides_no_other_release(world):
    world.start()
    world.tamper("UPDATE control_point SET share_bp = 7777")
    made = index.build(world.store)
    assert made.headline == "1 live release"
    assert "was changed behind the pipeline" in made.markdown
