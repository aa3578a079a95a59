"""3 a.m.: Prefect is killed, its page is gone, and the page for people puts the last known good back."""

import contextlib
import os
import re
import signal
from pathlib import Path

import httpx
import pytest

from tests.flows.served import PATIENCE, at_work, wait_for
from tests.ui.conftest import SHOTS
from tests.ui.pictures import beside

pytestmark = [pytest.mark.ui, pytest.mark.prefect]
#: a release that no look ends: nothing is mature for an hour
WAITING = """
name: waiting
lease: 30 min
steps: [{share: 20%, min_time: 1 h}]
guardrails: {validation: {margin: 5 points, matures: 1 h}}
reference: {validation: 0.92}
preflight: {open_incidents: allow}
"""
PHONE = {"width": 390, "height": 760}
UNREACHABLE = "ERR_CONNECTION_REFUSED"


@pytest.fixture
def place(tmp_path, clean_environment, background):
    """An agent at work under `lastgood up`."""
    with at_work(tmp_path, clean_environment, background, LASTGOOD_ACTOR="ann") as place:
        yield place


@contextlib.contextmanager
def service(place, background):
    """`lastgood serve` over the same store; gives its address."""
    from tests.test_readme import free_port

    port = free_port()
    command = ["bash", "-c", f"cd {place.folder} && exec lastgood serve --port {port}"]
    with background(command, place.folder / "serve.log", place.environment):
        url = f"http://127.0.0.1:{port}"
        assert wait_for(lambda: answers(f"{url}/health"), PATIENCE), place.logs("serve")
        yield url


def answers(url):
    """Whether somebody is there."""
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(url, timeout=10).is_success
    return False


def kill_prefect(place):
    """SIGKILL to `lastgood up`, to its server and to the flows: each leads a group of its own."""
    pid = place.up.pid
    started = Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()
    assert len(started) == 2, "a server and the flows"
    for leader in (pid, *map(int, started)):
        os.killpg(leader, signal.SIGKILL)


def test_prefect_is_gone_and_the_page_puts_the_last_known_good_back(place, browser, background):
    from playwright.sync_api import Error

    (place.folder / "waiting.yaml").write_text(WAITING)
    place.run("lastgood policy add waiting.yaml")
    candidate = place.register_with("Answer briefly", "Answer very briefly")
    place.start("release/release", agent="support", candidate=place.label(candidate), policy="waiting")
    assert place.reaches("compare"), place.logs()
    ui = browser.new_page(viewport={"width": 800, "height": 760})
    phone = browser.new_page(viewport=PHONE, device_scale_factor=2, is_mobile=True, java_script_enabled=False)
    with service(place, background) as url:
        link = place.run(f"LASTGOOD_SERVICE_URL={url} lastgood link support --for ben").split()[0]
        home = place.url.removesuffix("/api")
        ui.goto(home)
        ui.get_by_role("link", name="Deployments", exact=True).wait_for()

        kill_prefect(place)
        assert wait_for(lambda: not answers(f"{home}/api/health"), 60), "Prefect still answers"
        with pytest.raises(Error, match=UNREACHABLE):
            ui.reload()
        ui.get_by_text(UNREACHABLE).wait_for()

        phone.goto(link)
        assert f"b-{candidate[2:10]}" in phone.inner_text("body")
        shots = [phone.screenshot()]
        phone.locator("a.act").click()
        phone.get_by_role("button").click()
        assert "Done." in phone.inner_text("body")
        assert f"b-{place.good[2:10]}" in phone.inner_text("body")
        shots.append(phone.screenshot())
        with pytest.raises(Error, match=UNREACHABLE):
            ui.goto(home)
        ui.get_by_text(UNREACHABLE).wait_for()
        SHOTS.mkdir(exist_ok=True)
        gone = ui.screenshot()
        picture = beside(
            ("Prefect's page: killed with -9", gone),
            ("the page, 3 a.m.", shots[0]),
            ("a tap later", shots[1]),
        )
        picture.save(SHOTS / "three-am.png", optimize=True)
    said = place.run("lastgood status support")
    assert re.search(rf"baseline\s+b-{place.good[2:]}", said), said
    assert place.release()["state"] == "reverted"
