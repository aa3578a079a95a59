"""`make demo`: two real releases under the Prefect flow, on recorded outcomes of real agents.

A process of its own serves tasks through the public API, as any agent would. The first release is a
catastrophe and is reverted; the second is an improvement and is promoted. Everything lies in .demo/.
"""

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PLACE = ROOT / ".demo"
#: tasks a second that the agent serves, and baseline runs that are its history
PACE, HISTORY = 120, 700


@dataclass(frozen=True, slots=True)
class Story:
    """One release of the demo."""

    agent: str
    baseline: str
    candidate: str
    ends_as: str
    about: str


STORIES = (
    Story("coder", "claude-45sonnet", "gpt-4o-paper", "Reverted", "a catastrophe: 44% of tasks solved, then 6%"),
    Story("fixer", "gpt-5-250-turns", "claude-45sonnet", "Promoted", "an improvement: 36% solved, then 44%"),
)


def say(text: str = "") -> None:
    """Print at once."""
    print(text, flush=True)


def environment() -> None:
    """Point the store and Prefect at .demo/, before anything is imported that reads these."""
    shutil.rmtree(PLACE, ignore_errors=True)
    PLACE.mkdir()
    os.environ |= {
        "LASTGOOD_DATABASE": f"sqlite:///{PLACE / 'lastgood.db'}",
        "LASTGOOD_ACTOR": "demo",
        "PREFECT_HOME": str(PLACE / "prefect"),
        "PREFECT_PROFILE": "ephemeral",
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "true",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_LOGGING_LEVEL": "WARNING",
    }
    os.environ.pop("PREFECT_API_URL", None)


def command(*words: str) -> str:
    """Run one `lastgood` command as a user would; return the last line it printed."""
    made = subprocess.run(
        [sys.executable, "-m", "lastgood.cli", *words], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return made.stdout.strip().splitlines()[-1]


@contextmanager
def serving(agent: str) -> Iterator[None]:
    """An agent process for as long as the block lasts."""
    words = [sys.executable, "-m", "examples.swebench.agent", agent, str(PACE)]
    process = subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE)
    try:
        yield
    finally:
        assert process.stdin is not None  # noqa: S101  it was opened just above
        process.stdin.close()
        process.wait(timeout=10)


def prepare(story: Story) -> str:
    """Register both bundles and adopt the baseline; return the candidate's reference."""
    short = {}
    for name in (story.baseline, story.candidate):
        path = f"examples/swebench/{name}.yaml"
        short[name] = next(
            word for word in command("bundle", "add", path, "--agent", story.agent).split() if word.startswith("b-")
        )
    command("adopt", story.agent, short[story.baseline], "--reason", "the bundle that serves today")
    return short[story.candidate]


def gather_history(agent: str) -> None:
    """Wait until the baseline has served enough runs for a frozen reference."""
    from lastgood.agent import store

    seen = 0
    while seen < HISTORY:
        time.sleep(0.5)
        with store().reading() as txn:
            row = txn.one("SELECT count(*) AS n FROM run WHERE agent = :agent", agent=agent)
        seen = row["n"] if row else 0
        say(f"    history: {seen} baseline runs")
    time.sleep(1.5)  # the newest mature


def release(story: Story, candidate: str) -> None:
    """Run the release flow, showing where it stands while it works, and check how it ended."""
    from flows.release import release as release_flow
    from tasks import report

    watched = threading.Event()
    watcher = threading.Thread(target=_watch, args=(story.agent, watched))
    watcher.start()
    try:
        state = release_flow(story.agent, candidate, policy="swebench-demo", note=story.about, return_state=True)
    finally:
        watched.set()
        watcher.join()
    from lastgood.agent import store

    with store().reading() as txn:
        row = txn.one("SELECT id FROM release WHERE agent = :agent", agent=story.agent)
    assert row is not None  # noqa: S101  the flow has just ended it
    made = report.build(store(), row["id"])
    path = PLACE / f"report-{story.agent}.md"
    path.write_text(made.markdown, encoding="utf-8")
    say(f"  {made.headline}")
    for found in made.table:
        say(f"    {found['guardrail']}: {found['verdict']}: baseline {found['baseline']}, candidate {found['candidate']}")
        say(f"    {found['reason']}")
    say(f"  report: {path.relative_to(ROOT)}; in Prefect: flow run state {state.name}, artifact {made.key}")
    if state.name != story.ends_as:
        say(f"  EXPECTED {story.ends_as.upper()}: a release may end otherwise by chance, rarely; run the demo again")
        raise SystemExit(1)


def _watch(agent: str, ended: threading.Event) -> None:
    """Print where the release stands, once a second, when it has changed."""
    import json

    from lastgood.agent import store

    shown = ""
    while not ended.wait(1.0):
        with store().reading() as txn:
            row = txn.one(
                "SELECT release.state, point.share_bp, look.verdict FROM release JOIN control_point AS point "
                "ON point.agent = release.agent LEFT JOIN look ON look.release_id = release.id "
                "WHERE release.agent = :agent ORDER BY look.seq DESC LIMIT 1",
                agent=agent,
            )
        if row is None:
            continue
        said = f"    {row['state']:<8} {row['share_bp'] / 100:g}%"
        if row["verdict"]:
            v = json.loads(row["verdict"])
            said += (
                f"  {v['assigned']} eligible runs, {v['candidate_runs']} on the candidate, harm e^{v['log_family']:.2f}"
                f" of e^{v['log_line']:.2f}, promote e^{v['guardrails'][0]['log_e_promote']:.2f} of e^3.00"
            )
        if said != shown:
            say(said)
        shown = said


def main() -> None:
    """Tell both stories."""
    began = time.monotonic()
    environment()
    say("lastgood demo: real outcomes of coding agents on SWE-bench Pro, released under the Prefect flow")
    command("db", "upgrade")
    say(f"  store: {(PLACE / 'lastgood.db').relative_to(ROOT)}; {command('policy', 'add', 'examples/swebench/policy.yaml')}")
    candidates = {story.agent: prepare(story) for story in STORIES}
    for number, story in enumerate(STORIES, start=1):
        say(f"\n{number}. {story.baseline} -> {story.candidate}: {story.about}")
        with serving(story.agent):
            gather_history(story.agent)
            say("    the release flow starts (a first start of Prefect takes some seconds)")
            release(story, candidates[story.agent])
    say(f"\ndone in {time.monotonic() - began:.0f} s. To look at the flows and artifacts:")
    say(f"  PREFECT_HOME={PLACE.relative_to(ROOT)}/prefect .venv/bin/prefect server start")


if __name__ == "__main__":
    main()
