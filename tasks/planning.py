"""Before a release, from Prefect: the answers of `lastgood plan` and `lastgood readiness` as artifacts."""

from prefect.artifacts import create_markdown_artifact

from evaluators.readiness import ASKED, Answer
from lastgood import agent, registry
from lastgood.redaction import clean
from tasks import choices, naming, planned, preflight, readiness
from tasks.plan_report import answer


def plan(agent_name: str, policy: str, environment: str) -> str:
    """Leave the whole answer as an artifact; return its first line that decides."""
    naming.tag(agent_name, environment)
    store = agent.store()
    with store.reading() as txn:
        found = preflight.find_policy(txn, policy)
    told = answer(planned.from_agent(store, agent_name, environment, found, None))
    lines = list(told.lines())
    headline = next((line for line in lines if line.startswith("Promotion:")), lines[0])
    if told.plan.problems:
        headline = f"{found.name} can't decide a release of {agent_name}: {told.plan.problems[0]}"
    text = f"# {agent_name} in {environment} under policy {found.name}\n\n**{headline}**\n\n"
    block = "\n".join(lines).replace("```", "'''")
    _leave("plan", agent_name, environment, f"{text}```\n{block}\n```\n", headline)
    return headline


def ready(agent_name: str, bundle: str, policy: str, environment: str) -> str:
    """Leave the seven answers as an artifact; return how many are yes and what that allows."""
    naming.tag(agent_name, environment)
    store, wanted = agent.store(), choices.reference(bundle)
    with store.reading() as txn:
        found = preflight.find_policy(txn, policy)
        candidate = registry.read(txn, registry.resolve(txn, wanted)).bundle if wanted else None
    made = readiness.check(store, agent_name, environment, found, candidate)
    about = f" for b-{candidate.id[:8]}" if candidate else ""
    head = f"# Readiness of {agent_name} in {environment}{about} under policy {found.name}"
    rows = "\n".join(map(_row, made.answers))
    text = f"{head}\n\n**{made.said}**\n\n| question | answer | evidence |\n|---|---|---|\n{rows}\n"
    _leave("readiness", agent_name, environment, text, made.said)
    return made.said


def _row(answer: Answer) -> str:
    said = "yes" if answer.yes else "**no**"
    return f"| {ASKED[answer.question]} | {said} | {readiness.line(answer).replace('|', '/')} |"


def _leave(kind: str, agent_name: str, environment: str, text: str, headline: str) -> None:
    key = f"{kind}-{agent_name}-{environment}".lower().replace("_", "-").replace(".", "-")
    create_markdown_artifact(key=key, markdown=clean(text), description=headline)


__all__ = ["plan", "ready"]
