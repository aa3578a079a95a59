"""A browser before a real `lastgood up`, and two agents whose outcomes were recorded at work."""

import contextlib
import re
import shutil
import subprocess
import sys

import pytest

from tests.flows.served import PATIENCE, ROOT, up, wait_for

#: screenshots, build output
SHOTS = ROOT / ".ui"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
#: headless, and silent towards the network
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
#: the policies of the stories: seconds instead of hours
QUICK = (
    (ROOT / "examples" / "swebench" / "policy.yaml")
    .read_text()
    .replace("name: swebench-demo", "name: quick")
    .replace("lease: 10 s", "lease: 3 min")  # a loaded machine is no dead driver
    .replace("driver_timeout: 10 s", "driver_timeout: 60 s")
    .replace("runs_per_hour: 5000", "runs_per_hour: 100000")
)
ASKING = QUICK.replace(
    "name: quick", "name: asking\napproval: {before: promote, expires: 1 h, not_author: true}"
)
#: the agent, what serves, and what is to be released
AGENTS = (("coder", "claude-45sonnet", "gpt-4o-paper"), ("fixer", "gpt-5-250-turns", "claude-45sonnet"))
HISTORY = "SELECT count(*) FROM run WHERE agent = '{agent}'"


@contextlib.contextmanager
def serving(agent, environment):
    """An agent process for as long as the block lasts."""
    words = [sys.executable, "-m", "examples.swebench.agent", agent, "100"]
    process = subprocess.Popen(words, cwd=ROOT, env=environment, stdin=subprocess.PIPE)
    try:
        yield
    finally:
        process.stdin.close()
        process.wait(timeout=30)


@pytest.fixture(scope="session")
def place(tmp_path_factory, clean_environment, background):
    """`lastgood up` with both agents at work; `place.short` has the ids of the bundles by name."""
    folder = tmp_path_factory.mktemp("ui")
    database = {"LASTGOOD_DATABASE": f"sqlite:///{folder}/lastgood.db", "LASTGOOD_ACTOR": "ann"}
    with up(folder, clean_environment, background, LASTGOOD_LOOK_EVERY="30 s", **database) as place:
        place.short = {}
        with contextlib.ExitStack() as agents:
            for agent, *names in AGENTS:
                for name in names:
                    added = place.run(
                        f"lastgood bundle add {ROOT}/examples/swebench/{name}.yaml --agent {agent}"
                    )
                    place.short[name] = re.search(r"b-\w+", added)[0]
                place.run(f"lastgood adopt {agent} {place.short[names[0]]} --reason 'it serves today'")
                agents.enter_context(serving(agent, place.environment))
            for name, text in {"quick": QUICK, "asking": ASKING}.items():
                (folder / f"{name}.yaml").write_text(text)
                place.run(f"lastgood policy add {name}.yaml")
            assert place.is_up(), place.logs()
            assert wait_for(lambda: all(served(folder, agent) > 700 for agent, *_ in AGENTS), PATIENCE)
            yield place


def served(folder, agent):
    """How many runs an agent has served."""
    import sqlite3

    with contextlib.closing(sqlite3.connect(folder / "lastgood.db", timeout=30)) as held:
        return held.execute("SELECT count(*) FROM run WHERE agent = ?", (agent,)).fetchone()[0]


@pytest.fixture(scope="session")
def browser():
    """The system's Chromium, without a window."""
    api = pytest.importorskip("playwright.sync_api", reason="`make test-ui` installs playwright")
    if CHROMIUM is None:
        pytest.skip("no Chromium: Debian's package is `chromium`")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture
def page(browser, place, request):
    """A page of the UI; what it shows when a test ends is kept."""
    page = browser.new_page(viewport={"width": 1280, "height": 860})
    page.set_default_timeout(120_000)
    SHOTS.mkdir(exist_ok=True)
    yield page
    page.screenshot(path=SHOTS / f"last-{request.node.name[:60]}.png")
    page.close()
