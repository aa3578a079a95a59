"""`make demo`: two real releases under the Prefect flow, and what comes after a revert.

A process of its own serves recorded outcomes of real agents through the public API, as any agent would. The
first release is a catastrophe and is reverted; the second is an improvement and is promoted. Then the support
agent goes through a bad release from its canary to the repaired bundle's promotion, on a clock of its own.
Everything lies in .demo/, or in the folder given: `python -m examples.demo FOLDER`.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PLACE = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else ROOT / ".demo"
#: tasks a second that the agent serves, and baseline runs that are its history
PACE, HISTORY = 250, 700


@dataclass(frozen=True, slots=True)
class Story:
    """One release of the demo."""

    agent: str
    baseline: str
    candidate: str
    ends_as: str
    about: str


STORIES = (
    Story(
        "coder", "claude-45sonnet", "gpt-4o-paper", "Reverted", "a catastrophe: 44% of tasks solved, then 6%"
    ),
    Story("fixer", "gpt-5-250-turns", "claude-45sonnet", "Promoted", "an improvement: 36% solved, then 44%"),
)


def environment() -> None:
    """Point the store and Prefect at .demo/, before anything is imported that reads these."""
    shutil.rmtree(PLACE, ignore_errors=True)
    PLACE.mkdir(parents=True)
    os.environ |= {
        "LASTGOOD_DATABASE": f"sqlite:///{PLACE / 'lastgood.db'}",
        "LASTGOOD_ACTOR": "demo",
        "PREFECT_HOME": str(PLACE / "prefect"),
        "PREFECT_PROFILE": "ephemeral",
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "true",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "ERROR",
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
            word
            for word in command("bundle", "add", path, "--agent", story.agent).split()
            if word.startswith("b-")
        )
    command("adopt", story.agent, short[story.baseline], "--reason", "the bundle that serves today")
    return short[story.candidate]


def gather_history(agent: str) -> None:
    """Wait until the baseline has served enough runs for a frozen reference."""
    from examples.watching import say
    from lastgood.agent import store

    say(f"    the baseline serves {HISTORY} tasks first: its history")
    seen = 0
    while seen < HISTORY:
        time.sleep(0.5)
        with store().reading() as txn:
            row = txn.one("SELECT count(*) AS n FROM run WHERE agent = :agent", agent=agent)
        seen = row["n"] if row else 0
    time.sleep(1.5)  # the newest mature


def release(story: Story, candidate: str) -> None:
    """Run the release flow, showing where it stands while it works; say how it ended and why."""
    from examples.watching import newest_release, say, shown
    from flows.release import release as release_flow
    from lastgood.agent import store
    from tasks import pictures

    with shown(story.agent):
        state = release_flow(
            story.agent, candidate, policy="swebench-demo", note=story.about, return_state=True
        )
    release_id = newest_release(story.agent)
    if release_id is None:
        say(f"  the release was refused: {state.message}")
        raise SystemExit(1)
    path = PLACE / f"report-{story.agent}.md"
    made = pictures.write(store(), release_id, path)
    say(f"  {made.headline}")
    for found in made.table:
        say(f"    {found['guardrail']}: {found['verdict']}: {found['reason']}")
    say(f"  report: {path}; in Prefect: flow run {state.name}, artifact {made.key}")
    if state.name != story.ends_as:
        say(f"  expected {story.ends_as}: by chance a release ends otherwise, rarely; run the demo again")
        raise SystemExit(1)


def aftermath() -> None:
    """Tell what comes after a revert, in a store of its own."""
    from examples.support_agent.story import tell
    from examples.watching import say

    place = PLACE / "support"
    place.mkdir()
    tell(place, say)
    say(f"  reports and pictures: {place}; its CRM: {place / 'crm.db'}")


def main() -> None:
    """Tell the stories."""
    began = time.monotonic()
    environment()
    from examples.watching import say

    say("lastgood: real outcomes of coding agents on SWE-bench Pro, released under the Prefect flow")
    say(f"  {command('db', 'upgrade')}")
    say(f"  {command('policy', 'add', 'examples/swebench/policy.yaml')}")
    for number, story in enumerate(STORIES, start=1):
        say(f"\n{number}. {story.baseline} -> {story.candidate}: {story.about}")
        candidate = prepare(story)
        with serving(story.agent):
            gather_history(story.agent)
            if number == 1:
                say("    the release flow starts; a first start of Prefect takes 15 s or so")
            release(story, candidate)
    say(
        f"\n{len(STORIES) + 1}. support: a bad release of an agent that acts, and what comes after its revert"
    )
    aftermath()
    say(f"\ndone in {time.monotonic() - began:.0f} s; the store and the reports are in {PLACE}")
    say("to look at the flows and their artifacts in the Prefect UI:")
    say(f"  PREFECT_HOME={PLACE}/prefect .venv/bin/prefect server start")


if __name__ == "__main__":
    main()
