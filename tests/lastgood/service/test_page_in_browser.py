"""The page in a real browser at phone width. Skipped, and said so, where there is no Chromium."""

import base64
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from itertools import count
from pathlib import Path

import httpx
import pytest
from websockets.sync.client import connect

from lastgood import identity
from lastgood import link as links
from lastgood.link import Link

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    "--remote-debugging-port=0",
)
WIDTH, HEIGHT = 390, 844
pytestmark = [
    pytest.mark.only("sqlite"),
    pytest.mark.skipif(BROWSER is None, reason="no Chromium here: apt-get install chromium"),
]


class Browser:
    """A tab of a real browser at a phone's size, with JavaScript off for the pages."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._ids = folder, count(1)

    def __enter__(self):
        command = [BROWSER, *FLAGS, f"--user-data-dir={self._folder}", "about:blank"]
        quiet = subprocess.DEVNULL
        self._process = subprocess.Popen(command, stdout=quiet, stderr=quiet, start_new_session=True)
        port = self._port()
        [page] = [p for p in httpx.get(f"http://127.0.0.1:{port}/json").json() if p["type"] == "page"]
        self._socket = connect(page["webSocketDebuggerUrl"], max_size=None)
        self("Page.enable")
        self("Emulation.setScriptExecutionDisabled", value=True)
        self(
            "Emulation.setDeviceMetricsOverride", width=WIDTH, height=HEIGHT, deviceScaleFactor=2, mobile=True
        )
        return self

    def __exit__(self, *_):
        self._socket.close()
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(10)

    def _port(self) -> str:
        told, until = self._folder / "DevToolsActivePort", time.monotonic() + 60
        while not (told.exists() and told.read_text().strip()):
            assert time.monotonic() < until, "Chromium did not start"
            assert self._process.poll() is None, "Chromium ended"
            time.sleep(0.05)
        return told.read_text().split()[0]

    def __call__(self, method: str, **given):
        number = next(self._ids)
        self._socket.send(json.dumps({"id": number, "method": method, "params": given}))
        while True:
            said = json.loads(self._socket.recv(30))
            if said.get("id") == number:
                assert "error" not in said, said
                return said["result"]

    def loaded(self) -> None:
        while json.loads(self._socket.recv(30)).get("method") != "Page.loadEventFired":
            pass

    def open(self, url: str) -> None:
        self("Page.navigate", url=url)
        self.loaded()

    def evaluate(self, expression: str):
        """The debugger's own evaluation: it works where pages may run nothing."""
        found = self("Runtime.evaluate", expression=expression, returnByValue=True)
        return found["result"].get("value")

    def press(self, selector: str) -> None:
        """Tap what a person sees, in its middle."""
        place = self.evaluate(
            f"(e => (e.scrollIntoView(), (b => [b.x + b.width / 2, b.y + b.height / 2])"
            f"(e.getBoundingClientRect())))(document.querySelector({json.dumps(selector)}))"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self("Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], button="left", clickCount=1)
        self.loaded()

    @property
    def text(self) -> str:
        return self.evaluate("document.body.innerText")

    def shot(self, name: str) -> None:
        """Keep a picture where SCREENSHOTS names a folder."""
        folder = os.environ.get("SCREENSHOTS")
        if folder:
            data = self("Page.captureScreenshot", format="png", captureBeyondViewport=True)["data"]
            (Path(folder) / f"{name}.png").write_bytes(base64.b64decode(data))


@pytest.fixture
def browser():
    with (
        tempfile.TemporaryDirectory(prefix="lastgood-chromium-", ignore_cleanup_errors=True) as folder,
        Browser(Path(folder)) as found,
    ):
        yield found


def test_a_person_reverts_on_a_phone(service, desk, browser):
    release_id = desk.live(2_500)
    until = desk.clock.now_us() + 3_600_000_000
    token = links.sign(identity.keys(desk.store), Link("support", "production", "ben", until))
    browser.open(f"{service.url}/r/{token}")
    browser.shot("page")
    assert f"b-{desk.candidate[:8]}" in browser.text
    assert browser.evaluate("document.documentElement.scrollWidth") <= WIDTH, "it scrolls sideways"
    size = browser.evaluate(
        "(b => [b.width, b.height])(document.querySelector('a.act').getBoundingClientRect())"
    )
    assert size[0] > 300, "a thumb has to hit it"
    assert size[1] >= 44, "a thumb has to hit it"
    assert browser.evaluate("getComputedStyle(document.querySelector('a.act')).color") == "rgb(255, 255, 255)"
    browser.press("a.act")
    browser.shot("confirm")
    assert "serves everybody, at once" in browser.text
    assert desk.point.release_id == release_id, "opening the page acts on nothing"
    assert browser.evaluate("document.documentElement.scrollWidth") <= WIDTH
    browser.press("button")
    browser.shot("done")
    assert "Done." in browser.text
    assert browser.evaluate("location.pathname") == f"/r/{token}"
    assert desk.point.release_id is None
    [entry] = desk.all("SELECT * FROM ledger WHERE action = 'revert'")
    assert entry["actor"] == "ben (revert link)"
